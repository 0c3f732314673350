// Puts the page together.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { button, byId, h, icon, newId } from "./dom.js";
import { RequestPanel } from "./request_panel.js";
import { Session } from "./session.js";
import { Settings, startTabs, startViews } from "./settings.js";
import { StatePanel } from "./state_panel.js";
import { Threads } from "./threads.js";
import { Timeline } from "./timeline.js";
import { Runtime } from "./transport.js";

for (const node of document.querySelectorAll("[data-icon]")) node.prepend(icon(node.dataset.icon));

const runtime = new Runtime(new URL("..", document.baseURI).href);
const settings = new Settings(() => start());
const timeline = new Timeline({ withCredentials: () => settings.withCredentials });
const request = new RequestPanel();
const statePanel = new StatePanel();
const showView = startViews();
startTabs(document.querySelector('[role="tablist"]'));

let info = { agents: {} };
let session = null; // of the thread that the page shows
let suggestionsAsked = 0;
let starts = 0;

runtime.onRequest = (record) => timeline.addRequest(record);

// Other tabs of this browser, which join a run of their thread.
const tabs = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(`playground ${runtime.mount}`);
tabs?.addEventListener("message", ({ data }) => {
  if (data.threadId === session?.threadId) session.catchUp();
  threads.refreshIn(100);
});

// ---------------------------------------------------------------- the parts

const chat = new Chat({
  canSpeak: typeof speechSynthesis !== "undefined",
  speak(text) {
    const wasSpeaking = speechSynthesis.speaking;
    speechSynthesis.cancel();
    if (!wasSpeaking) speechSynthesis.speak(new SpeechSynthesisUtterance(text));
  },
  answerCall: (item, result) => (composer.focus(), session.answerCall(item, result)),
  answerInterrupt: (item, status, payload) => (composer.focus(), session.answerInterrupt(item, status, payload)),
  reopen: () => open(session.threadId),
  settings: () => settings.open(),
});

const composer = new Composer({
  send(content) {
    hideSuggestions();
    session.send(content);
  },
  stop: () => session.stop(),
  transcribe: (body) => runtime.json("transcribe", { body }),
  fail,
});

const threads = new Threads(runtime, {
  current: () => session,
  address,
  fail,
  deleted(threadId) {
    tabs?.postMessage({ threadId: null });
    if (threadId === session.threadId) startThread();
  },
});

function fail(text) {
  if (session) session.conversation.add("error", newId(), { text });
  else chat.announce(text);
}

function listenTo(current) {
  const ifShown = (action) => (...values) => {
    if (current() === session) action(...values);
  };
  return {
    changed: ifShown((item) => chat.show(item)),
    reordered: ifShown((gone) => chat.reorder(session.conversation.items, gone)),
    stateChanged: ifShown(() => statePanel.changed()),
    busyChanged: ifShown(showBusy),
    event: ifShown((frame, event, record) => timeline.addEvent(frame, event, record)),
    runChanged(kind) {
      if (current() === null) return;
      if (kind !== "same") threads.follow(current());
      if (kind === "started") tabs?.postMessage({ threadId: current().threadId });
      if (current() !== session) return;
      showBusy();
      if (kind === "ended" && settings.suggestsAfterRuns && !session.conversation.failed) suggest();
    },
  };
}

// ---------------------------------------------------------------- what is shown

const CONNECTIONS = { idle: "", joining: "Loading…", running: "Running", reconnecting: "Reconnecting…" };

function showBusy() {
  for (const id of ["suggest", "new-thread", "cut"]) byId(id).disabled = !session;
  if (!session) {
    composer.update({ busy: false, stopping: false, reason: "Not connected" });
    return;
  }
  const { busy, stopping, status, conversation } = session;
  const isAsked = conversation.openInterrupts().length > 0;
  const reasons = [
    [session.agentId === "", "There is no agent"],
    [status === "joining" && conversation.runId === null, "Loading the thread"], // a run has to be sent with all of its messages
    [isAsked, "Answer the question above first"],
  ];
  const reason = reasons.find(([applies]) => applies)?.[1] ?? null;
  composer.update({ busy, stopping, reason });
  const shown = status === "joining" && conversation.runId !== null ? "running" : status;
  byId("connection").textContent = CONNECTIONS[shown];
  byId("connection").dataset.status = shown;
  byId("cut").disabled = !busy;
  byId("suggest").disabled = busy || reason !== null;
  byId("log").setAttribute("aria-busy", String(busy));
  chat.refresh();
}

function showWelcome() {
  const { agentId } = session;
  if (agentId === "") {
    chat.showInstead(h("div", { class: "welcome" }, h("h2", {}, "This runtime has no agents for this page.")));
    return;
  }
  const { description, capabilities } = info.agents[agentId];
  const examples = capabilities?.custom?.playground?.examples;
  const buttons = (Array.isArray(examples) ? examples : []).map((text) => {
    return button(String(text), () => (hideSuggestions(), session.send(String(text))), { class: "example" });
  });
  chat.showInstead(
    h(
      "div",
      { class: "welcome" },
      h("img", { src: "icon.svg", alt: "", width: 56, height: 56 }),
      h("h2", {}, agentId),
      h("p", {}, description || "Write a message to this agent."),
      h("div", { class: "choices" }, ...buttons),
    ),
  );
}

// ---------------------------------------------------------------- suggestions

async function suggest() {
  const current = session;
  const asked = (suggestionsAsked += 1);
  const isCurrent = () => current === session && asked === suggestionsAsked;
  showSuggestions([h("p", { class: "hint" }, "Asking for suggestions…")]);
  try {
    const suggestions = await current.suggestions();
    if (!isCurrent()) return;
    const buttons = suggestions.map(({ title, message }) => {
      return button(title || message, () => (hideSuggestions(), session.send(message)), { class: "chip", title: message });
    });
    showSuggestions(buttons.length ? buttons : [h("p", { class: "hint" }, "This agent suggests nothing.")]);
  } catch (error) {
    if (isCurrent()) showSuggestions([h("p", { class: "hint" }, `There are no suggestions: ${error.message}`)]);
  }
}

function showSuggestions(nodes) {
  byId("suggestions").replaceChildren(...nodes);
  byId("suggestions").hidden = false;
}

function hideSuggestions() {
  suggestionsAsked += 1;
  byId("suggestions").hidden = true;
}

// ---------------------------------------------------------------- threads

function address(threadId, agentId) {
  return `#${new URLSearchParams({ agent: agentId, thread: threadId })}`;
}

// Shows a thread: replays its events from the runtime, and follows its active run, if any.
async function open(threadId, { fresh = false } = {}) {
  const isOther = session !== null && session.threadId !== threadId;
  session?.close();
  let current = null;
  const listener = listenTo(() => current);
  current = new Session({ runtime, agentId: byId("agent").value, threadId, extras: () => request.extras(), listener });
  session = current;
  if (isOther) {
    timeline.clear();
    document.documentElement.style.removeProperty("--tint"); // which an agent may have changed, by a tool of the page
  }
  chat.clear(current);
  statePanel.show(current.conversation);
  hideSuggestions();
  showBusy();
  threads.mark(threadId);
  showView("chat");
  document.title = `${current.agentId || "No agent"} · Playground`;
  if (fresh) threads.refresh();
  else await current.open();
  if (current === session && current.conversation.items.length === 0) showWelcome();
}

function startThread() {
  const threadId = newId();
  history.pushState(null, "", address(threadId, byId("agent").value));
  open(threadId, { fresh: true });
  composer.focus();
}

// The URL identifies the thread to show, so that reloading, going back and bookmarks work.
function openFromUrl() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const agentId = parameters.get("agent");
  if (Object.hasOwn(info.agents, agentId)) byId("agent").value = agentId;
  const existing = parameters.get("thread");
  const threadId = existing ?? newId();
  history.replaceState(null, "", address(threadId, byId("agent").value));
  // Without an agent there is nothing to replay.
  return open(threadId, { fresh: existing === null || byId("agent").value === "" });
}

byId("new-thread").addEventListener("click", startThread);
byId("agent").addEventListener("change", startThread);
byId("suggest").addEventListener("click", suggest);
byId("cut").addEventListener("click", () => session.cut());
addEventListener("hashchange", openFromUrl);

// Other browsers and programs have no channel to this page: it looks for what they have done while somebody may look at
// it, also if another window has the focus, such as that of the frontend that is being developed.
const POLL_MILLISECONDS = 3000;
const WATCHED_MILLISECONDS = 10 * 60_000;
let lastSign = performance.now(); // of somebody who is there
for (const type of ["focus", "pointerdown", "keydown"]) addEventListener(type, () => (lastSign = performance.now()), true);

async function lookForNews() {
  if (!session) return;
  const before = session.lastEventId;
  await Promise.all([threads.refresh(), session.catchUp()]);
  if (session.lastEventId !== before) lastSign = performance.now();
}

(async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    if (!document.hidden && performance.now() - lastSign < WATCHED_MILLISECONDS) await lookForNews();
  }
})();
addEventListener("focus", lookForNews);
addEventListener("online", lookForNews);

// ---------------------------------------------------------------- the start

// Asks for credentials: the runtime identifies users, and the page has only the cookies of this server.
function credentialsForm() {
  const input = h("input", { placeholder: "Bearer …", autocomplete: "off", "aria-label": "Authorization header" });
  const form = h("form", { class: "sign-in" }, input, h("button", { class: "main" }, "Sign in"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    settings.setHeader("Authorization", input.value.trim());
  });
  const session = "This runtime identifies users. If it does so by cookies, sign in to your application in this browser.";
  const header = "Or enter the Authorization header that its identify_user accepts:";
  const again = h("div", { class: "choices" }, button("Try again", start));
  return h("div", {}, h("p", {}, session), again, h("p", {}, header), form);
}

function showFailure(error) {
  const again = error.status === 401 ? credentialsForm() : h("div", { class: "choices" }, button("Try again", start));
  const advice = error.status >= 500 ? h("small", {}, "The terminal in which this server runs says why.") : null;
  const card = h("div", { class: "card" }, h("strong", {}, "Error: "), error.message, advice, again);
  chat.showInstead(h("div", { class: "item error" }, card));
}

async function start() {
  const number = (starts += 1);
  runtime.headers = settings.headers;
  showBusy();
  let answer;
  try {
    answer = await runtime.info();
  } catch (error) {
    if (number === starts) showFailure(error);
    return;
  }
  // The credentials may have changed meanwhile: what holds is the answer to those of now.
  if (number !== starts) return;
  info = answer;
  const selected = byId("agent").value;
  byId("agent").replaceChildren(...Object.keys(info.agents).map((id) => new Option(id, id)));
  if (Object.hasOwn(info.agents, selected)) byId("agent").value = selected;
  threads.setAccess(info.singleRoute?.threadEndpoints ?? info.threadEndpoints);
  composer.setSpeech(info.audioFileTranscriptionEnabled === true);
  byId("suggest").hidden = info.suggestions === false;
  const isNarrow = matchMedia("(max-width: 50rem)").matches;
  await openFromUrl();
  if (!isNarrow) composer.focus();
}

start();
