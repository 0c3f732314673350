// What a scenario works with: clients that behave as in a page, waiting without sleeping, and the wire they talk over.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { CopilotKitCore, CopilotKitCoreRuntimeConnectionStatus as Status } from "./core.mjs";
import { Wire } from "./wire.mjs";

// The client asks for the runtime's information only where there is a page.
globalThis.window ??= {};

/** A `CopilotKitCore` with its errors noted, as one tab of a browser would hold it. */
export class Client {
  errors = [];

  constructor(runtimeUrl, options) {
    this.core = new CopilotKitCore({ runtimeUrl, deferInitialConnection: true, ...options });
    this.core.subscribe({ onError: ({ code, error }) => void this.errors.push({ code, message: error.message }) });
  }

  /** Connects to the runtime; throws when the runtime cannot be found. */
  async connected() {
    const settled = new Promise((resolve) => {
      const done = ({ status }) => [Status.Connected, Status.Error].includes(status) && resolve(status);
      this.core.subscribe({ onRuntimeConnectionStatusChanged: done });
    });
    this.core.connect?.(); // older ones have begun to
    assert.equal(await settled, Status.Connected, `no runtime found: ${JSON.stringify(this.errors)}`);
    return this;
  }

  /** The agent of that id, on a thread. */
  agent(id, threadId) {
    const agent = this.core.getAgent(id);
    assert.ok(agent, `no agent '${id}' among ${Object.keys(this.core.agents)}`);
    agent.threadId = threadId;
    watch(agent);
    return agent;
  }

  /** Sends a user's message and lets the agent answer. */
  async say(agent, content) {
    agent.addMessage({ id: randomUUID(), role: "user", content });
    return this.core.runAgent({ agent });
  }

  /** The errors so far, which thereby count as expected. */
  takeErrors() {
    return this.errors.splice(0);
  }
}

/** One scenario's run: its transport, its wire and the clients it has opened. */
export class Stage {
  clients = [];

  constructor(runtimeUrl, transport) {
    this.runtimeUrl = runtimeUrl;
    this.transport = transport;
    this.wire = new Wire(runtimeUrl);
  }

  /** A new client, connected. By REST it negotiates, which is what an application gets that says nothing. */
  async client(options) {
    const runtimeTransport = this.transport === "single" ? "single" : "auto";
    const client = new Client(this.runtimeUrl, { runtimeTransport, ...options });
    this.clients.push(client);
    return client.connected();
  }

  /** Throws where a client saw an error nobody expected, used the wrong transport, or got what it cannot read. */
  async verify() {
    await this.wire.verify();
    for (const { errors } of this.clients) assert.deepEqual(errors, []);
    for (const { single, method, url } of this.wire.exchanges) {
      assert.equal(single, this.transport === "single", `${method} ${url} by ${this.transport}`);
    }
  }

  close() {
    this.wire.close();
  }
}

const watchers = new WeakMap();

/** A run tells only those who subscribed before it began: so one subscription, for whoever comes to wait. */
function watch(agent) {
  if (watchers.has(agent)) return;
  const looks = new Set();
  watchers.set(agent, looks);
  const tell = () => looks.forEach((look) => look());
  agent.subscribe({ onMessagesChanged: tell, onStateChanged: tell });
}

/** Resolves as soon as `holds(agent)`, looked at on every change of the agent's messages or state. */
export function until(agent, holds) {
  const looks = watchers.get(agent);
  return new Promise((resolve) => {
    const look = () => {
      if (!holds(agent)) return;
      looks.delete(look);
      resolve();
    };
    looks.add(look);
    look();
  });
}

export const newId = () => randomUUID();

/** The text of the last assistant message, "" where there is none. */
export const answer = (agent) => agent.messages.findLast(({ role }) => role === "assistant")?.content ?? "";

/** Messages as [role, content], for comparing by eye. */
export const outline = (messages) => messages.map(({ role, content }) => [role, content ?? ""]);
