// Every request and every AG-UI event, with its time, size and JSON.

import { button, byId, copyFrom, formatBytes, h, oncePerFrame, setText } from "./dom.js";
import { toCurl } from "./transport.js";

const MAX_ENTRIES = 5000;
const MAX_CHARACTERS = 50_000_000; // of the entries: an agent may send its whole state with each word
const MAX_LINES = 1000; // of the deltas in the details of a row

// The groups of event types, by how the types begin.
const GROUPS = [
  ["run", "Runs", /^(RUN_|STEP_)/],
  ["text", "Text", /^TEXT_MESSAGE_/],
  ["tool", "Tools", /^TOOL_CALL_/],
  ["state", "State", /^(STATE_|MESSAGES_SNAPSHOT)/],
  ["reasoning", "Reasoning", /^(REASONING_|THINKING_)/],
  ["activity", "Activities", /^ACTIVITY_/],
  ["other", "Other", /^/],
  ["http", "HTTP", null],
  ["poll", "Polling", null],
];

// The page asks for news often, and nobody wants to read that, unless it fails.
const HIDDEN_AT_FIRST = new Set(["poll"]);

// These come in large numbers: those of one message or call are shown in one row.
const DELTAS = new Set(["TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT", "TOOL_CALL_ARGS"]);

const SUMMARIES = {
  RUN_STARTED: ({ runId }) => String(runId).slice(0, 8),
  RUN_FINISHED: ({ outcome }) => (outcome?.type === "interrupt" ? `interrupt: ${outcome.interrupts.length}` : ""),
  RUN_ERROR: ({ code, message }) => [code, message].filter(Boolean).join(": "),
  TOOL_CALL_START: ({ toolCallName }) => toolCallName,
  TOOL_CALL_RESULT: ({ content }) => String(content),
  STEP_STARTED: ({ stepName }) => stepName,
  STEP_FINISHED: ({ stepName }) => stepName,
  STATE_SNAPSHOT: ({ snapshot }) => JSON.stringify(snapshot),
  STATE_DELTA: ({ delta }) => JSON.stringify(delta),
  MESSAGES_SNAPSHOT: ({ messages }) => `${messages?.length} messages`,
  ACTIVITY_SNAPSHOT: ({ activityType }) => activityType,
  ACTIVITY_DELTA: ({ patch }) => JSON.stringify(patch),
  CUSTOM: ({ name }) => name,
};

export class Timeline {
  #entries = [];
  #characters = 0; // of all entries
  #dropped = 0; // how many entries are no longer kept
  #isStale = false; // whether rows show some of these
  #list = byId("events");
  #shownGroups = new Set(GROUPS.map(([id]) => id).filter((id) => !HIDDEN_AT_FIRST.has(id)));
  #waiting = []; // entries that are not drawn yet
  #draw = oncePerFrame(() => this.#drawWaiting());
  #request = null; // the last one that runs or connects
  #stats = { events: 0, bytes: 0, first: null, last: null };

  constructor({ withCredentials }) {
    this.withCredentials = withCredentials;
    const chips = GROUPS.map(([id, label]) => {
      const chip = button(label, () => this.#toggle(id, chip), {
        class: `chip ${id}`,
        "aria-pressed": String(this.#shownGroups.has(id)),
      });
      return chip;
    });
    byId("event-groups").append(...chips);
    byId("event-search").addEventListener("input", () => this.#redraw());
    byId("event-join").addEventListener("change", () => this.#redraw());
    byId("event-clear").addEventListener("click", () => this.clear());
    byId("event-export").addEventListener("click", () => this.#export());
  }

  clear() {
    this.#entries = [];
    this.#characters = this.#dropped = 0;
    this.#stats = { events: 0, bytes: 0, first: null, last: null };
    this.#redraw();
  }

  // Called when a request is sent, and when its response has begun.
  addRequest(record) {
    const known = this.#entries.findLast((entry) => entry.record === record);
    if (known) {
      if (record.failure && known.group === "poll") this.#showFailedPoll(known);
      return known.update?.();
    }
    const isPoll = record.isPoll || (record.name === "threads" && record.method === "GET");
    if (!isPoll && (record.name === "run" || record.name === "connect")) {
      this.#request = record;
      this.#stats = { events: 0, bytes: 0, first: null, last: null };
    }
    this.#add({ group: isPoll ? "poll" : "http", type: `${record.method} ${record.name}`, record, at: record.at, bytes: record.body?.length ?? 0 });
  }

  addEvent({ id, data, bytes }, event, record) {
    const at = performance.now();
    const group = GROUPS.find(([, , pattern]) => pattern?.test(event.type))[0];
    const stats = this.#stats;
    if (record === this.#request) {
      stats.events += 1;
      stats.bytes += bytes;
      stats.first ??= at - record.at;
      stats.last = at - record.at;
    }
    this.#add({ group, type: String(event.type), event, id, data, bytes, at, elapsed: at - record.at });
  }

  // As if it came only now: drawing all rows again would close those that are open.
  #showFailedPoll(entry) {
    entry.group = "http";
    if (entry.update || this.#waiting.includes(entry)) return;
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    this.#entries.push(entry);
    this.#waiting.push(entry);
    this.#draw();
  }

  #add(entry) {
    this.#entries.push(entry);
    this.#characters += charactersOf(entry);
    this.#waiting.push(entry);
    if (this.#entries.length > MAX_ENTRIES || this.#characters > MAX_CHARACTERS) this.#dropOldest();
    this.#draw();
  }

  // Drops a tenth at once: browsers number the rows of a list again for each one that is removed from its beginning.
  #dropOldest() {
    let count = 0;
    while (count < this.#entries.length - 1 && (count < MAX_ENTRIES / 10 || this.#characters > MAX_CHARACTERS)) {
      this.#characters -= charactersOf(this.#entries[count]);
      count += 1;
    }
    this.#entries.splice(0, count);
    this.#dropped += count;
    this.#isStale = true;
  }

  #drawWaiting() {
    const scroller = this.#list.parentElement;
    const follows = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
    const rows = document.createDocumentFragment();
    const touched = new Set();
    if (this.#isStale) this.#removeRows();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const entry of waiting) this.#drawEntry(entry, rows, touched);
    for (const row of touched) row.draw();
    this.#list.append(rows);
    if (follows) scroller.scrollTop = scroller.scrollHeight;
    this.#showStats();
  }

  #drawEntry(entry, rows, touched) {
    if (!this.#matches(entry)) return;
    const key = byId("event-join").checked && DELTAS.has(entry.type) ? deltaKey(entry) : null;
    if (entry.record) {
      rows.append(new RequestRow(entry, this.withCredentials).node);
      return;
    }
    // Requests, such as those for the list of threads, may have come in between.
    if (key === null || this.#row?.key !== key) {
      this.#row = new EventRow(entry.group, key);
      rows.append(this.#row.node);
    }
    this.#row.add(entry);
    touched.add(this.#row);
  }

  #row = null; // the last one of an event

  #matches({ group, type, data, record }) {
    if (!this.#shownGroups.has(group)) return false;
    const words = byId("event-search").value.trim().toLowerCase();
    return words === "" || `${type} ${data ?? record.url}`.toLowerCase().includes(words);
  }

  #toggle(id, chip) {
    if (!this.#shownGroups.delete(id)) this.#shownGroups.add(id);
    chip.setAttribute("aria-pressed", String(this.#shownGroups.has(id)));
    this.#redraw();
  }

  #redraw() {
    this.#removeRows();
    this.#drawWaiting();
  }

  #removeRows() {
    this.#list.replaceChildren();
    this.#row = null;
    this.#isStale = false;
    this.#waiting = [...this.#entries];
  }

  #showStats() {
    const { events, bytes, first, last } = this.#stats;
    const parts = [`${events} event${events === 1 ? "" : "s"}`, formatBytes(bytes)];
    if (first !== null) parts.push(`first ${milliseconds(first)}`, `last ${milliseconds(last)}`);
    if (this.#dropped > 0) parts.push(`${this.#dropped} earlier ones are not kept`);
    byId("event-stats").textContent = parts.join(" · ");
    byId("no-events").hidden = this.#list.childElementCount > 0;
  }

  #export() {
    const lines = this.#entries.filter(({ data }) => data).map(({ data, id, elapsed }) => JSON.stringify({ elapsed, id, event: JSON.parse(data) }));
    const url = URL.createObjectURL(new Blob([lines.join("\n")], { type: "application/x-ndjson" }));
    h("a", { href: url, download: "events.ndjson" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }
}

function charactersOf({ data, record }) {
  return (data ?? record.body ?? "").length;
}

// Texts are shown as they are; the delta of a state is a list.
function summaryOf(event) {
  return typeof event.delta === "string" ? event.delta : String(SUMMARIES[event.type]?.(event) ?? "");
}

function deltaKey({ type, event }) {
  return `${type} ${event.messageId ?? event.toolCallId}`;
}

export function milliseconds(value) {
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(2)} s`;
}

class Row {
  constructor(group) {
    this.time = h("span", { class: "time" });
    this.type = h("span", { class: "type" });
    this.summary = h("span", { class: "summary" });
    this.size = h("span", { class: "size" });
    this.detail = h("div", { class: "detail", hidden: true });
    this.head = h(
      "button",
      { type: "button", class: "row", "aria-expanded": "false", onclick: () => this.#toggle() },
      this.time,
      h("span", { class: "dot" }),
      this.type,
      this.summary,
      this.size,
    );
    this.node = h("li", { class: `event ${group}` }, this.head, this.detail);
  }

  #toggle() {
    const open = this.detail.hidden;
    this.detail.hidden = !open;
    this.head.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.drawDetail();
    this.node.scrollIntoView({ block: "nearest" });
  }
}

class EventRow extends Row {
  #entries = [];
  #bytes = 0;
  #text = "";
  #json = null; // the node, once the row has been opened

  constructor(group, key) {
    super(group);
    this.key = key;
  }

  add(entry) {
    this.#entries.push(entry);
    this.#bytes += entry.bytes;
    if (this.#text.length < 200) this.#text += summaryOf(entry.event);
  }

  draw() {
    const [first] = this.#entries;
    const count = this.#entries.length;
    this.time.textContent = milliseconds(first.elapsed);
    this.type.textContent = count > 1 ? `${first.type} × ${count}` : first.type;
    this.summary.textContent = this.#text.slice(0, 200);
    this.size.textContent = formatBytes(this.#bytes);
    if (!this.detail.hidden) this.drawDetail();
  }

  drawDetail() {
    this.#json ??= this.#addJson();
    const texts = this.#entries.slice(0, MAX_LINES).map(({ event, elapsed, bytes }) => {
      return this.#entries.length === 1
        ? JSON.stringify(event, null, 2)
        : `${milliseconds(elapsed).padStart(9)} ${String(bytes).padStart(5)} B  ${JSON.stringify(event.delta)}`;
    });
    const left = this.#entries.length - texts.length;
    if (left > 0) texts.push(`… ${left} more, which “Copy JSON” has`);
    setText(this.#json, texts.join("\n"));
  }

  #addJson() {
    const first = this.#entries[0];
    const facts = [`${new Date(performance.timeOrigin + first.at).toISOString()}`, first.id === null ? "no id" : `id ${first.id}`];
    const copy = button("Copy JSON", () => copyFrom(copy, this.#entries.map(({ data }) => data).join("\n")));
    const json = h("pre", { tabindex: 0, "aria-label": "JSON" });
    this.detail.append(h("div", { class: "facts" }, h("span", {}, facts.join(" · ")), copy), json);
    return json;
  }
}

class RequestRow extends Row {
  constructor(entry, withCredentials) {
    super("http");
    this.entry = entry;
    this.withCredentials = withCredentials;
    entry.update = () => this.update();
    this.update();
  }

  update() {
    const { record, type } = this.entry;
    this.time.textContent = record.milliseconds === null ? "…" : milliseconds(record.milliseconds);
    this.type.textContent = type;
    this.summary.textContent = record.failure ?? (record.status === null ? "sent" : `status ${record.status}`);
    this.size.textContent = record.body === undefined ? "" : formatBytes(record.body.length);
    this.node.classList.toggle("failed", Boolean(record.failure));
  }

  drawDetail() {
    const { record } = this.entry;
    const copy = button("Copy as curl", () => copyFrom(copy, toCurl(record, this.withCredentials())));
    const body = record.body === undefined ? "no body" : JSON.stringify(JSON.parse(record.body), null, 2);
    const address = `${record.method} ${record.url}`;
    const json = h("pre", { tabindex: 0, "aria-label": "Body of the request" }, body);
    this.detail.replaceChildren(h("div", { class: "facts" }, h("span", {}, address), copy), json);
  }
}

