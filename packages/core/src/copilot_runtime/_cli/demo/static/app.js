// The demo's page: a small client of the runtime's REST routes, without any library.
// It reads server-sent events, keeps a conversation from them, shows it, and runs the tools that it offers.

const BASE = new URL("api/copilotkit/", document.baseURI);
const WIDE = matchMedia("(min-width: 60.01rem)");

// What to try with each agent; an agent that is not named here simply has no examples.
const EXAMPLES = {
  default: ["Hello!", "What is this?", "What can you do?"],
  tools: ["Let me choose a colour", "Make the background teal"],
  state: ["Add milk, bread and eggs", "Got milk", "Remove bread"],
  reasoning: ["Never odd or even"],
  long: ["Count your steps"],
  fails: ["Please try"],
};

// ---------------------------------------------------------------- the wire

// Random by a source that also pages without TLS have (crypto.randomUUID is only for secure contexts).
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function call(method, path, { body, signal } = {}) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(new URL(path, BASE), { method, headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw new Error(await refusal(response));
  return response;
}

async function refusal(response) {
  const answer = await response.json().catch(() => ({}));
  const reason = answer.message ?? answer.details ?? answer.error ?? response.statusText;
  return `The runtime refused with ${response.status}: ${reason}`;
}

// The events of a text/event-stream (HTML standard, section 9.2.6), each parsed from its data.
async function* readEvents(response) {
  let rest = "";
  let data = [];
  for await (const text of chunks(response.body.pipeThrough(new TextDecoderStream()))) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line.startsWith("data:")) data.push(line.slice(5));
      if (line === "" && data.length) {
        yield JSON.parse(data.join("\n"));
        data = [];
      }
    }
  }
}

// Streams are not iterable in every browser yet.
async function* chunks(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

// A copy of a JSON value with a JSON Patch applied (RFC 6902: add, replace, remove).
function patched(value, operations) {
  // A pointer begins with "/" or is empty: as keys, its first is "", which is where the value hangs.
  const root = { "": structuredClone(value) };
  for (const { op, path, value: given } of operations) {
    const keys = path.split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = keys.pop();
    const holder = keys.reduce((node, key) => (holds(node, key) ? node[key] : undefined), root);
    const exists = holds(holder, last);
    const end = Array.isArray(holder) && (last === "-" || last === String(holder.length));
    if (op === "add" && Array.isArray(holder) && (exists || end)) holder.splice(end ? holder.length : last, 0, given);
    else if (op === "remove" && exists && Array.isArray(holder)) holder.splice(last, 1);
    else if (op === "remove" && exists) delete holder[last];
    else if ((op === "replace" && exists) || (op === "add" && isObject(holder))) holder[last] = given;
    else throw new Error(`cannot ${op} ${path}`);
  }
  return root[""];
}

function holds(node, key) {
  // An array's own "length" is no member of the JSON value.
  if (Array.isArray(node)) return /^(0|[1-9]\d*)$/.test(key) && Number(key) < node.length;
  return isObject(node) && Object.hasOwn(node, key);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// ---------------------------------------------------------------- the conversation

// What was said, as items in the order in which they began, and the state. It knows nothing of the page;
// `changed(item)` tells whoever shows it.
class Conversation {
  items = [];
  state = {};
  runId = null; // of the run going on
  failed = false; // whether the last run ended in an error
  #byId = new Map();

  constructor(changed) {
    this.changed = changed;
  }

  add(kind, id, members) {
    const item = { kind, id, ...members };
    this.items.push(item);
    this.#byId.set(`${kind} ${id}`, item);
    this.changed(item);
    return item;
  }

  find(kind, id) {
    return this.#byId.get(`${kind} ${id}`);
  }

  change(item, members) {
    if (item === undefined) return;
    Object.assign(item, members);
    this.changed(item);
  }

  apply(event) {
    HANDLERS[event.type]?.(this, event);
  }

  fail(text, lost = false) {
    this.runId = null;
    this.failed = true;
    this.#close();
    this.add("error", newId(), { text, lost });
  }

  finish() {
    this.runId = null;
    this.failed = false;
    this.#close();
  }

  #close() {
    for (const item of this.items.filter((each) => each.open)) this.change(item, { open: false });
  }

  // Messages come with a run's input: what the user wrote, and what tools gave.
  learn(message) {
    if (message.role === "user" && !this.find("user", message.id)) {
      this.add("user", message.id, { text: plainText(message.content) });
    }
    if (message.role === "tool") {
      this.change(this.find("tool", message.toolCallId), { result: plainText(message.content), resultId: message.id });
    }
  }

  pendingCalls() {
    return this.items.filter((item) => item.kind === "tool" && item.result === undefined && !item.open);
  }

  // The whole history in the form of RunAgentInput.messages.
  messages() {
    const messages = [];
    const assistant = (id) => {
      const found = messages.find((message) => message.role === "assistant" && message.id === id);
      if (found) return found;
      messages.push({ id, role: "assistant" });
      return messages.at(-1);
    };
    for (const item of this.items) {
      if (item.kind === "user") messages.push({ id: item.id, role: "user", content: item.text });
      if (item.kind === "assistant") assistant(item.id).content = item.text;
      if (item.kind === "tool") {
        const message = assistant(item.parentId ?? item.id);
        message.toolCalls = [
          ...(message.toolCalls ?? []),
          { id: item.id, type: "function", function: { name: item.name, arguments: item.arguments } },
        ];
        if (item.result !== undefined) {
          messages.push({ id: item.resultId, role: "tool", toolCallId: item.id, content: item.result });
        }
      }
    }
    return messages;
  }
}

function plainText(content) {
  if (!Array.isArray(content)) return String(content ?? "");
  return content.map((part) => (part.type === "text" ? part.text : `[${part.type}]`)).join("\n");
}

const begin = (kind) => (talk, event) => {
  if (!talk.find(kind, event.messageId)) talk.add(kind, event.messageId, { text: "", open: true });
};
const extend = (kind) => (talk, event) => {
  const item = talk.find(kind, event.messageId);
  talk.change(item, { text: item?.text + event.delta });
};
const close = (kind) => (talk, event) => talk.change(talk.find(kind, event.messageId), { open: false });

// What each event of AG-UI does to a conversation. Others, which the demo's agents do not send, change nothing.
const HANDLERS = {
  RUN_STARTED(talk, event) {
    talk.runId = event.runId;
    for (const message of event.input?.messages ?? []) talk.learn(message);
  },
  RUN_FINISHED: (talk) => talk.finish(),
  RUN_ERROR: (talk, event) => talk.fail(event.message),
  TEXT_MESSAGE_START: begin("assistant"),
  TEXT_MESSAGE_CONTENT: extend("assistant"),
  TEXT_MESSAGE_END: close("assistant"),
  REASONING_MESSAGE_START: begin("reasoning"),
  REASONING_MESSAGE_CONTENT: extend("reasoning"),
  REASONING_MESSAGE_END: close("reasoning"),
  TOOL_CALL_START(talk, event) {
    const members = { name: event.toolCallName, parentId: event.parentMessageId, arguments: "", open: true };
    talk.add("tool", event.toolCallId, members);
  },
  TOOL_CALL_ARGS(talk, event) {
    const item = talk.find("tool", event.toolCallId);
    talk.change(item, { arguments: item?.arguments + event.delta });
  },
  TOOL_CALL_END: (talk, event) => talk.change(talk.find("tool", event.toolCallId), { open: false }),
  TOOL_CALL_RESULT: (talk, event) => talk.learn({ ...event, id: event.messageId, role: "tool" }),
  STATE_SNAPSHOT(talk, event) {
    talk.state = event.snapshot;
    talk.changed();
  },
  STATE_DELTA(talk, event) {
    try {
      talk.state = patched(talk.state, event.delta);
      talk.changed();
    } catch (error) {
      talk.add("error", newId(), { text: `A change of the state does not fit it: ${error.message}` });
    }
  },
};

// ---------------------------------------------------------------- the tools that this page offers

// `run` answers at once; a tool without it is answered by the person, who picks one of `options(args)`.
const TOOLS = {
  set_background: {
    description: "Tints the background of the page.",
    parameters: {
      type: "object",
      properties: { color: { type: "string", description: "A CSS colour." } },
      required: ["color"],
    },
    run({ color }) {
      if (!CSS.supports("color", color)) return `There is no colour “${color}”.`;
      document.documentElement.style.setProperty("--tint", color);
      return `The background is ${color} now.`;
    },
  },
  show_choices: {
    description: "Asks the user to choose one of several options.",
    parameters: {
      type: "object",
      properties: { question: { type: "string" }, options: { type: "array", items: { type: "string" } } },
      required: ["question", "options"],
    },
    options: ({ question, options }) => ({ question, options }),
    chosen(option) {
      TOOLS.set_background.run({ color: option });
      return `The user chose ${option}.`;
    },
  },
};

const OFFERED = Object.entries(TOOLS).map(([name, { description, parameters }]) => ({ name, description, parameters }));

function argumentsOf(item) {
  try {
    return JSON.parse(item.arguments || "{}");
  } catch {
    return {};
  }
}

// ---------------------------------------------------------------- the page

const NAMES = "agent description threads new list log status composer prompt send stop state state-json".split(" ");
const page = Object.fromEntries(NAMES.map((id) => [id, document.getElementById(id)]));

// Data gets into the page only as text nodes and properties, never as markup.
function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function button(label, action) {
  const node = make("button", "", label);
  node.type = "button";
  node.addEventListener("click", action);
  return node;
}

function setText(node, text) {
  // Text only ever grows while it streams: appending keeps a selection, and costs what was added.
  const shown = node.firstChild;
  if (shown && text.startsWith(shown.data)) shown.appendData(text.slice(shown.length));
  else node.textContent = text;
}

function indented(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

// For each kind of item: its node and what brings that up to date.
const VIEWS = {
  user(item) {
    const node = make("div", "user", make("span", "who", "You"), make("div", "text", item.text));
    return [node, () => {}];
  },
  assistant(item) {
    const text = make("div", "text");
    const node = make("div", "assistant", make("span", "who", page.agent.value), text);
    return [node, () => setText(text, item.text)];
  },
  reasoning(item) {
    const text = make("div", "text");
    const title = make("summary", "");
    const node = make("details", "reasoning", title, text);
    node.open = session.live;
    const update = () => {
      setText(text, item.text);
      title.textContent = item.open ? "Reasoning…" : "Reasoning";
      if (!item.open && session.live) node.open = false;
    };
    return [node, update];
  },
  tool(item) {
    const status = make("span", "status");
    const given = make("pre", "");
    const result = make("pre", "");
    const ask = make("div", "ask");
    const title = make("h3", "", "Tool ", make("code", "", item.name), " ", status);
    const node = make("section", "tool", title, given, ask, result);
    const update = () => {
      const answered = item.result !== undefined;
      status.textContent = answered ? "answered" : item.open ? "is being called…" : "waits for its result";
      node.classList.toggle("answered", answered);
      given.textContent = item.open ? item.arguments : indented(item.arguments);
      result.textContent = answered ? `→ ${item.result}` : "";
      ask.replaceChildren(...(answered || session.busy ? [] : questions(item)));
    };
    return [node, update];
  },
  error(item) {
    const node = make("div", "error", make("strong", "", "Error: "), item.text);
    // What went wrong long ago need not interrupt anybody on a reload.
    if (session.live || item.lost) node.setAttribute("role", "alert");
    if (item.lost) node.append(make("div", "choices", button("Reconnect", () => open(session.threadId))));
    return [node, () => {}];
  },
  notice(item) {
    return [make("p", "notice", item.text), () => {}];
  },
};

// What the person is asked about a call that waits: the tool's options, or whether to run it
// (after a reload: the page that had to run it is gone).
function questions(item) {
  const tool = TOOLS[item.name];
  if (!tool) return [];
  if (tool.run) return [make("div", "choices", button("Run it in this page", () => runTool(session, item)))];
  const { question, options } = tool.options(argumentsOf(item));
  const choose = (option) => answer(session, item, tool.chosen(option));
  const buttons = (options ?? []).map((option) => button(String(option), () => choose(option)));
  const group = make("div", "choices", ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", String(question));
  return [String(question), group];
}

function show(current, item) {
  if (current !== session) return;
  if (item) {
    const atEnd = page.log.scrollHeight - page.log.scrollTop - page.log.clientHeight < 80;
    let view = current.views.get(item);
    if (!view) {
      view = VIEWS[item.kind](item);
      current.views.set(item, view);
      if (current.views.size === 1) page.log.replaceChildren();
      page.log.append(view[0]);
    }
    view[0].classList.toggle("open", item.open === true);
    view[1]();
    if (item.kind === "assistant" && !item.open && current.live) page.status.textContent = item.text;
    if (atEnd || item.kind === "user") page.log.scrollTop = page.log.scrollHeight;
  }
  const { state } = current.talk;
  page.state.hidden = state === null || (typeof state === "object" && Object.keys(state).length === 0);
  page["state-json"].textContent = JSON.stringify(state, null, 2);
}

function showBusy() {
  const running = session.busy || session.talk.runId !== null;
  const hadFocus = document.activeElement === page.stop;
  page.stop.hidden = !running;
  page.stop.disabled = session.stopping;
  page.send.hidden = running;
  page.log.setAttribute("aria-busy", String(running));
  for (const item of session.talk.pendingCalls()) show(session, item);
  if (hadFocus && !running) page.prompt.focus();
}

function showWelcome() {
  const examples = (EXAMPLES[page.agent.value] ?? []).map((text) => button(text, () => say(text)));
  const words = make("p", "", examples.length ? "Write a message, or try one of these:" : "Write a message.");
  page.log.replaceChildren(make("div", "welcome", words, make("div", "choices", ...examples)));
}

function showDescription() {
  page.description.textContent = info.agents[page.agent.value]?.description ?? "";
}

// ---------------------------------------------------------------- what happens

let info = { agents: {} };
let session = null; // the thread that is shown

function address(threadId, agentId) {
  return `#${new URLSearchParams({ agent: agentId, thread: threadId })}`;
}

// Shows a thread: replays what the runtime has of it, and goes on with the run going on, if any.
async function open(threadId, { fresh = false } = {}) {
  session?.aborter.abort();
  const current = {
    threadId,
    talk: new Conversation((item) => show(current, item)),
    views: new Map(), // of each item: its node, and what brings that up to date
    aborter: new AbortController(),
    busy: false, // a run of this page is going on
    live: false, // what comes now is new, and not a replay
    stopping: false,
  };
  session = current;
  page.log.replaceChildren();
  page.status.textContent = "";
  if (!WIDE.matches) page.threads.open = false;
  show(current);
  showBusy();
  listThreads();
  if (!fresh) await stream(current, "connect", newId());
  if (current !== session) return;
  if (current.talk.items.length === 0) showWelcome();
  else listThreads();
}

// One POST that answers with events; false if it failed or the run did.
async function stream(current, endpoint, runId) {
  const { talk, threadId, aborter } = current;
  current.busy = endpoint === "run";
  current.live = current.busy;
  if (current.live) page.status.textContent = "The agent is answering.";
  showBusy();
  const body = {
    threadId,
    runId,
    state: talk.state,
    messages: current.busy ? talk.messages() : [],
    tools: OFFERED,
    context: [],
    forwardedProps: {},
  };
  const path = `agent/${encodeURIComponent(page.agent.value)}/${endpoint}`;
  talk.failed = false;
  try {
    if (current.busy) talk.runId = runId;
    const response = await call("POST", path, { body, signal: aborter.signal });
    for await (const event of readEvents(response)) {
      const before = talk.runId;
      talk.apply(event);
      if (talk.runId !== before) showBusy();
    }
    if (talk.runId !== null) talk.fail("The connection ended before the answer did.", true);
  } catch (error) {
    // Another thread was opened: this one's run goes on without us.
    if (aborter.signal.aborted) return false;
    console.error(error);
    const lost = error instanceof TypeError; // what fetch raises when the network fails
    talk.fail(lost ? "The connection to the runtime was lost." : error.message, lost);
  }
  if (current.stopping) talk.add("notice", newId(), { text: "Stopped." });
  current.busy = current.stopping = false;
  if (current === session) showBusy();
  return !talk.failed;
}

// Runs the agent, and again for as long as the page itself can answer the tools that it calls.
async function converse(current) {
  for (;;) {
    const finished = await stream(current, "run", newId());
    if (current !== session) return;
    await listThreads();
    const mine = current.talk.pendingCalls().filter((item) => TOOLS[item.name]?.run);
    if (!finished || mine.length === 0) return;
    for (const item of mine) giveResult(current, item, TOOLS[item.name].run(argumentsOf(item)));
    if (current.talk.pendingCalls().length > 0) return;
  }
}

function giveResult(current, item, result) {
  current.talk.change(item, { result, resultId: newId() });
}

function answer(current, item, result) {
  giveResult(current, item, result);
  page.prompt.focus();
  if (current.talk.pendingCalls().length === 0) converse(current);
}

function runTool(current, item) {
  answer(current, item, TOOLS[item.name].run(argumentsOf(item)));
}

function say(text) {
  const { talk } = session;
  if (text.trim() === "" || session.busy || talk.runId !== null) return;
  for (const item of talk.pendingCalls()) giveResult(session, item, "The user wrote a message instead.");
  talk.add("user", newId(), { text });
  page.prompt.value = "";
  page.prompt.focus();
  converse(session);
}

async function stop() {
  const current = session;
  const { talk, threadId } = current;
  current.stopping = true;
  showBusy();
  try {
    const path = `agent/${encodeURIComponent(page.agent.value)}/stop/${encodeURIComponent(threadId)}`;
    const response = await call("POST", path, { body: { runId: talk.runId } });
    const { stopped } = await response.json();
    if (!stopped) current.stopping = false;
  } catch (error) {
    current.stopping = false;
    talk.add("error", newId(), { text: `Could not stop: ${error.message}` });
  }
  if (current === session) showBusy();
}

async function listThreads() {
  if (!info.threadEndpoints?.list) return;
  const current = session;
  try {
    const { threads } = await (await call("GET", "threads")).json();
    await nameThread(current, threads);
    if (current === session) showThreads(threads);
  } catch (error) {
    page.list.replaceChildren(make("li", "", `The threads cannot be listed: ${error.message}`));
  }
}

// A thread is named by the first thing said in it, where the runtime lets its name be changed.
async function nameThread({ threadId, talk }, threads) {
  const thread = threads.find((each) => each.id === threadId && !each.name);
  const said = talk.items.find((item) => item.kind === "user");
  if (!thread || !said || !info.threadEndpoints.mutations) return;
  const name = said.text.replace(/\s+/g, " ").slice(0, 60);
  const named = call("PATCH", `threads/${encodeURIComponent(threadId)}`, { body: { agentId: thread.agentId, name } });
  // A list without the name is better than none.
  await named.then(() => (thread.name = name), console.error);
}

function showThreads(threads) {
  const rows = threads.map(({ id, agentId, name, updatedAt }) => {
    const when = new Date(updatedAt).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const link = make("a", "", name ?? `Thread ${id.slice(0, 8)}`, make("small", "", `${agentId} · ${when}`));
    link.href = address(id, agentId);
    link.title = name ?? id;
    if (id === session.threadId) link.setAttribute("aria-current", "true");
    return make("li", "", link);
  });
  page.list.replaceChildren(...(rows.length ? rows : [make("li", "", make("small", "", "No threads yet."))]));
}

function startThread() {
  const threadId = newId();
  history.pushState(null, "", address(threadId, page.agent.value));
  open(threadId, { fresh: true });
  page.prompt.focus();
}

// The address says which thread to show, so that reloading, going back and a bookmark all work.
function openAddressed() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const agentId = asked.get("agent");
  if (Object.hasOwn(info.agents, agentId)) page.agent.value = agentId;
  showDescription();
  const known = asked.get("thread");
  const threadId = known ?? newId();
  history.replaceState(null, "", address(threadId, page.agent.value));
  return open(threadId, { fresh: known === null });
}

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  say(page.prompt.value);
});
page.prompt.addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say(page.prompt.value);
});
page.stop.addEventListener("click", stop);
page.new.addEventListener("click", startThread);
page.agent.addEventListener("change", () => {
  showDescription();
  startThread();
});
addEventListener("hashchange", openAddressed);
WIDE.addEventListener("change", () => (page.threads.open = WIDE.matches));

async function start() {
  page.threads.open = WIDE.matches;
  try {
    info = await (await call("GET", "info")).json();
  } catch (error) {
    const again = make("div", "choices", button("Try again", start));
    page.log.replaceChildren(make("div", "error", make("strong", "", "Error: "), error.message, again));
    return;
  }
  page.agent.replaceChildren(...Object.keys(info.agents).map((id) => new Option(id, id)));
  if (!info.threadEndpoints?.list) page.list.hidden = true;
  await openAddressed();
  page.prompt.focus();
}

start();
