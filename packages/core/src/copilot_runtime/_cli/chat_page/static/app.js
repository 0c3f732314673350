// The chat page: a small client of the runtime's REST routes, without any library.
// It builds a conversation from server-sent events, shows it, and runs the page's own tools.

const setting = (name) => document.querySelector(`meta[name="${name}"]`).content;

const BASE = new URL(setting("runtime"), document.baseURI);
const WIDE = matchMedia("(min-width: 60.01rem)");

// Example messages for each of the demo's agents; other agents have none.
const EXAMPLES = setting("examples") === "demo" && {
  default: ["Hello!", "What is this?", "What can you do?"],
  tools: ["Let me choose a colour", "Make the background teal"],
  state: ["Add milk, bread and eggs", "Got milk", "Remove bread"],
  reasoning: ["Never odd or even"],
  long: ["Count your steps"],
  fails: ["Please try"],
};

// ---------------------------------------------------------------- HTTP

// Not crypto.randomUUID, which pages without TLS do not have.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What the user has entered for a runtime that identifies users; the page knows no other credentials than cookies.
let authorization = recall(sessionStorage, "authorization", "");

async function call(method, path, { body, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (authorization) headers.authorization = authorization;
  const response = await fetch(new URL(path, BASE), { method, headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw new ResponseError(response.status, await errorMessage(response));
  return response;
}

class ResponseError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// A browser may forbid its storage.
function recall(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch (error) {
    console.warn(error);
  }
}

async function errorMessage(response) {
  const body = await response.json().catch(() => ({}));
  const reason = body.message ?? body.details ?? body.error ?? response.statusText;
  return `The runtime responded with status ${response.status}: ${reason}`;
}

// Yields the events of a text/event-stream (HTML standard, section 9.2.6), parsed from their data as JSON.
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

// Not every browser can iterate over a stream yet.
async function* chunks(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

// Returns a copy of a JSON value with a JSON Patch applied (RFC 6902: add, replace, remove).
function applyPatch(value, operations) {
  // A pointer begins with "/" or is empty, so its first key is always "", which is the key of the whole value.
  const root = { "": structuredClone(value) };
  for (const { op, path, value: operand } of operations) {
    const keys = path.split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = keys.pop();
    const holder = keys.reduce((node, key) => (hasMember(node, key) ? node[key] : undefined), root);
    const exists = hasMember(holder, last);
    const end = Array.isArray(holder) && (last === "-" || last === String(holder.length));
    if (op === "add" && Array.isArray(holder) && (exists || end)) holder.splice(end ? holder.length : last, 0, operand);
    else if (op === "remove" && exists && Array.isArray(holder)) holder.splice(last, 1);
    else if (op === "remove" && exists) delete holder[last];
    else if ((op === "replace" && exists) || (op === "add" && isObject(holder))) holder[last] = operand;
    else throw new Error(`cannot ${op} ${path}`);
  }
  return root[""];
}

function hasMember(node, key) {
  // Unlike the elements of an array, its "length" is not part of the JSON value.
  if (Array.isArray(node)) return /^(0|[1-9]\d*)$/.test(key) && Number(key) < node.length;
  return isObject(node) && Object.hasOwn(node, key);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// ---------------------------------------------------------------- stopped runs

// For the events of a thread, a run that was stopped has finished like any other. So the page remembers the last ones
// that it has stopped itself, to show it after a reload, too.
const STOPPED_LIMIT = 200;
const stoppedRuns = new Set(recall(localStorage, "stopped-runs", []));

function setStopped(runId, stopped) {
  stoppedRuns.delete(runId);
  if (stopped) stoppedRuns.add(runId);
  remember(localStorage, "stopped-runs", [...stoppedRuns].slice(-STOPPED_LIMIT));
}

// ---------------------------------------------------------------- the conversation

// The items of a conversation in the order in which they began, and the shared state. It is independent of the page;
// it calls `changed(item)` for every item that is new or has changed, and `changed()` if the state has.
class Conversation {
  items = [];
  state = {};
  runId = null; // of the active run
  failed = false; // whether the last run ended with an error
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

  fail(text, { lost = false, logged = false } = {}) {
    this.runId = null;
    this.failed = true;
    this.#close();
    this.add("error", newId(), { text, lost, logged });
  }

  finish({ runId, outcome }) {
    this.runId = null;
    this.failed = false;
    this.#close();
    if (stoppedRuns.has(runId)) this.add("notice", newId(), { text: "Stopped." });
    if (outcome?.type === "interrupt") {
      this.add("notice", newId(), { text: "The agent waits for an answer that only your own frontend can give." });
    }
  }

  #close() {
    for (const item of this.items.filter((each) => each.open)) this.change(item, { open: false });
  }

  // A run's input contains messages: those of the user, and results of tools.
  addMessage(message) {
    if (message.role === "user" && !this.find("user", message.id)) {
      this.add("user", message.id, { text: plainText(message.content) });
    }
    if (message.role === "tool") {
      this.change(this.find("tool", message.toolCallId), { result: plainText(message.content), resultId: message.id });
    }
  }

  // A message of a snapshot, which may be one whose events have come already.
  addSnapshotMessage(message) {
    if (message.role !== "assistant") return this.addMessage(message);
    const text = plainText(message.content);
    const known = this.find("assistant", message.id);
    if (known) this.change(known, { text });
    else if (text) this.add("assistant", message.id, { text });
    for (const { id, function: called } of message.toolCalls ?? []) {
      const members = { name: called.name, parentId: message.id, arguments: called.arguments };
      if (!this.find("tool", id)) this.add("tool", id, members);
    }
  }

  pendingCalls() {
    return this.items.filter((item) => item.kind === "tool" && item.result === undefined && !item.open);
  }

  // The whole history, as RunAgentInput.messages.
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

const startText = (kind) => (conversation, event) => {
  if (!conversation.find(kind, event.messageId)) conversation.add(kind, event.messageId, { text: "", open: true });
};
const appendText = (kind) => (conversation, event) => {
  const item = conversation.find(kind, event.messageId);
  conversation.change(item, { text: item?.text + event.delta });
};
const endText = (kind) => (conversation, event) => {
  conversation.change(conversation.find(kind, event.messageId), { open: false });
};

// Applies AG-UI events to a conversation. Other events have nothing that this page could show.
const HANDLERS = {
  RUN_STARTED(conversation, event) {
    conversation.runId = event.runId;
    for (const message of event.input?.messages ?? []) conversation.addMessage(message);
  },
  RUN_FINISHED: (conversation, event) => conversation.finish(event),
  RUN_ERROR: (conversation, event) => conversation.fail(event.message, { logged: true }),
  TEXT_MESSAGE_START: startText("assistant"),
  TEXT_MESSAGE_CONTENT: appendText("assistant"),
  TEXT_MESSAGE_END: endText("assistant"),
  REASONING_MESSAGE_START: startText("reasoning"),
  REASONING_MESSAGE_CONTENT: appendText("reasoning"),
  REASONING_MESSAGE_END: endText("reasoning"),
  TOOL_CALL_START(conversation, event) {
    const members = { name: event.toolCallName, parentId: event.parentMessageId, arguments: "", open: true };
    conversation.add("tool", event.toolCallId, members);
  },
  TOOL_CALL_ARGS(conversation, event) {
    const item = conversation.find("tool", event.toolCallId);
    conversation.change(item, { arguments: item?.arguments + event.delta });
  },
  TOOL_CALL_END(conversation, event) {
    conversation.change(conversation.find("tool", event.toolCallId), { open: false });
  },
  TOOL_CALL_RESULT: (conversation, event) => conversation.addMessage({ ...event, id: event.messageId, role: "tool" }),
  MESSAGES_SNAPSHOT(conversation, event) {
    for (const message of event.messages) conversation.addSnapshotMessage(message);
  },
  STATE_SNAPSHOT(conversation, event) {
    conversation.state = event.snapshot;
    conversation.changed();
  },
  STATE_DELTA(conversation, event) {
    try {
      conversation.state = applyPatch(conversation.state, event.delta);
      conversation.changed();
    } catch (error) {
      conversation.add("error", newId(), { text: `A change could not be applied to the state: ${error.message}` });
    }
  },
};

// ---------------------------------------------------------------- the page's tools

// `run` returns the result at once. The result of a tool without it is what the user picks from `options(args)`.
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
    onChoice(option) {
      TOOLS.set_background.run({ color: option });
      return `The user chose ${option}.`;
    },
  },
};

const TOOL_DEFINITIONS = Object.entries(TOOLS).map(([name, tool]) => {
  return { name, description: tool.description, parameters: tool.parameters };
});

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

// Data becomes text nodes and properties, never markup.
function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function button(label, action) {
  const node = element("button", "", label);
  node.type = "button";
  node.addEventListener("click", action);
  return node;
}

function setText(node, text) {
  // Streamed text only grows. Appending to it is cheap and keeps the user's selection.
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

// For each kind of item: returns its node, and a function that updates it.
const VIEWS = {
  user(item) {
    const node = element("div", "user", element("span", "who", "You"), element("div", "text", item.text));
    return [node, () => {}];
  },
  assistant(item) {
    const text = element("div", "text");
    const node = element("div", "assistant", element("span", "who", page.agent.value), text);
    return [node, () => setText(text, item.text)];
  },
  reasoning(item) {
    const text = element("div", "text");
    const title = element("summary", "");
    const node = element("details", "reasoning", title, text);
    node.open = session.live;
    const update = () => {
      setText(text, item.text);
      title.textContent = item.open ? "Reasoning…" : "Reasoning";
      if (!item.open && session.live) node.open = false;
    };
    return [node, update];
  },
  tool(item) {
    const status = element("span", "status");
    const argumentsNode = element("pre", "");
    const result = element("pre", "");
    const ask = element("div", "ask");
    const title = element("h3", "", "Tool ", element("code", "", item.name), " ", status);
    const node = element("section", "tool", title, argumentsNode, ask, result);
    const update = () => {
      const answered = item.result !== undefined;
      status.textContent = answered ? "has its result" : item.open ? "is being called…" : "is waiting for its result";
      node.classList.toggle("answered", answered);
      argumentsNode.textContent = item.open ? item.arguments : indented(item.arguments);
      result.textContent = answered ? `→ ${item.result}` : "";
      ask.replaceChildren(...(answered || session.busy ? [] : questions(item)));
    };
    return [node, update];
  },
  error(item) {
    const node = element("div", "error", element("strong", "", "Error: "), item.text);
    if (item.logged) node.append(element("small", "", "The terminal in which this server runs says why."));
    // After a reload, earlier errors need not interrupt users of screen readers.
    if (session.live || item.lost) node.setAttribute("role", "alert");
    if (item.lost) node.append(element("div", "choices", button("Reconnect", () => open(session.threadId))));
    return [node, () => {}];
  },
  notice(item) {
    return [element("p", "notice", item.text), () => {}];
  },
};

// Returns what to ask the user about a pending call: to pick one of the tool's options, or to run the tool
// (after a reload, because the page that was to run it no longer exists).
function questions(item) {
  const tool = TOOLS[item.name];
  if (!tool) return [];
  if (tool.run) return [element("div", "choices", button("Run it in this page", () => runTool(session, item)))];
  const { question, options } = tool.options(argumentsOf(item));
  const choose = (option) => answer(session, item, tool.onChoice(option));
  const buttons = (options ?? []).map((option) => button(String(option), () => choose(option)));
  const group = element("div", "choices", ...buttons);
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
  const { state } = current.conversation;
  page.state.hidden = state === null || (typeof state === "object" && Object.keys(state).length === 0);
  page["state-json"].textContent = JSON.stringify(state, null, 2);
}

function showBusy() {
  const running = session.busy || session.conversation.runId !== null;
  const hadFocus = document.activeElement === page.stop;
  page.send.disabled = page.agent.value === "";
  page.stop.hidden = !running;
  page.stop.disabled = session.stopping;
  page.send.hidden = running;
  page.log.setAttribute("aria-busy", String(running));
  for (const item of session.conversation.pendingCalls()) show(session, item);
  if (hadFocus && !running) page.prompt.focus();
}

function showWelcome() {
  if (page.agent.value === "") {
    page.log.replaceChildren(element("div", "welcome", element("p", "", "This runtime has no agents for this page.")));
    return;
  }
  const examples = (EXAMPLES[page.agent.value] ?? []).map((text) => button(text, () => sendMessage(text)));
  const words = element("p", "", examples.length ? "Write a message, or try one of these:" : "Write a message.");
  page.log.replaceChildren(element("div", "welcome", words, element("div", "choices", ...examples)));
}

function showDescription() {
  page.description.textContent = info.agents[page.agent.value]?.description ?? "";
}

// ---------------------------------------------------------------- actions

let info = { agents: {} };
let session = null; // of the thread that the page shows

function address(threadId, agentId) {
  return `#${new URLSearchParams({ agent: agentId, thread: threadId })}`;
}

// Shows a thread: replays its events from the runtime, and follows its active run, if any.
async function open(threadId, { fresh = false } = {}) {
  session?.aborter.abort();
  const current = {
    threadId,
    conversation: new Conversation((item) => show(current, item)),
    views: new Map(), // for each item: its node, and a function that updates it
    aborter: new AbortController(),
    busy: false, // whether this page has an active run
    live: false, // whether events are new, and not replayed
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
  if (current.conversation.items.length === 0) showWelcome();
  else listThreads();
}

// Sends a POST whose response is a stream of events. Returns false if it or the run failed.
async function stream(current, endpoint, runId) {
  const { conversation, threadId, aborter } = current;
  current.busy = endpoint === "run";
  current.live = current.busy;
  if (current.live) page.status.textContent = "The agent is answering.";
  showBusy();
  const body = {
    threadId,
    runId,
    state: conversation.state,
    messages: current.busy ? conversation.messages() : [],
    tools: TOOL_DEFINITIONS,
    context: [],
    forwardedProps: {},
  };
  const path = `agent/${encodeURIComponent(page.agent.value)}/${endpoint}`;
  conversation.failed = false;
  try {
    if (current.busy) conversation.runId = runId;
    const response = await call("POST", path, { body, signal: aborter.signal });
    for await (const event of readEvents(response)) {
      const before = conversation.runId;
      conversation.apply(event);
      // The request has set the id of a run of this page before its first event.
      if (conversation.runId !== before || event.type === "RUN_STARTED") {
        followRun(current);
        if (current === session) showBusy();
      }
    }
    if (conversation.runId !== null) {
      conversation.fail("The connection closed before the end of the answer.", { lost: true });
    }
  } catch (error) {
    // Another thread was opened; the run of this one continues without a reader.
    if (aborter.signal.aborted) return false;
    console.error(error);
    const lost = error instanceof TypeError; // fetch raises it for network errors
    const logged = error instanceof ResponseError && error.status >= 500;
    conversation.fail(lost ? "The connection to the runtime was lost." : error.message, { lost, logged });
  }
  followRun(current);
  current.busy = current.stopping = false;
  if (current === session) showBusy();
  return !conversation.failed;
}

// Runs the agent, and runs it again as long as the page itself can provide the results of all its tool calls.
async function runAgent(current) {
  for (;;) {
    const finished = await stream(current, "run", newId());
    if (current !== session) return;
    await listThreads();
    const runnable = current.conversation.pendingCalls().filter((item) => TOOLS[item.name]?.run);
    if (!finished || runnable.length === 0) return;
    for (const item of runnable) setResult(current, item, TOOLS[item.name].run(argumentsOf(item)));
    if (current.conversation.pendingCalls().length > 0) return;
  }
}

function setResult(current, item, result) {
  current.conversation.change(item, { result, resultId: newId() });
}

function answer(current, item, result) {
  setResult(current, item, result);
  page.prompt.focus();
  if (current.conversation.pendingCalls().length === 0) runAgent(current);
}

function runTool(current, item) {
  answer(current, item, TOOLS[item.name].run(argumentsOf(item)));
}

function sendMessage(text) {
  const { conversation } = session;
  if (text.trim() === "" || session.busy || conversation.runId !== null) return;
  for (const item of conversation.pendingCalls()) setResult(session, item, "The user wrote a message instead.");
  conversation.add("user", newId(), { text });
  page.prompt.value = "";
  page.prompt.focus();
  runAgent(session);
}

async function stop() {
  const current = session;
  const { conversation, threadId } = current;
  const { runId } = conversation;
  current.stopping = true;
  setStopped(runId, true); // before the run's last event, which may come before the response
  showBusy();
  try {
    const path = `agent/${encodeURIComponent(page.agent.value)}/stop/${encodeURIComponent(threadId)}`;
    const response = await call("POST", path, { body: { runId } });
    const { stopped } = await response.json();
    if (!stopped) {
      current.stopping = false;
      setStopped(runId, false);
    }
  } catch (error) {
    current.stopping = false;
    setStopped(runId, false);
    conversation.add("error", newId(), { text: `Could not stop: ${error.message}` });
  }
  if (current === session) showBusy();
}

// ---------------------------------------------------------------- the list of threads

// The threads with a run that this page has started or joined, and whose end it has not seen. The runtime lists a
// thread from the end of its first run on.
const running = new Map();
const updateTimes = new Map(); // of the threads that the runtime has listed
const POLL_MILLISECONDS = 2000;
let listing = null; // the timer of the next listing

function followRun({ threadId, conversation }) {
  if (conversation.runId === null) {
    running.delete(threadId);
  } else if (!running.has(threadId)) {
    const first = conversation.items.find((item) => item.kind === "user");
    const name = first && threadName(first);
    running.set(threadId, { id: threadId, agentId: page.agent.value, name, before: updateTimes.get(threadId) });
  }
  listThreadsIn(50); // a replay may begin and end many runs
}

function listThreadsIn(milliseconds) {
  clearTimeout(listing);
  listing = setTimeout(listThreads, milliseconds);
}

async function listThreads() {
  if (!info.threadEndpoints?.list) return;
  clearTimeout(listing);
  const current = session;
  try {
    const { threads } = await (await call("GET", "threads")).json();
    for (const { id, updatedAt } of threads) {
      updateTimes.set(id, updatedAt);
      // The run of a thread that is not shown has ended, if the thread has changed since.
      if (id !== session.threadId && running.has(id) && running.get(id).before !== updatedAt) running.delete(id);
    }
    await nameThread(current, threads);
    if (current !== session) return;
    const listed = new Set(threads.map(({ id }) => id));
    showThreads([...[...running.values()].filter(({ id }) => !listed.has(id)).reverse(), ...threads]);
    if ([...running.keys()].some((id) => id !== session.threadId)) listThreadsIn(POLL_MILLISECONDS);
  } catch (error) {
    page.list.replaceChildren(element("li", "", `The list of threads is not available: ${error.message}`));
  }
}

// Names a thread after its first message, if the runtime allows changing its name.
async function nameThread({ threadId, conversation }, threads) {
  const thread = threads.find((each) => each.id === threadId && !each.name);
  const first = conversation.items.find((item) => item.kind === "user");
  if (!thread || !first || !info.threadEndpoints.mutations) return;
  const name = threadName(first);
  const request = call("PATCH", `threads/${encodeURIComponent(threadId)}`, { body: { agentId: thread.agentId, name } });
  // If that fails, the list is still shown, without the name.
  await request.then(() => (thread.name = name), console.error);
}

function threadName(message) {
  return message.text.replace(/\s+/g, " ").slice(0, 60);
}

function showThreads(threads) {
  const rows = threads.map(({ id, agentId, name, updatedAt }) => {
    const when = running.has(id)
      ? "running"
      : new Date(updatedAt).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const link = element("a", "", name ?? `Thread ${id.slice(0, 8)}`, element("small", "", `${agentId} · ${when}`));
    link.href = address(id, agentId);
    link.title = name ?? id;
    if (id === session.threadId) link.setAttribute("aria-current", "true");
    return element("li", "", link);
  });
  page.list.replaceChildren(...(rows.length ? rows : [element("li", "", element("small", "", "No threads yet."))]));
}

// ---------------------------------------------------------------- the start

function startThread() {
  const threadId = newId();
  history.pushState(null, "", address(threadId, page.agent.value));
  open(threadId, { fresh: true });
  page.prompt.focus();
}

// The URL identifies the thread to show, so that reloading, going back and bookmarks work.
function openFromUrl() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const agentId = parameters.get("agent");
  if (Object.hasOwn(info.agents, agentId)) page.agent.value = agentId;
  showDescription();
  const existing = parameters.get("thread");
  const threadId = existing ?? newId();
  history.replaceState(null, "", address(threadId, page.agent.value));
  return open(threadId, { fresh: existing === null });
}

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  sendMessage(page.prompt.value);
});
page.prompt.addEventListener("keydown", (event) => {
  // While an input method is composing a word, Enter confirms the word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendMessage(page.prompt.value);
});
page.stop.addEventListener("click", stop);
page.new.addEventListener("click", startThread);
page.agent.addEventListener("change", () => {
  showDescription();
  startThread();
});
addEventListener("hashchange", openFromUrl);
WIDE.addEventListener("change", () => (page.threads.open = WIDE.matches));

// Asks for credentials: the runtime identifies users, and the page has only the cookies of this server.
function credentialsForm() {
  const input = element("input", "");
  input.placeholder = "Bearer ...";
  input.autocomplete = "off";
  input.setAttribute("aria-label", "Authorization header");
  const enter = () => {
    authorization = input.value.replace(/[^\x20-\x7e]/g, "").trim(); // a header holds no other characters
    remember(sessionStorage, "authorization", authorization);
    start();
  };
  input.addEventListener("keydown", (event) => event.key === "Enter" && enter());
  const field = element("div", "field", input, button("Sign in", enter));
  const text = "This runtime identifies users. Enter the Authorization header that its identify_user accepts:";
  return element("div", "", element("small", "", text), field);
}

async function start() {
  page.threads.open = WIDE.matches;
  try {
    info = await (await call("GET", "info")).json();
  } catch (error) {
    const again = error.status === 401 ? credentialsForm() : element("div", "choices", button("Try again", start));
    const node = element("div", "error", element("strong", "", "Error: "), error.message, again);
    if (error.status >= 500) again.before(element("small", "", "The terminal in which this server runs says why."));
    page.log.replaceChildren(node);
    return;
  }
  page.agent.replaceChildren(...Object.keys(info.agents).map((id) => new Option(id, id)));
  if (!info.threadEndpoints?.list) page.list.hidden = true;
  await openFromUrl();
  page.prompt.focus();
}

start();
