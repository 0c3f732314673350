// Watches what goes over the wire: every request the clients make, every byte the server streams back. The streams
// are then read once more by the event parsers and verifiers of several AG-UI releases, because CopilotKit's own client
// ends a stream in silence at the first event that it does not accept.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

import * as agui0 from "@ag-ui/client";
import * as agui1 from "ag-ui-client-1";
import { lastValueFrom, toArray } from "rxjs";

// As a module it finds no `applyPatch` where Node loads it; in a page, a bundler takes care of that.
const agui045 = createRequire(import.meta.url)("ag-ui-client-0.0.45");

const realFetch = globalThis.fetch;

// The stages an event passes between socket and application: in 0.0.x the parser holds events to the schema, in 1.0.0 a
// stage of its own does. What a release `lacks` it never sends, so that no thread of its own has it.
const MEDIA_PARTS = /"type":"(?:image|audio|video|document)","source"/;
export const GENERATIONS = {
  "@ag-ui/client 0.0.45": { agui: agui045, stages: ["transformChunks", "verifyEvents"], lacks: MEDIA_PARTS },
  "@ag-ui/client 0.0.59": { agui: agui0, stages: ["transformChunks", "verifyEvents"] },
  "@ag-ui/client 1.0.0": { agui: agui1, stages: ["enforceEvents", "transformChunks", "verifyEvents"] },
};

/** What a client reads from a stream that the test has cut: the words of Node's own fetch when a socket dies. */
export const CUT = new TypeError("terminated");

const TERMINAL = new Set(["RUN_FINISHED", "RUN_ERROR"]);

/** Holds events, parsed from JSON, to the verifiers of all generations; throws what the client would stumble over. */
export async function verifyEvents(events) {
  const frames = events.map((event) => new TextEncoder().encode(`data: ${JSON.stringify(event)}\n\n`));
  await verifyFrames(frames, new Headers({ "content-type": "text/event-stream" }), events.length);
}

async function verifyFrames(chunks, headers, expected) {
  const text = await new Response(ReadableStream.from(chunks)).text();
  for (const [name, { agui, stages, lacks }] of Object.entries(GENERATIONS)) {
    if (lacks?.test(text)) continue;
    // The chunks are handed over as they came: what shares a piece of data with a bad event is lost along with it.
    const again = () => Promise.resolve(new Response(ReadableStream.from(chunks), { headers }));
    const parsed = agui.transformHttpEventStream(agui0.runHttpRequest(again));
    const events = parsed.pipe(...stages.map((stage) => agui[stage]()), toArray());
    const read = await lastValueFrom(events).catch((error) => {
      throw new Error(`${name} rejects the stream: ${error.message}`);
    });
    assert.equal(read.length, expected, `${name} reads ${read.length} of ${expected} events`);
  }
}

/** One request and, as it arrives, its answer. */
class Exchange {
  chunks = [];
  status = null;
  headers = null;
  ending = null; // "complete", "cut" by the test, "left" by the client, "broken" by the server

  constructor(url, init, runtimeUrl) {
    this.url = url;
    this.method = init?.method ?? "GET";
    this.body = typeof init?.body === "string" ? JSON.parse(init.body) : undefined;
    this.single = url.replace(/\/$/, "") === runtimeUrl;
    this.operation = this.single ? envelopeOperation(this.body) : pathOperation(url.slice(runtimeUrl.length));
    this.ended = new Promise((resolve) => (this.end = (how) => resolve((this.ending ??= how))));
  }

  /** The run input that was sent, however it was wrapped. */
  get input() {
    return this.single ? this.body.body : this.body;
  }

  get streamed() {
    return this.headers?.get("content-type")?.startsWith("text/event-stream") ?? false;
  }

  get text() {
    return Buffer.concat(this.chunks).toString("utf8");
  }

  get json() {
    return JSON.parse(this.text);
  }

  get events() {
    // A stream that was cut may end inside a frame; only whole frames are events.
    const frames = this.text.split("\n\n").slice(0, -1);
    return frames.flatMap((frame) =>
      frame
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => JSON.parse(line.slice(5))),
    );
  }

  /** The response to hand to the client: the same bytes, noted on their way. */
  async tap(response) {
    const { status, statusText, headers } = response;
    Object.assign(this, { status, headers });
    const body = this.streamed ? this.#noted(response.body.getReader()) : await response.arrayBuffer();
    if (!this.streamed) {
      this.chunks.push(Buffer.from(body));
      this.end("complete");
    }
    // A 204 may have no body, not even an empty one.
    return new Response(body.byteLength === 0 ? null : body, { status, statusText, headers });
  }

  #noted(reader) {
    return new ReadableStream({
      start: (controller) => {
        this.cut = async () => {
          this.end("cut");
          controller.error(CUT);
          await reader.cancel();
        };
      },
      pull: async (controller) => {
        try {
          const { done, value } = await reader.read();
          if (this.ending === "cut") return;
          if (!done) {
            this.chunks.push(value);
            controller.enqueue(value);
            return;
          }
          this.end("complete");
          controller.close();
        } catch (error) {
          this.end(error.name === "AbortError" ? "left" : "broken");
          controller.error(error);
        }
      },
      cancel: (reason) => {
        this.end("left");
        return reader.cancel(reason);
      },
    });
  }

  /** Throws unless the answer is one that every client can read to its end. */
  async verify() {
    const told = `${this.operation} (${this.method} ${this.url})`;
    assert.notEqual(this.ending, "broken", `${told}: the server broke the answer off`);
    if (!this.streamed) return;
    const { events } = this;
    const frames = this.ending === "complete" ? this.chunks : [Buffer.from(wholeFrames(this.text))];
    await verifyFrames(frames, this.headers, events.length).catch((error) => {
      throw new Error(`${told}: ${error.message}\n${this.text}`);
    });
    if (this.ending !== "complete") return;
    if (this.operation !== "agent/connect") assert.ok(events.length > 0, `${told}: the stream is empty`);
    if (events.length > 0) assert.ok(TERMINAL.has(events.at(-1).type), `${told}: no terminal event\n${this.text}`);
  }
}

const wholeFrames = (text) => text.slice(0, text.lastIndexOf("\n\n") + 2);

function envelopeOperation({ method, params }) {
  return method === "resource/request" ? params.path.split(/[/?]/)[1] : method;
}

function pathOperation(path) {
  const [, first, , verb] = path.split(/[/?]/);
  return first === "agent" ? `agent/${verb}` : first;
}

/** Replaces `fetch` until `close`: the clients of one scenario talk through it. */
export class Wire {
  exchanges = [];
  warnings = [];

  /** @param {string} runtimeUrl base URL of the runtime; a request to any other address is refused. */
  constructor(runtimeUrl) {
    this.runtimeUrl = runtimeUrl;
    this.passes = () => true;
    globalThis.fetch = (url, init) => this.#fetch(String(url), init);
    this.warn = console.warn;
    console.warn = (...words) => {
      // 1.0.0 mends or drops what the protocol does not describe and says so here.
      if (String(words[0]).startsWith("[ag-ui]")) this.warnings.push(words.join(" "));
      else this.warn.apply(console, words);
    };
  }

  async #fetch(url, init) {
    assert.ok(url.startsWith(this.runtimeUrl), `a client asks a stranger: ${url}`);
    const exchange = new Exchange(url, init, this.runtimeUrl);
    if (!this.passes(exchange)) return new Response("not found", { status: 404 });
    this.exchanges.push(exchange);
    try {
      return await exchange.tap(await realFetch(url, init));
    } catch (error) {
      exchange.end(error.name === "AbortError" ? "left" : "broken");
      throw error;
    }
  }

  /** The exchanges of an operation such as "agent/run", in the order of their requests. */
  of(operation) {
    return this.exchanges.filter((exchange) => exchange.operation === operation);
  }

  /** Waits for the end of every answer, then verifies each. */
  async verify() {
    // One that ends may lead to another request, such as the follow-up of a frontend tool.
    for (let count = -1; count !== this.exchanges.length; ) {
      count = this.exchanges.length;
      await Promise.all(this.exchanges.map((exchange) => exchange.ended));
    }
    const faults = await this.faults();
    if (faults.length > 0) throw new Error(faults.join("\n"));
  }

  /** What is wrong with the answers that have ended, one text for each. */
  async faults() {
    const ended = this.exchanges.filter(({ ending }) => ending !== null);
    const verified = await Promise.allSettled(ended.map((exchange) => exchange.verify()));
    const faults = verified.flatMap(({ reason }) => (reason ? [reason.message] : []));
    return [...faults, ...this.warnings.map((warning) => `the client had to mend what it was sent: ${warning}`)];
  }

  /** What has not been answered to the end, for the message of a scenario that ran out of time. */
  get open() {
    return this.exchanges
      .filter((exchange) => exchange.ending === null)
      .map(({ operation, status, text }) => `${operation} (status ${status}), so far: ${text.slice(-300)}`);
  }

  close() {
    globalThis.fetch = realFetch;
    console.warn = this.warn;
  }
}
