// A thread that the page shows: sends its runs, follows their events, and finds them again when a connection is lost.

import { Conversation } from "./conversation.js";
import { newId } from "./dom.js";
import { inBrowser, recall, remember } from "./storage.js";
import { argumentsOf, TOOLS } from "./tools.js";
import { readFrames, ResponseError } from "./transport.js";

const ATTEMPTS = 7;
const FIRST_PAUSE = 300;

// These say something of the stream, not of the run: the client is to connect again.
const STREAM_ERRORS = new Set(["SLOW_READER", "SERVER_SHUTDOWN"]);

// For the events of a thread, a run that was stopped has finished like any other. So the page remembers the last ones
// that it has stopped itself, to show it after a reload, too.
const STOPPED_LIMIT = 200;
const stoppedRuns = new Set(recall(inBrowser, "stopped-runs", []));

function setStopped(runId, stopped) {
  stoppedRuns.delete(runId);
  if (stopped) stoppedRuns.add(runId);
  remember(inBrowser, "stopped-runs", [...stoppedRuns].slice(-STOPPED_LIMIT));
}

const UNKNOWN_RUN =
  "The runtime does not know this run. Either it had not begun when the connection was lost, or the runtime was " +
  "restarted without a persistent store. Send the message again.";

class Lost extends Error {}

// `listener` has the methods of a conversation's, `busyChanged()`, `event(frame, event, record)` and
// `runChanged(kind)`, which is "started" for a run of this page, "ended" for any, and "same" if there was nothing new.
export class Session {
  status = "idle"; // or "running", "joining", "reconnecting"
  live = false; // whether events are new, and not replayed
  stopping = false;
  lastEventId = null;
  #aborter = new AbortController(); // of everything that the session does
  #connection = null; // the aborter of the open stream

  constructor({ runtime, agentId, threadId, extras, listener }) {
    Object.assign(this, { runtime, agentId, threadId, extras, listener });
    this.conversation = new Conversation(listener, (runId) => stoppedRuns.has(runId));
  }

  get busy() {
    return this.status === "running" || this.status === "reconnecting" || this.conversation.runId !== null;
  }

  close() {
    this.#aborter.abort();
    this.#connection?.abort();
  }

  // Replays the thread, and follows its active run, if any.
  async open() {
    await this.#follow("connect", newId(), "joining");
  }

  // Looks for what has happened since, such as a run that another tab or browser has started.
  async catchUp() {
    if (this.#isIdle && (await this.#hasNews()) && this.#isIdle) await this.#follow("connect", newId(), "joining");
  }

  get #isIdle() {
    return this.status === "idle" && this.conversation.runId === null;
  }

  // Returns whether the thread has events that the page has not seen. Reads no more than the first of them, and changes
  // nothing, so the user may write meanwhile. Pages ask often: one that cannot does not complain.
  async #hasNews() {
    if (this.lastEventId === null) return false; // a thread that has no run yet
    const aborter = new AbortController();
    const abort = () => aborter.abort();
    this.#aborter.signal.addEventListener("abort", abort, { once: true });
    try {
      const response = await this.#connect(this.#input(newId(), []), aborter.signal, { isPoll: true });
      for await (const frame of readFrames(response.body)) return frame.id !== null;
    } catch (error) {
      if (!aborter.signal.aborted) console.warn(error);
    } finally {
      this.#aborter.signal.removeEventListener("abort", abort);
      abort();
    }
    return false;
  }

  send(content) {
    for (const item of this.conversation.pendingCalls()) this.#setResult(item, "The user wrote a message instead.");
    this.conversation.add("user", newId(), { content });
    return this.run();
  }

  // Runs the agent, and runs it again as long as the page itself can provide the results of all its tool calls.
  async run(members = {}) {
    for (;;) {
      const finished = await this.#follow("run", newId(), "running", members);
      members = {};
      if (this.#aborter.signal.aborted || !finished) return;
      const pending = this.conversation.pendingCalls();
      const runnable = pending.filter((item) => TOOLS[item.name]?.run);
      if (runnable.length === 0 || this.conversation.openInterrupts().length > 0) return;
      for (const item of runnable) this.#setResult(item, TOOLS[item.name].run(argumentsOf(item)));
      if (pending.length > runnable.length) return;
    }
  }

  // Provides the result of a tool call, and runs the agent if no other is missing.
  answerCall(item, result) {
    this.#setResult(item, result);
    if (this.conversation.pendingCalls().length === 0) return this.run();
  }

  // Responds to an interrupt, and resumes once all have their responses.
  answerInterrupt(item, status, payload) {
    const answer = { interruptId: item.id, status, ...(payload === undefined ? {} : { payload }) };
    this.conversation.change(item, { answer });
    const open = this.conversation.openInterrupts();
    if (open.every((each) => each.answer !== null)) return this.run({ resume: open.map((each) => each.answer) });
  }

  async stop() {
    const { runId } = this.conversation;
    this.stopping = true;
    setStopped(runId, true); // before the run's last event, which may come before the response
    this.listener.busyChanged();
    let failure = null;
    try {
      const { agentId, threadId } = this;
      const { stopped } = await this.runtime.json("stop", { agentId, threadId, body: runId === null ? {} : { runId } });
      if (stopped) return;
    } catch (error) {
      failure = error;
    }
    this.stopping = false;
    setStopped(runId, false);
    if (failure) this.conversation.add("error", newId(), { text: `Could not stop: ${failure.message}` });
    this.listener.busyChanged();
  }

  // Cuts the connection, as a network does; the session then finds the run again.
  cut() {
    this.#connection?.abort();
  }

  async suggestions() {
    const instruction =
      "Suggest up to three short messages that I could send next. Call copilotkitSuggest with them, and write nothing else.";
    const ask = { id: newId(), role: "user", content: instruction };
    const body = this.#input(newId(), [...this.conversation.messages(), ask], newId());
    body.tools = [SUGGEST_TOOL];
    body.forwardedProps = { toolChoice: { type: "function", function: { name: SUGGEST_TOOL.name } } };
    const response = await this.runtime.send("suggest", { agentId: this.agentId, body }, { signal: this.#aborter.signal });
    let text = "";
    for await (const frame of readFrames(response.body)) {
      const event = JSON.parse(frame.data);
      this.listener.event(frame, event, response.record);
      if (event.type === "TOOL_CALL_ARGS") text += event.delta;
      if (event.type === "RUN_ERROR") throw new Error(event.message);
    }
    const suggestions = text === "" ? [] : JSON.parse(text).suggestions;
    return (Array.isArray(suggestions) ? suggestions : []).filter(({ message }) => typeof message === "string");
  }

  #input(runId, messages, threadId = this.threadId) {
    const { tools, context, forwardedProps } = this.extras();
    return { threadId, runId, state: this.conversation.state, messages, tools, context, forwardedProps };
  }

  #setResult(item, result) {
    this.conversation.change(item, { result, resultId: newId() });
  }

  // Sends a request and applies its events, also those that come after a lost connection. Returns whether the run, if
  // there is one, has finished.
  async #follow(operation, runId, status, members = {}) {
    const { conversation } = this;
    this.live = operation === "run";
    this.#setStatus(status);
    conversation.failed = false;
    const isRun = operation === "run";
    const before = this.lastEventId;
    const body = { ...this.#input(runId, isRun ? conversation.messages() : []), ...members };
    if (isRun) {
      conversation.endInterrupts(members.resume ?? []);
      conversation.runId = runId;
      this.listener.runChanged("started");
    }
    try {
      await this.#readUntilEnd(operation, body);
    } catch (error) {
      // Another thread was opened; the run of this one continues without a reader.
      if (this.#aborter.signal.aborted) return false;
      const lost = error instanceof Lost;
      if (!lost) console.warn(error);
      const logged = error instanceof ResponseError && error.status >= 500;
      const text = lost ? "The connection to the runtime was lost." : error.message;
      conversation.fail(text, { lost, logged, status: error.status });
    }
    this.stopping = false;
    this.live = true; // what comes from now on is new
    this.#setStatus("idle");
    this.listener.runChanged(isRun || before === null || this.lastEventId !== before ? "ended" : "same");
    return !conversation.failed;
  }

  async #readUntilEnd(operation, body) {
    let sent = operation;
    for (let attempt = 0; ; attempt += 1) {
      const received = await this.#read(sent, body, sent === "connect" && this.lastEventId !== null);
      if (received === "ended") return;
      if (received === "some") attempt = 0; // the connection was good for a while
      if (attempt >= ATTEMPTS) throw new Lost();
      this.#setStatus("reconnecting");
      await this.#pause(FIRST_PAUSE * 2 ** attempt);
      sent = "connect";
    }
  }

  // Reads one response. Returns "ended", or "some" or "none" for how much came before the connection was lost.
  async #read(operation, body, resumes) {
    const aborter = new AbortController();
    this.#connection = aborter;
    const { agentId } = this;
    const hadRun = this.conversation.runId;
    const before = this.lastEventId;
    const progress = () => (this.lastEventId === before ? "none" : "some");
    let count = 0;
    try {
      const { signal } = aborter;
      const response =
        operation === "connect"
          ? await this.#connect(body, signal, { resumes })
          : await this.runtime.send(operation, { agentId, body }, { signal });
      for await (const frame of readFrames(response.body)) {
        const event = JSON.parse(frame.data);
        count += 1;
        if (frame.id !== null) this.lastEventId = frame.id;
        this.listener.event(frame, event, response.record);
        if (event.type === "RUN_ERROR" && frame.id === null && STREAM_ERRORS.has(event.code)) return progress();
        this.#apply(event);
      }
      if (this.conversation.runId === null) return "ended";
      if (operation === "connect" && count === 0 && hadRun !== null) throw new Error(UNKNOWN_RUN);
      return progress();
    } catch (error) {
      if (this.#aborter.signal.aborted || error instanceof ResponseError || error instanceof SyntaxError) throw error;
      // fetch raises TypeError for a network error; the session itself aborts to cut the connection.
      if (error instanceof TypeError || error.name === "AbortError") return progress();
      throw error;
    } finally {
      this.#connection = null;
    }
  }

  // Sends a request to follow the thread: from its beginning, or from the last event that the page has seen.
  #connect(body, signal, { resumes = true, isPoll = false }) {
    const { agentId, runtime, lastEventId } = this;
    const isEnvelope = runtime.isSingleRoute;
    const sent = { ...body, messages: [], ...(resumes && isEnvelope ? { lastSeenEventId: lastEventId } : {}) };
    const headers = resumes && !isEnvelope ? { "last-event-id": lastEventId } : {};
    return runtime.send("connect", { agentId, body: sent }, { signal, headers, isPoll });
  }

  #apply(event) {
    const before = this.conversation.runId;
    if (this.status === "reconnecting") this.#setStatus("running");
    this.conversation.apply(event);
    if (this.conversation.runId !== before || event.type === "RUN_STARTED") this.listener.busyChanged();
  }

  #setStatus(status) {
    this.status = status;
    this.listener.busyChanged();
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      addEventListener("online", resolve, { once: true });
      this.#aborter.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    }).then(() => {
      if (this.#aborter.signal.aborted) throw new DOMException("The session was closed.", "AbortError");
    });
  }
}

// What CopilotKit's own frontend asks an agent to call for suggestions.
const SUGGEST_TOOL = {
  name: "copilotkitSuggest",
  description: "Suggests messages to the user.",
  parameters: {
    type: "object",
    properties: {
      suggestions: {
        type: "array",
        items: {
          type: "object",
          properties: {
            title: { type: "string", description: "What the button says." },
            message: { type: "string", description: "The message to send." },
          },
          required: ["title", "message"],
        },
      },
    },
    required: ["suggestions"],
  },
};
