// Plays what an application sees of `history="stored"`, of an agent's own history and of names, against a runtime that
// serves the configuration `history`:
//
//     node history.mjs http://127.0.0.1:8000/api/copilotkit
//
// Exit status 1, with an error on standard error, if anything is different.

import assert from "node:assert/strict";
import { argv, exit } from "node:process";

import { answer, newId, outline, Stage } from "./stage.mjs";

const stage = new Stage(argv[2], "rest");

/** An agent's thread in a new client, which has only what the runtime replays. */
async function reload({ agentId, threadId }, options) {
  const client = await stage.client(options);
  const agent = client.agent(agentId, threadId);
  await client.core.connectAgent({ agent });
  return { client, agent };
}

/** A page that sends its last message only. */
async function lastMessageOnly() {
  const messageFilter = (messages) => messages.slice(-1);
  const client = await stage.client({ messageFilter });
  const agent = client.agent("listens", newId());
  for (const text of ["One", "Two", "Three"]) await client.say(agent, text);
  assert.deepEqual(outline(agent.messages), [
    ["user", "One"],
    ["assistant", "1 messages"],
    ["user", "Two"],
    ["assistant", "3 messages"],
    ["user", "Three"],
    ["assistant", "5 messages"],
  ]);
  for (const { input } of stage.wire.of("agent/run")) assert.equal(input.messages.length, 1);
  const first = await reload(agent, { messageFilter });
  assert.deepEqual(first.agent.messages, agent.messages);

  // The user has the second answer given again: what comes after its question is gone, also after a reload.
  first.agent.setMessages(first.agent.messages.slice(0, 3));
  await first.client.core.runAgent({ agent: first.agent });
  assert.equal(answer(first.agent), "3 messages");
  const talk = [["user", "One"], ["assistant", "1 messages"], ["user", "Two"], ["assistant", "3 messages"]];
  assert.deepEqual(outline(first.agent.messages), talk);
  assert.deepEqual((await reload(agent)).agent.messages, first.agent.messages);
  return agent.threadId;
}

/** A chat of a thread that only the agent remembers, which then goes on. */
async function remembered() {
  const threadId = newId();
  const { client, agent } = await reload({ agentId: "remembers", threadId }, { messageFilter: undefined });
  const past = [["user", "Do you remember?"], ["assistant", `Yes, ${threadId}.`]];
  assert.deepEqual(outline(agent.messages), past);
  await client.say(agent, "Good");
  assert.equal(answer(agent), `Do you remember? | Yes, ${threadId}. | Good`);
  assert.deepEqual((await reload(agent)).agent.messages, agent.messages);
}

/** The names of threads, as they are listed next. */
async function named(threadId) {
  const response = await fetch(`${argv[2]}/threads?agentId=listens`);
  const { threads } = await response.json();
  assert.equal(threads.find(({ id }) => id === threadId).name, "About One");
}

const threadId = await lastMessageOnly();
await remembered();
await named(threadId);
await stage.verify();
stage.close();
exit(0);
