// The conversation on the page.

import { arrange, button, byId, copyFrom, h, iconButton, oncePerFrame, setText } from "./dom.js";
import { plainText } from "./conversation.js";
import { questionOf } from "./interrupts.js";
import { MarkdownView } from "./markdown_view.js";
import { argumentsOf, TOOLS } from "./tools.js";
import { contentView } from "./value_view.js";

const NEAR_END = 120; // pixels from the end, within which the log follows it
const LAST_ITEMS = 100; // which are always laid out, so that the height of the log's end is exact
const MAX_ANIMATED = 10; // each animation is a layer of its own: thousands of them cost seconds

export class Chat {
  #log = byId("log");
  #status = byId("status");
  #views = new Map(); // for each item: its view
  #last = []; // the nodes that were added last
  #animates = false; // whether what is added appears slowly
  #changed = new Set();
  #draw = oncePerFrame(() => this.#drawChanged());
  #follows = true;

  constructor(actions) {
    this.actions = actions;
    this.#log.addEventListener("scroll", () => {
      this.#follows = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_END;
      byId("to-end").hidden = this.#follows;
    });
    byId("to-end").addEventListener("click", () => this.scrollToEnd());
  }

  clear(session) {
    this.session = session;
    this.#views.clear();
    this.#last = [];
    this.#changed.clear();
    this.#log.replaceChildren();
    this.#status.textContent = "";
    this.#follows = true;
    byId("to-end").hidden = true;
  }

  show(item) {
    this.#changed.add(item);
    this.#draw();
  }

  // After a snapshot of the messages.
  reorder(items, gone) {
    for (const item of gone) {
      this.#views.get(item)?.node.remove();
      this.#views.delete(item);
      this.#changed.delete(item);
    }
    this.#drawChanged();
    arrange(this.#log, items.map((item) => this.#views.get(item)?.node).filter(Boolean));
  }

  showInstead(node) {
    this.#log.replaceChildren(node);
  }

  // What depends on whether a run is active.
  refresh() {
    for (const item of this.session.conversation.items) if (item.kind === "tool" || item.kind === "interrupt") this.show(item);
  }

  scrollToEnd() {
    this.#follows = true;
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  announce(text) {
    this.#status.textContent = text;
  }

  #drawChanged() {
    const { session } = this;
    if (this.#changed.size > 0 && this.#views.size === 0) this.#log.replaceChildren();
    this.#animates = session.live && this.#changed.size <= MAX_ANIMATED;
    for (const item of this.#changed) {
      // What an agent has sent may be of any shape. One item that cannot be drawn must not keep back the others.
      this.#changed.delete(item);
      try {
        this.#drawItem(item);
      } catch (error) {
        console.warn(error);
        this.#drawFailure(item, error);
      }
      if (item.kind === "assistant" && !item.open && session.live) this.announce(item.text);
    }
    if (this.#follows) this.#log.scrollTop = this.#log.scrollHeight;
  }

  #drawItem(item) {
    let view = this.#views.get(item);
    if (!view) {
      view = VIEWS[item.kind](item, this.session, this.actions);
      this.#addView(item, view, item.kind);
      if (item.kind === "user") this.#follows = true;
    }
    view.node.classList.toggle("open", item.open === true);
    view.update?.();
  }

  #drawFailure(item, { message }) {
    this.#views.get(item)?.node.remove();
    const text = `This ${item.kind} cannot be shown: ${message}`;
    this.#addView(item, VIEWS.error({ text }, this.session, this.actions), "error");
  }

  #addView(item, view, kind) {
    view.node.classList.add("item", kind);
    view.node.classList.toggle("appears", this.#animates);
    this.#views.set(item, view);
    this.#log.append(view.node);
    this.#last.push(view.node);
    if (this.#last.length > LAST_ITEMS) this.#last.shift().classList.add("far");
  }
}

// For each kind of item: a node, and a function that updates it.
const VIEWS = {
  user(item) {
    const content = h("div", { class: "bubble" });
    let shown = null;
    const update = () => {
      if (shown === item.content) return;
      shown = item.content;
      content.replaceChildren(...contentParts(item.content));
    };
    return { node: h("article", { "aria-label": "You" }, content), update };
  },

  assistant(item, session, actions) {
    const markdown = new MarkdownView();
    const copy = iconButton("copy", "Copy this message", () => copyFrom(copy, item.text));
    const speak = actions.canSpeak ? iconButton("speak", "Read this message aloud", () => actions.speak(item.text)) : null;
    const tools = h("div", { class: "message-tools" }, copy, speak);
    const node = h("article", { "aria-label": session.agentId }, who(session), markdown.node, tools);
    return { node, update: () => markdown.update(item.text, item.open === true) };
  },

  reasoning(item, session) {
    const text = h("div", { class: "text" });
    const title = h("summary");
    const details = h("details", {}, title, text);
    details.open = session.live;
    let wasOpen = false;
    const update = () => {
      setText(text, item.text);
      title.textContent = item.open ? "Thinking…" : "Reasoning";
      if (wasOpen && !item.open && session.live) details.open = false;
      wasOpen = item.open === true;
    };
    return { node: h("section", { "aria-label": "Reasoning" }, who(session), details), update };
  },

  instruction(item) {
    const text = h("div", { class: "text" });
    const title = item.role === "developer" ? "Message of the developer" : "Message of the system";
    const node = h("section", { "aria-label": title }, h("details", {}, h("summary", {}, title), text));
    return { node, update: () => setText(text, item.text) };
  },

  tool(item, session, actions) {
    const state = h("span", { class: "state" });
    const title = h("summary", {}, h("code", {}, item.name), state);
    const sent = h("pre", { tabindex: 0 });
    const result = h("pre", { class: "result", tabindex: 0 });
    const details = h("details", {}, title, h("p", { class: "label" }, "Arguments"), sent);
    details.open = true;
    const ask = h("div", { class: "ask" });
    let asked = null;
    const update = () => {
      const isAnswered = item.result !== undefined;
      const isWaiting = !isAnswered && !item.open;
      state.textContent = isAnswered ? "done" : item.open ? "calling…" : session.busy ? "running…" : "waiting for its result";
      setText(sent, item.open ? item.arguments : indented(item.arguments));
      if (isAnswered && !result.isConnected) details.append(h("p", { class: "label" }, "Result"), result);
      if (isAnswered) setText(result, indented(item.result));
      const asks = isWaiting && !session.busy;
      if (asked === asks) return;
      asked = asks;
      ask.replaceChildren(...(asks ? questions(item, session, actions) : []));
      details.open = isAnswered ? session.live : TOOLS[item.name]?.options === undefined;
    };
    return { node: h("section", { "aria-label": `Tool ${item.name}` }, who(session), h("div", { class: "card" }, details, ask)), update };
  },

  interrupt(item, session, actions) {
    const body = h("div", { class: "card" });
    let shown = null;
    const update = () => {
      const phase = item.answer ? "answered" : item.over ? "over" : "open";
      if (shown === phase) return;
      shown = phase;
      body.replaceChildren(...questionOf(item, (status, payload) => actions.answerInterrupt(item, status, payload)));
    };
    return { node: h("section", { "aria-label": "The agent asks" }, who(session), body), update };
  },

  activity(item, session) {
    const kind = h("p", { class: "label" });
    const content = h("div", { class: "content" });
    const update = () => {
      kind.textContent = item.activityType;
      content.replaceChildren(...contentView(item.content));
    };
    const node = h("section", { "aria-label": "Activity" }, who(session), h("div", { class: "card" }, kind, content));
    return { node, update };
  },

  step(item) {
    const text = h("span");
    return { node: h("p", {}, text), update: () => setText(text, `${item.open ? "▸" : "✓"} ${item.stepName}`) };
  },

  error(item, session, actions) {
    const node = h("div", { class: "card" }, h("strong", {}, item.code ? `${item.code}: ` : "Error: "), item.text);
    const advice = item.logged ? "The terminal in which this server runs says why." : null;
    if (advice) node.append(h("small", {}, advice));
    if (item.lost) node.append(h("div", { class: "choices" }, button("Reconnect", actions.reopen)));
    if (item.status === 401) node.append(h("div", { class: "choices" }, button("Enter credentials", actions.settings)));
    const outer = h("div", {}, node);
    // After a reload, earlier errors need not interrupt users of screen readers.
    if (session.live || item.lost) outer.setAttribute("role", "alert");
    return { node: outer };
  },

  notice: (item) => ({ node: h("p", {}, item.text) }),
};

function who(session) {
  return h("p", { class: "who" }, session.agentId);
}

const MEDIA = {
  image: (url, name) => h("img", { src: url, alt: name || "Attached image" }),
  audio: (url, name) => h("audio", { src: url, controls: true, "aria-label": name || "Attached recording" }),
  video: (url, name) => h("video", { src: url, controls: true, "aria-label": name || "Attached video" }),
};

export function contentParts(content) {
  if (!Array.isArray(content)) return [h("div", { class: "text" }, String(content ?? ""))];
  return content.map((part) => {
    if (part.type === "text") return h("div", { class: "text" }, part.text);
    const { source, metadata } = part;
    const name = typeof metadata?.filename === "string" ? metadata.filename : "";
    const isOwn = source?.type === "data" && typeof source.value === "string";
    if (isOwn && MEDIA[part.type]) return MEDIA[part.type](`data:${source.mimeType};base64,${source.value}`, name);
    return h("div", { class: "file" }, name || plainText([part]), h("small", {}, source?.mimeType ?? source?.value ?? ""));
  });
}

// What to ask about a pending call: to pick one of the tool's options, to run the tool (after a reload, because the page
// that was to run it is another one), or to write its result.
function questions(item, session, actions) {
  const tool = TOOLS[item.name];
  if (tool?.run) {
    return [h("div", { class: "choices" }, button("Run it in this page", () => actions.answerCall(item, tool.run(argumentsOf(item)))))];
  }
  if (tool?.options) {
    const { question, options } = tool.options(argumentsOf(item));
    const buttons = options.map((option) => button(option, () => actions.answerCall(item, tool.onChoice(option))));
    return [h("p", {}, question), h("div", { class: "choices", role: "group", "aria-label": question }, ...buttons)];
  }
  const area = h("textarea", { rows: 2, "aria-label": `Result of ${item.name}`, placeholder: "A text, or JSON" });
  const hint = "This page has no such tool. What would your frontend return?";
  return [h("p", {}, hint), area, h("div", { class: "choices" }, button("Send the result", () => actions.answerCall(item, area.value)))];
}

function indented(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return String(json);
  }
}
