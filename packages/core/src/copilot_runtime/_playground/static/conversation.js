// A conversation as AG-UI's events describe it, independent of the page.

import { newId } from "./dom.js";
import { applyPatch } from "./json_patch.js";

// The kinds of items that are messages, or parts of them.
const MESSAGE_KINDS = new Set(["user", "assistant", "tool", "instruction"]);

// Its items, in the order in which they began, and the shared state. `changed(item)` is called for every item that is
// new or has changed, `removed(items)` and `moved()` after a snapshot of the messages, `stateChanged()` for the state.
export class Conversation {
  items = [];
  state = {};
  runId = null; // of the active run
  failed = false; // whether the last run ended with an error
  #byId = new Map();
  #extras = new Map(); // for each message: the members that no item has
  #stopped;

  constructor(listener, isStopped) {
    this.listener = listener;
    this.#stopped = isStopped;
  }

  add(kind, id, members) {
    const item = { kind, id, ...members };
    this.items.push(item);
    this.#byId.set(`${kind} ${id}`, item);
    this.listener.changed(item);
    return item;
  }

  find(kind, id) {
    return this.#byId.get(`${kind} ${id}`);
  }

  change(item, members) {
    if (item === undefined) return;
    Object.assign(item, members);
    this.listener.changed(item);
  }

  setState(state) {
    this.state = state;
    this.listener.stateChanged();
  }

  apply(event) {
    HANDLERS[event.type]?.(this, event);
  }

  fail(text, members = {}) {
    this.runId = null;
    this.failed = true;
    this.closeOpen();
    this.add("error", newId(), { text, ...members });
  }

  finish({ runId, outcome }) {
    this.runId = null;
    this.failed = false;
    this.closeOpen();
    if (this.#stopped(runId)) this.add("notice", newId(), { text: "Stopped." });
    if (outcome?.type !== "interrupt") return;
    for (const interrupt of outcome.interrupts) {
      if (!this.find("interrupt", interrupt.id)) this.add("interrupt", interrupt.id, { interrupt, answer: null, over: false });
    }
  }

  closeOpen() {
    for (const item of this.items) if (item.open) this.change(item, { open: false });
  }

  // A run has begun, so its thread's interrupts have their answers, or are over.
  endInterrupts(resume) {
    for (const item of this.openInterrupts()) {
      const answer = resume.find(({ interruptId }) => interruptId === item.id) ?? item.answer;
      this.change(item, { answer, over: true });
    }
  }

  openInterrupts() {
    return this.items.filter((item) => item.kind === "interrupt" && !item.over);
  }

  pendingCalls() {
    return this.items.filter((item) => item.kind === "tool" && item.result === undefined && !item.open);
  }

  // A message of a run's input, or of a snapshot, which may be one whose events have come already.
  addMessage(message) {
    const { id, role, content, toolCalls, toolCallId, activityType, ...extra } = message;
    this.addExtra(id, extra);
    MESSAGES[role]?.(this, message);
  }

  addExtra(id, members) {
    if (Object.keys(members).length > 0) this.#extras.set(id, { ...this.#extras.get(id), ...members });
  }

  // The whole list of messages: those that it lacks are gone. What is no message stays behind what it has followed.
  replaceMessages(messages) {
    for (const message of messages) this.addMessage(message);
    const order = new Map();
    for (const message of messages) {
      order.set(message.id, order.size);
      for (const { id } of message.toolCalls ?? []) order.set(id, order.size);
    }
    const kept = [];
    const gone = [];
    let position = -1;
    for (const item of this.items) {
      const isMessage = MESSAGE_KINDS.has(item.kind);
      if (isMessage && !order.has(item.id) && !item.open) {
        gone.push(item);
        this.#byId.delete(`${item.kind} ${item.id}`);
        continue;
      }
      position = isMessage ? (order.get(item.id) ?? position) : position;
      kept.push([position, item]);
    }
    kept.sort(([one], [other]) => one - other);
    this.items = kept.map(([, item]) => item);
    this.listener.reordered(gone);
  }

  // The whole history, as RunAgentInput.messages.
  messages() {
    const messages = [];
    const assistants = new Map();
    const assistant = (id) => {
      if (!assistants.has(id)) {
        assistants.set(id, { id, role: "assistant" });
        messages.push(assistants.get(id));
      }
      return assistants.get(id);
    };
    for (const item of this.items) AS_MESSAGE[item.kind]?.(item, messages, assistant);
    for (const message of messages) Object.assign(message, this.#extras.get(message.id));
    return messages;
  }
}

const AS_MESSAGE = {
  instruction: ({ id, role, text }, messages) => messages.push({ id, role, content: text }),
  user: ({ id, content }, messages) => messages.push({ id, role: "user", content }),
  reasoning: (item, messages) => messages.push({ id: item.id, role: "reasoning", content: item.text }),
  activity: ({ id, activityType, content }, messages) => messages.push({ id, role: "activity", activityType, content }),
  assistant(item, messages, assistant) {
    Object.assign(assistant(item.id), { role: item.role ?? "assistant", content: item.text });
  },
  tool(item, messages, assistant) {
    const message = assistant(item.parentId ?? item.id);
    const called = { name: item.name, arguments: item.arguments };
    const signature = item.encryptedValue === undefined ? {} : { encryptedValue: item.encryptedValue };
    (message.toolCalls ??= []).push({ id: item.id, type: "function", function: called, ...signature });
    if (item.result === undefined) return;
    messages.push({ id: item.resultId, role: "tool", toolCallId: item.id, content: item.result });
  },
};

// Messages of other roles may have been streamed, too.
function changeStreamed(conversation, { id, content }) {
  const known = conversation.find("assistant", id);
  conversation.change(known, { text: plainText(content) });
  return known !== undefined;
}

function addInstruction(conversation, message) {
  if (changeStreamed(conversation, message)) return;
  const { id, role, content } = message;
  const text = plainText(content);
  const known = conversation.find("instruction", id);
  if (known) conversation.change(known, { text });
  else conversation.add("instruction", id, { role, text });
}

const MESSAGES = {
  system: addInstruction,
  developer: addInstruction,
  user(conversation, message) {
    if (changeStreamed(conversation, message)) return;
    const { id, content } = message;
    const known = conversation.find("user", id);
    if (known) conversation.change(known, { content });
    else conversation.add("user", id, { content });
  },
  tool(conversation, { id, toolCallId, content }) {
    conversation.change(conversation.find("tool", toolCallId), { result: plainText(content), resultId: id, failed: false });
  },
  assistant(conversation, { id, content, toolCalls = [] }) {
    const text = plainText(content);
    const known = conversation.find("assistant", id);
    if (known) conversation.change(known, { text });
    else if (text) conversation.add("assistant", id, { text });
    for (const { id: callId, function: called, encryptedValue } of toolCalls) {
      if (conversation.find("tool", callId)) continue;
      conversation.add("tool", callId, { name: called.name, parentId: id, arguments: called.arguments, encryptedValue });
    }
  },
  reasoning(conversation, { id, content }) {
    const known = conversation.find("reasoning", id);
    if (known) conversation.change(known, { text: plainText(content) });
    else conversation.add("reasoning", id, { text: plainText(content) });
  },
  activity(conversation, { id, activityType, content }) {
    const known = conversation.find("activity", id);
    if (known) conversation.change(known, { content });
    else conversation.add("activity", id, { activityType, content });
  },
};

export function plainText(content) {
  if (!Array.isArray(content)) return String(content ?? "");
  return content.map((part) => (part.type === "text" ? part.text : `[${part.type}]`)).join("\n");
}

// A beginning that comes again is that of a replay, which has the whole text.
const start = (kind, members) => (conversation, event) => {
  const id = event.messageId ?? event.toolCallId;
  const known = conversation.find(kind, id);
  if (known) conversation.change(known, members(event));
  else conversation.add(kind, id, members(event));
};
const append = (kind, member) => (conversation, event) => {
  const item = conversation.find(kind, event.messageId ?? event.toolCallId);
  conversation.change(item, { [member]: item?.[member] + event.delta });
};
const end = (kind) => (conversation, event) => {
  conversation.change(conversation.find(kind, event.messageId ?? event.toolCallId), { open: false });
};
const openText = () => ({ text: "", open: true });

const HANDLERS = {
  RUN_STARTED(conversation, event) {
    conversation.runId = event.runId;
    for (const message of event.input?.messages ?? []) conversation.addMessage(message);
    conversation.endInterrupts(event.input?.resume ?? []);
  },
  RUN_FINISHED: (conversation, event) => conversation.finish(event),
  RUN_ERROR: (conversation, event) => conversation.fail(event.message, { code: event.code, logged: true }),
  TEXT_MESSAGE_START: start("assistant", ({ role }) => ({ ...openText(), role })),
  TEXT_MESSAGE_CONTENT: append("assistant", "text"),
  TEXT_MESSAGE_END: end("assistant"),
  REASONING_MESSAGE_START: start("reasoning", openText),
  REASONING_MESSAGE_CONTENT: append("reasoning", "text"),
  REASONING_MESSAGE_END: end("reasoning"),
  REASONING_ENCRYPTED_VALUE(conversation, { subtype, entityId, encryptedValue }) {
    if (subtype === "tool-call") conversation.change(conversation.find("tool", entityId), { encryptedValue });
    else conversation.addExtra(entityId, { encryptedValue });
  },
  TOOL_CALL_START: start("tool", ({ toolCallName, parentMessageId }) => {
    return { name: toolCallName, parentId: parentMessageId, arguments: "", open: true };
  }),
  TOOL_CALL_ARGS: append("tool", "arguments"),
  TOOL_CALL_END: end("tool"),
  TOOL_CALL_RESULT(conversation, { messageId, toolCallId, content }) {
    conversation.addMessage({ id: messageId, role: "tool", toolCallId, content });
  },
  STEP_STARTED: (conversation, { stepName }) => conversation.add("step", newId(), { stepName, open: true }),
  STEP_FINISHED(conversation, { stepName }) {
    const step = conversation.items.findLast((item) => item.kind === "step" && item.stepName === stepName && item.open);
    conversation.change(step, { open: false });
  },
  MESSAGES_SNAPSHOT: (conversation, event) => conversation.replaceMessages(event.messages),
  STATE_SNAPSHOT: (conversation, event) => conversation.setState(event.snapshot),
  STATE_DELTA(conversation, event) {
    patch(conversation, "the state", () => conversation.setState(applyPatch(conversation.state, event.delta)));
  },
  ACTIVITY_SNAPSHOT(conversation, { messageId, activityType, content, replace }) {
    const known = conversation.find("activity", messageId);
    if (!known) conversation.add("activity", messageId, { activityType, content });
    else if (replace !== false) conversation.change(known, { activityType, content });
  },
  ACTIVITY_DELTA(conversation, event) {
    const item = conversation.find("activity", event.messageId);
    if (item === undefined) return;
    patch(conversation, "an activity", () => conversation.change(item, { content: applyPatch(item.content, event.patch) }));
  },
};

function patch(conversation, what, action) {
  try {
    action();
  } catch (error) {
    conversation.add("error", newId(), { text: `A change could not be applied to ${what}: ${error.message}` });
  }
}
