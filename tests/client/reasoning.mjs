// Plays what an application sees of the reasoning of models, whichever API they are called by, against a runtime that
// serves the configuration `builtin`:
//
//     node reasoning.mjs http://127.0.0.1:8000/api/copilotkit PROMPT AGENT...
//
// Exit status 1, with an error on standard error, if anything is different.

import assert from "node:assert/strict";
import { argv, exit } from "node:process";

import { answer, newId, outline, Stage, until } from "./stage.mjs";

const [, , runtimeUrl, prompt, ...agentIds] = argv;
const stage = new Stage(runtimeUrl, "rest");

const reasoningOf = (agent) => agent.messages.find(({ role }) => role === "reasoning");

async function play(agentId) {
  const client = await stage.client();
  const agent = client.agent(agentId, newId());
  const answered = client.say(agent, prompt);
  // It is shown while the model has not begun to answer.
  await until(agent, () => reasoningOf(agent)?.content);
  assert.equal(answer(agent), "");
  await answered;
  const talk = [["user", prompt], ["reasoning", "Skies are blue, mostly."], ["assistant", "Blue."]];
  assert.deepEqual(outline(agent.messages), talk);

  const tab = await stage.client();
  const reloaded = tab.agent(agentId, agent.threadId);
  await tab.core.connectAgent({ agent: reloaded });
  assert.deepEqual(reloaded.messages, agent.messages);
  await tab.say(reloaded, prompt);
  assert.deepEqual(outline(reloaded.messages), [...talk, ...talk]);
  return [agentId, reasoningOf(reloaded).encryptedValue];
}

const kept = Object.fromEntries(await Promise.all(agentIds.map(play)));
console.log(JSON.stringify(kept));
await stage.verify();
stage.close();
exit(0);
