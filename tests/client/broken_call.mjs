// A conversation with an agent, by CopilotKit's client with tools that note when they are run:
//
//     node broken_call.mjs BASE_URL AGENT MESSAGE...
//
// Prints, as one line of JSON, which tools were run, the codes of errors, and the roles of the messages, before and after
// a reload.

import { Console } from "node:console";
import { stderr, stdout } from "node:process";

import { z } from "zod";

import { Stage, newId } from "./stage.mjs";

globalThis.console = new Console(stderr, stderr);

const [runtimeUrl, id, ...prompts] = process.argv.slice(2);
const stage = new Stage(runtimeUrl, "rest");
const ran = [];

async function clientWithTools() {
  const client = await stage.client();
  const parameters = z.object({ text: z.string().optional() });
  const handler = (name) => async () => void ran.push(name);
  client.core.addTool({ name: "paint", description: "Paints.", parameters, handler: handler("paint") });
  client.core.addTool({ name: "ask", description: "Asks.", parameters, type: "human-in-the-loop", handler: handler("ask") });
  client.core.addTool({ name: "*", parameters: z.any(), handler: handler("*") });
  return client;
}

const client = await clientWithTools();
const agent = client.agent(id, newId());
for (const prompt of prompts) await client.say(agent, prompt);
const errors = client.takeErrors().map(({ code }) => code);

const second = await clientWithTools();
const reloaded = second.agent(id, agent.threadId);
await second.core.connectAgent({ agent: reloaded });
await new Promise((resolve) => setImmediate(resolve));

const roles = ({ messages }) => messages.map(({ role }) => role);
const report = { ran, errors, roles: roles(agent), reloaded: roles(reloaded) };
stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
