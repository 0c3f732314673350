// Plays what an application sees of MCP Apps and Open Generative UI, against a runtime that serves the configurations
// `mcp-apps`, `open-generative-ui` and `generative-ui-off` below a common URL:
//
//     node generative_ui.mjs http://127.0.0.1:8000
//
// Exit status 1, with an error on standard error, if anything is different.

import assert from "node:assert/strict";
import { argv, exit } from "node:process";

import { newId, Stage } from "./stage.mjs";

const PAGE = ["generateSandboxedUi", ['{"initialHeight": 9, "html": "<p>a', '</p>"}']];
const calls = (...calls) => JSON.stringify({ calls });
const activity = (agent) => agent.messages.find(({ role }) => role === "activity");

/** The frontend's tool as CopilotKit's provider has it, which takes each page for shown. */
const tool = (answers) => ({
  name: "generateSandboxedUi",
  description: "Shows a page.",
  followUp: true,
  handler: async () => answers.push("UI generated") && "UI generated",
});

async function play(config, scenario) {
  const stage = new Stage(`${argv[2]}/${config}/api/copilotkit`, "rest");
  await scenario(stage);
  await stage.verify();
  stage.close();
}

/** The same thread in a new client. */
async function reload(stage, { agentId, threadId }) {
  const client = await stage.client();
  const agent = client.agent(agentId, threadId);
  await client.core.connectAgent({ agent });
  return agent;
}

await play("mcp-apps", async (stage) => {
  const client = await stage.client();
  const agent = client.agent("script", newId());
  await client.say(agent, calls(["show_clock", ['{"zone": "UTC"}']]));
  assert.equal(agent.messages.find(({ role }) => role === "tool").content, "12:00 UTC");
  const { serverHash, serverId, resourceUri } = activity(agent).content;
  const before = structuredClone(agent.messages);

  const ask = async (method, params) => {
    const request = { serverHash, serverId, method, params };
    return (await agent.runAgent({ forwardedProps: { __proxiedMCPRequest: request } })).result;
  };
  const { contents } = await ask("resources/read", { uri: resourceUri });
  assert.match(contents[0].text, /<!doctype html>/);
  const alarm = await ask("tools/call", { name: "set_alarm", arguments: { time: "7" } });
  assert.equal(alarm.content[0].text, "alarm at 7");
  assert.ok((await ask("tools/list", {})).error);
  assert.deepEqual(agent.messages, before);
  assert.deepEqual((await reload(stage, agent)).messages, before);
});

await play("open-generative-ui", async (stage) => {
  const client = await stage.client();
  assert.equal(client.core.openGenerativeUIEnabled, true);
  const answers = [];
  client.core.addTool(tool(answers));
  const agent = client.agent("script", newId());
  await client.say(agent, calls(PAGE));
  const content = { initialHeight: 9, html: ["<p>a", "</p>"], htmlComplete: true, generating: false };
  assert.deepEqual(activity(agent).content, content);
  assert.equal(agent.messages.at(-1).content, "UI generated");
  assert.deepEqual(activity(await reload(stage, agent)).content, content);
});

await play("generative-ui-off", async (stage) => {
  const client = await stage.client();
  const answers = [];
  client.core.addTool(tool(answers));
  const agent = client.agent("script", newId());
  await client.say(agent, calls(PAGE));
  assert.deepEqual(answers, []);
  assert.match(agent.messages.at(-1).content, /not available/);
  assert.equal(agent.messages.at(-1).role, "assistant");
  const request = { serverHash: "0", method: "ping" };
  await assert.rejects(agent.runAgent({ forwardedProps: { __proxiedMCPRequest: request } }), /mcp_apps_not_configured|422/);
});
exit(0);
