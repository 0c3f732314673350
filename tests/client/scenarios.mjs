// What a page does with a runtime, played with the clients that pages are made of. Each scenario runs by itself against
// the agents of the configuration `client`; each is given a `Stage`, which afterwards verifies all that was streamed.

import assert from "node:assert/strict";

import { z } from "zod";

import { ProxiedCopilotRuntimeAgent, ɵcreateThreadStore, ɵInterruptState } from "./core.mjs";
import { answer, newId, outline, until } from "./stage.mjs";
import { GENERATIONS, verifyEvents } from "./wire.mjs";

const BOTH = ["rest", "single"];
const AGENTS = ["approves", "asks", "default", "fails", "fails-in-call", "slow", "state", "thinks", "tools"];
const COUNTED = "One two three.";
const SUGGESTIONS = [
  { title: "Count again", message: "Please count again", isLoading: false },
  { title: "Stop", message: "Stop counting", isLoading: false },
];

/** Name -> the transports that it is played over, the oldest release of the client that can do it, and what is played. */
export const SCENARIOS = {
  info: { transports: BOTH, since: "1.75", play: info },
  run: { transports: BOTH, since: "1.57", play: run },
  "frontend-tool": { transports: BOTH, since: "1.57", play: frontendTool },
  approval: { transports: BOTH, since: "1.75", play: approval },
  "shared-state": { transports: BOTH, since: "1.57", play: sharedState },
  reasoning: { transports: BOTH, since: "1.57", play: reasoning },
  interrupt: { transports: BOTH, since: "1.63", play: interrupt },
  stop: { transports: BOTH, since: "1.57", play: stop },
  error: { transports: BOTH, since: "1.57", play: error },
  "error-in-call": { transports: BOTH, since: "1.57", play: errorInCall },
  replay: { transports: BOTH, since: "1.57", play: replay },
  join: { transports: BOTH, since: "1.57", play: join },
  "lost-connection": { transports: BOTH, since: "1.57", play: lostConnection },
  busy: { transports: BOTH, since: "1.57", play: busy },
  suggestions: { transports: BOTH, since: "1.75", play: suggestions },
  threads: { transports: BOTH, since: "1.75", play: threads },
  "thread-changes": { transports: BOTH, since: "1.75", play: threadChanges },
  // AG-UI's own agent knows no single-route envelope, and is the same whatever CopilotKit is installed beside it.
  "plain-ag-ui": { transports: ["rest"], since: "1.75", play: plainAgUi },
};

/** Every way in which a client finds its transport, all on one URL. */
async function info(stage) {
  const { wire, transport } = stage;
  // Something in front of the runtime that lets nothing through but the URL itself makes "auto" end in single-route.
  wire.passes = ({ single }) => single || transport === "rest";
  const ways = [
    { runtimeTransport: "auto" },
    { runtimeTransport: transport },
    // The slash stays in what single-route posts to.
    { runtimeTransport: transport, runtimeUrl: `${stage.runtimeUrl}/` },
  ];
  for (const way of ways) {
    const { core } = await stage.client(way);
    assert.equal(core.runtimeTransport, transport);
    assert.ok(core.runtimeVersion);
    assert.equal(core.runtimeMode, "sse");
    assert.deepEqual(Object.keys(core.agents).sort(), AGENTS);
    for (const agent of Object.values(core.agents)) assert.ok(agent instanceof ProxiedCopilotRuntimeAgent);
    assert.equal(core.threadEndpoints.list, true);
    assert.equal(core.threadEndpoints.inspect, true);
    assert.equal(core.threadEndpoints.realtimeMetadata, false);
    assert.equal(core.suggestions, true);
    assert.equal(core.licenseStatus, undefined);
  }
  assert.equal(wire.of("info").length, ways.length);
}

/** A user's message and the answer, as it grows. */
async function run(stage) {
  const client = await stage.client();
  const agent = client.agent("default", newId());
  const grown = [];
  agent.subscribe({ onTextMessageContentEvent: ({ event }) => void grown.push(event.delta) });
  await client.say(agent, "Count");
  assert.deepEqual(grown, ["One ", "two ", "three."]);
  assert.deepEqual(outline(agent.messages), [["user", "Count"], ["assistant", COUNTED]]);
  assert.equal(agent.isRunning, false);
  const [{ input, events }] = stage.wire.of("agent/run");
  const [{ type, threadId, runId, input: echo }] = events;
  assert.deepEqual({ type, threadId, runId }, { type: "RUN_STARTED", threadId: agent.threadId, runId: input.runId });
  assert.deepEqual(echo.messages, input.messages);
}

/** The agent calls a tool of the page; the page runs it and the agent takes up its result in a second run. */
async function frontendTool(stage) {
  const client = await stage.client();
  const asked = [];
  client.core.addTool({
    name: "pick_color",
    description: "Lets the user pick a color.",
    parameters: z.object({ options: z.array(z.string()) }),
    handler: async ({ options }) => {
      asked.push(options);
      return options[1];
    },
  });
  const agent = client.agent("tools", newId());
  await client.say(agent, "A color, please");
  assert.deepEqual(asked, [["red", "green"]]);
  const talk = [["user", "A color, please"], ["assistant", ""], ["tool", "green"], ["assistant", "You picked green."]];
  assert.deepEqual(outline(agent.messages), talk);

  const [first, second] = stage.wire.of("agent/run").map(({ input }) => input);
  assert.equal(first.tools[0].name, "pick_color");
  assert.notEqual(first.runId, second.runId);
  assert.equal(second.messages.at(-1).toolCallId, agent.messages[1].toolCalls[0].id);

  const reloaded = (await stage.client()).agent("tools", agent.threadId);
  await stage.clients.at(-1).core.connectAgent({ agent: reloaded });
  assert.deepEqual(reloaded.messages, agent.messages);
}

/** Two interrupts, answered after a reload as `useInterrupt` does it; the first tab's answer then comes too late. */
async function approval(stage) {
  const first = await stage.client();
  const agent = first.agent("approves", newId());
  await first.say(agent, "Pay");
  const second = await stage.client();
  const reloaded = second.agent("approves", agent.threadId);
  await second.core.connectAgent({ agent: reloaded });
  assert.deepEqual(reloaded.pendingInterrupts, agent.pendingInterrupts);

  await respond(second, reloaded);
  const paid = [["tool", "paid, for yes"], ["tool", "not paid"]];
  const talk = [["user", "Pay"], ["assistant", ""], ...paid, ["assistant", "Done."]];
  assert.deepEqual(outline(reloaded.messages), talk);
  await respond(first, agent);
  const [, used, late] = stage.wire.of("agent/run").map(({ events }) => events.map(({ type }) => type));
  assert.equal(used.filter((type) => type === "TOOL_CALL_RESULT").length, 2);
  assert.deepEqual(late, ["RUN_STARTED", "RUN_FINISHED"]);

  const third = await stage.client();
  const again = third.agent("approves", agent.threadId);
  await third.core.connectAgent({ agent: again });
  assert.deepEqual(outline(again.messages).slice(0, talk.length), talk);
}

/** Approves the first interrupt and cancels the second, with the client's own state machine behind `useInterrupt`. */
function respond({ core }, agent) {
  const state = new ɵInterruptState();
  const [one, other] = agent.pendingInterrupts;
  state.setStandard(agent.pendingInterrupts);
  assert.equal(state.resolve("yes", one.id).kind, "waiting");
  const { resume, toolResults } = state.cancel(other.id);
  for (const { toolCallId, content } of toolResults) {
    agent.addMessage({ id: newId(), role: "tool", toolCallId, content });
  }
  return core.runAgent({ agent, resume });
}

/** State goes to the agent and comes back changed, twice, and is there again after a reload. */
async function sharedState(stage) {
  const client = await stage.client();
  const agent = client.agent("state", newId());
  agent.setState({ count: 4 });
  for (const count of [5, 6]) {
    await client.core.runAgent({ agent });
    assert.deepEqual(agent.state, { count, items: ["added"] });
  }
  const second = await stage.client();
  const reloaded = second.agent("state", agent.threadId);
  await second.core.connectAgent({ agent: reloaded });
  assert.deepEqual(reloaded.state, { count: 6, items: ["added"] });
}

/** What the agent thinks comes before what it says, and is there again after a reload. */
async function reasoning(stage) {
  const client = await stage.client();
  const agent = client.agent("thinks", newId());
  await client.say(agent, "Think");
  assert.deepEqual(outline(agent.messages), [["user", "Think"], ["reasoning", "Let me think."], ["assistant", "Done."]]);
  assert.deepEqual((await reload(stage, agent)).messages, agent.messages);
}

/** The agent asks the user something, and continues with the answer, also after a reload. */
async function interrupt(stage) {
  const client = await stage.client();
  const agent = client.agent("asks", newId());
  await client.say(agent, "Ask me");
  const reloaded = await reload(stage, agent);
  const [run, connect] = stage.wire.exchanges.filter(({ streamed }) => streamed).map(({ events }) => events);
  const { outcome } = run.at(-1);
  assert.equal(outcome.type, "interrupt");
  assert.deepEqual(connect.at(-1).outcome, outcome);
  const resume = [{ interruptId: outcome.interrupts[0].id, status: "resolved", payload: "yes" }];
  await stage.clients.at(-1).core.runAgent({ agent: reloaded, resume });
  assert.equal(answer(reloaded), "You said yes.");
  assert.deepEqual(outline((await reload(stage, agent)).messages), outline(reloaded.messages));
}

/** A run is stopped half-way: the stream ends, the thread is free, and a reload shows what came before and after. */
async function stop(stage) {
  const { wire } = stage;
  const client = await stage.client();
  const agent = client.agent("slow", newId());
  const running = client.say(agent, "Tick");
  await until(agent, () => answer(agent).includes("tick2"));
  client.core.stopAgent({ agent });
  await running;
  assert.match(answer(agent), /^tick0 tick1 tick2 /);
  assert.ok(!answer(agent).includes("tick199"));
  assert.equal(agent.isRunning, false);
  await wire.of("agent/stop")[0].ended;
  assert.equal(wire.of("agent/stop")[0].json.stopped, true);

  const next = client.agent("default", agent.threadId);
  next.setMessages(agent.messages);
  await client.say(next, "Count");
  assert.equal(answer(next), COUNTED);

  client.core.stopAgent({ agent });
  await wire.of("agent/stop")[1].ended;
  assert.equal(wire.of("agent/stop")[1].status, 200);
  assert.equal(wire.of("agent/stop")[1].json.stopped, false);

  const second = await stage.client();
  const reloaded = second.agent("default", agent.threadId);
  await second.core.connectAgent({ agent: reloaded });
  assert.deepEqual(outline(reloaded.messages), outline(next.messages));
}

/** An agent that fails: the page is told, the thread can be used again and be replayed without that failure. */
async function error(stage) {
  const client = await stage.client();
  const agent = client.agent("fails", newId());
  await client.say(agent, "Fail");
  const [shown, ...more] = client.takeErrors();
  assert.equal(shown.code, "agent_run_error_event");
  assert.ok(shown.message);
  assert.deepEqual(more, []);
  assert.equal(stage.wire.of("agent/run")[0].events.at(-1).code, "INCOMPLETE_STREAM");

  const next = client.agent("default", agent.threadId);
  next.setMessages(agent.messages);
  await client.say(next, "Count");

  const second = await stage.client();
  const reloaded = second.agent("default", agent.threadId);
  await second.core.connectAgent({ agent: reloaded });
  assert.equal(answer(reloaded), COUNTED);
  assert.deepEqual(outline(reloaded.messages), outline(next.messages));

  // It is reported again only while it is the last thing that happened.
  await second.say(second.agent("fails", agent.threadId), "Fail");
  assert.equal(second.takeErrors().length, 1);
  const third = await stage.client();
  await third.core.connectAgent({ agent: third.agent("default", agent.threadId) });
  assert.deepEqual(third.takeErrors().map(({ code }) => code), ["agent_run_error_event"]);
}

/** A run that fails while it calls a tool of the page, which is then never run: not at once, and not after a reload. */
async function errorInCall(stage) {
  const tool = {
    name: "pick_color",
    parameters: z.object({}),
    handler: async () => assert.fail("the tool of a failed run was run"),
  };
  const client = await stage.client({ tools: [tool] });
  const agent = client.agent("fails-in-call", newId());
  await client.say(agent, "A color, please");
  assert.deepEqual(client.takeErrors().map(({ code }) => code), ["agent_run_error_event"]);
  assert.deepEqual((await reload(stage, agent, { tools: [tool] })).messages, agent.messages);
  assert.equal(stage.clients.at(-1).takeErrors().length, 1);

  const next = client.agent("default", agent.threadId);
  next.setMessages(agent.messages);
  await client.say(next, "Count");
  const reloaded = await reload(stage, next, { tools: [tool] });
  assert.deepEqual(outline(reloaded.messages), outline(next.messages));
  assert.equal(stage.wire.of("agent/run").length, 2);
}

/** A finished thread comes back in a new client with the user's messages, each once; an unknown one is empty. */
async function replay(stage) {
  const client = await stage.client();
  const agent = client.agent("default", newId());
  await client.say(agent, "Count");
  await client.say(agent, "Once more, größer 🙂");
  assert.equal(agent.messages.length, 4);

  const second = await stage.client();
  const reloaded = second.agent("default", agent.threadId);
  await second.core.connectAgent({ agent: reloaded });
  assert.deepEqual(reloaded.messages, agent.messages);
  await second.say(reloaded, "And again");
  assert.equal(reloaded.messages.length, 6);

  const unknown = second.agent("default", newId());
  await second.core.connectAgent({ agent: unknown });
  assert.deepEqual(unknown.messages, []);
}

/** A second client joins a run that is going on: it sees it from its start, and the end that the first one makes. */
async function join(stage) {
  const first = await stage.client();
  const agent = first.agent("slow", newId());
  const running = first.say(agent, "Tick");
  await until(agent, () => answer(agent).includes("tick1"));

  const second = await stage.client();
  const joined = second.agent("slow", agent.threadId);
  const watching = second.core.connectAgent({ agent: joined });
  await until(joined, () => answer(joined).includes("tick4"));
  first.core.stopAgent({ agent });
  await Promise.all([running, watching]);
  assert.match(answer(joined), /^tick0 tick1 tick2 tick3 tick4 /);
  assert.deepEqual(joined.messages, agent.messages);
}

/** The socket dies under a run: the run goes on, a reload finds all of it, and can stop it. */
async function lostConnection(stage) {
  const first = await stage.client();
  const agent = first.agent("slow", newId());
  const running = first.say(agent, "Tick");
  await until(agent, () => answer(agent).includes("tick1"));
  await stage.wire.of("agent/run")[0].cut();
  await running;
  assert.equal(first.takeErrors()[0]?.code, "agent_run_failed_event");
  const seen = answer(agent);

  const second = await stage.client();
  const rejoined = second.agent("slow", agent.threadId);
  const watching = second.core.connectAgent({ agent: rejoined });
  await until(rejoined, () => answer(rejoined).length > seen.length);
  second.core.stopAgent({ agent: rejoined });
  await watching;
  assert.ok(answer(rejoined).startsWith(seen));
  assert.deepEqual(outline(rejoined.messages)[0], ["user", "Tick"]);
}

/** A second run on a busy thread is refused so that the user sees it, and leaves the first alone. */
async function busy(stage) {
  const first = await stage.client();
  const agent = first.agent("slow", newId());
  const running = first.say(agent, "Tick");
  await until(agent, () => answer(agent).includes("tick0"));

  const second = await stage.client();
  const refused = second.agent("default", agent.threadId);
  await second.say(refused, "Me too");
  const [shown] = second.takeErrors();
  assert.ok(shown, "the second run came to nothing and its user was not told");
  assert.match(shown.code, /^agent_run_failed/);
  assert.match(shown.message, /^HTTP 409: ./);

  const far = answer(agent).length;
  await until(agent, () => answer(agent).length > far);
  first.core.stopAgent({ agent });
  await running;
  assert.deepEqual(outline(agent.messages)[0], ["user", "Tick"]);
}

/** Suggestions come, and by REST leave no thread behind; by single-route the client itself runs them on a thread. */
async function suggestions(stage) {
  const client = await stage.client({
    suggestionsConfig: [{ instructions: "What next?", minSuggestions: 1, maxSuggestions: 2, available: "always" }],
  });
  const loaded = new Promise((resolve) => client.core.subscribe({ onSuggestionsFinishedLoading: resolve }));
  const agent = client.agent("default", newId());
  await client.say(agent, "Count");
  await loaded;
  assert.deepEqual(client.core.getSuggestions("default").suggestions, SUGGESTIONS);
  if (stage.transport === "single") return;
  const [{ input }] = stage.wire.of("agent/suggest");
  const listed = (await listThreads(client, "default")).map(({ id }) => id);
  assert.ok(listed.includes(agent.threadId));
  assert.ok(!listed.includes(input.threadId));
  assert.deepEqual(await inspect(client, input.threadId, "events"), { events: [] });
}

/** The thread list of an agent, and the three views of a thread that the inspector shows. */
async function threads(stage) {
  const client = await stage.client();
  const [older, newer, other] = [newId(), newId(), newId()];
  for (const threadId of [older, newer]) {
    const agent = client.agent("default", threadId);
    agent.setMessages([]);
    await client.say(agent, "Count");
  }
  await client.say(client.agent("state", other), "Change it");

  const own = ({ id }) => [older, newer, other].includes(id);
  const listed = (await listThreads(client, "default")).filter(own);
  assert.deepEqual(listed.map(({ id }) => id), [newer, older]);
  for (const { name, agentId, archived, createdAt, updatedAt } of listed) {
    assert.deepEqual({ name, agentId, archived }, { name: null, agentId: "default", archived: false });
    assert.ok(Date.parse(createdAt) <= Date.parse(updatedAt));
  }

  const { messages } = await inspect(client, newer, "messages");
  assert.deepEqual(messages, client.agent("default", newer).messages);
  for (const threadId of [newer, other]) {
    const { events } = await inspect(client, threadId, "events");
    assert.equal(events.at(-1).type, "RUN_FINISHED");
    await verifyEvents(events);
  }
  assert.deepEqual(await inspect(client, newer, "state"), { state: null });
  assert.deepEqual(await inspect(client, other, "state"), { state: { count: 1, items: ["added"] } });
}

/** The changes to threads that the client offers where the runtime announces them. */
async function threadChanges(stage) {
  const client = await stage.client();
  assert.equal(client.core.threadEndpoints.mutations, true);
  const agent = client.agent("default", newId());
  await client.say(agent, "Count");
  const { threadId } = agent;
  const find = async (options) => (await listThreads(client, "default", options)).find(({ id }) => id === threadId);
  const change = (verb, ...how) => withThreads(client, "default", {}, (store) => store[verb](threadId, ...how));

  await change("renameThread", "Counting, größer");
  assert.equal((await find()).name, "Counting, größer");
  await change("archiveThread");
  assert.equal(await find(), undefined);
  assert.equal((await find({ includeArchived: true })).archived, true);
  await change("unarchiveThread");
  assert.equal((await find()).archived, false);
  await change("deleteThread");
  assert.equal(await find({ includeArchived: true }), undefined);

  const second = await stage.client();
  const gone = second.agent("default", threadId);
  await second.core.connectAgent({ agent: gone });
  assert.deepEqual(gone.messages, []);
}

/** AG-UI's own agent, of several generations, without CopilotKit around it. */
async function plainAgUi(stage) {
  const makes = {
    default: (agent) => assert.equal(answer(agent), COUNTED),
    state: (agent) => assert.deepEqual(agent.state, { count: 1, items: ["added"] }),
    tools: (agent) => assert.equal(agent.messages.at(-1).toolCalls[0].function.name, "pick_color"),
  };
  const threadId = newId();
  const client = await stage.client();
  for (const id of ["fails", "default", "fails-in-call", "default"]) await client.say(client.agent(id, threadId), "Go");
  assert.equal(client.takeErrors().length, 2);
  for (const { agui } of Object.values(GENERATIONS)) {
    const reloaded = new agui.HttpAgent({ url: `${stage.runtimeUrl}/agent/default/connect`, threadId });
    await reloaded.runAgent();
    assert.equal(reloaded.messages.filter(({ role }) => role === "user").length, 4);
    assert.equal(answer(reloaded), COUNTED);
    for (const [id, check] of Object.entries(makes)) {
      const agent = new agui.HttpAgent({ url: `${stage.runtimeUrl}/agent/${id}/run`, threadId: newId() });
      agent.addMessage({ id: newId(), role: "user", content: "Go" });
      await agent.runAgent();
      check(agent);
    }
  }
}

/** An agent's thread in a new client, which has only what the runtime replays. */
async function reload(stage, { agentId, threadId }, options) {
  const client = await stage.client(options);
  const agent = client.agent(agentId, threadId);
  await client.core.connectAgent({ agent });
  return agent;
}

/** Calls `use` with the client's own thread store once it has loaded its list. */
async function withThreads({ core }, agentId, options, use) {
  const store = ɵcreateThreadStore({ fetch: core.ɵruntimeFetch });
  store.start();
  try {
    const loaded = new Promise((resolve, reject) => {
      store.select((state) => state).subscribe(({ error, context, isLoading, threads }) => {
        if (error) reject(error);
        // Without a context nothing loads either: the store has not been told yet what to ask for.
        else if (context && !isLoading) resolve(threads);
      });
    });
    store.setContext({ runtimeUrl: core.runtimeUrl, headers: core.headers, agentId, ...options });
    return await use(store, await loaded);
  } finally {
    store.stop();
  }
}

const listThreads = (client, agentId, options) => withThreads(client, agentId, options, (_store, threads) => threads);

/** One view of a thread, as the inspector asks for it. */
async function inspect({ core }, threadId, view) {
  const url = `${core.runtimeUrl}/threads/${encodeURIComponent(threadId)}/${view}`;
  const response = await core.ɵruntimeFetch(url, { headers: { ...core.headers } });
  assert.equal(response.status, 200, `${view}: ${await response.clone().text()}`);
  return response.json();
}
