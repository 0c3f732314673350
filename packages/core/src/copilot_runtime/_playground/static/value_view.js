// Shows JSON values: as a tree for the shared state, and as a list of members for activities.

import { h } from "./dom.js";
import { isObject } from "./json_patch.js";

const MAX_DEPTH = 40;
const MAX_MEMBERS = 500; // of one value
const MAX_ROWS = 5000; // of all: a large state changes often, and each change draws it again

// Returns the nodes of a tree. What differs from the previous value is marked.
export function valueTree(value, previous) {
  return h("div", { class: "tree" }, branch(value, previous, newBudget()));
}

function newBudget() {
  return { rows: MAX_ROWS };
}

// `budget` is what is left of the rows of the whole tree.
function branch(value, previous, budget, depth = 0) {
  if (!isContainer(value) || depth >= MAX_DEPTH) return leaf(value, previous);
  const entries = Object.entries(value);
  const isList = Array.isArray(value);
  if (entries.length === 0) return h("span", { class: "punctuation" }, isList ? "[ ]" : "{ }");
  const shown = entries.slice(0, Math.min(MAX_MEMBERS, budget.rows));
  budget.rows -= shown.length;
  const rows = shown.map(([key, member]) => {
    const before = isContainer(previous) && Object.hasOwn(previous, key) ? previous[key] : undefined;
    const name = h("span", { class: isList ? "index" : "key" }, key);
    const row = h("li", {}, name, isContainer(member) ? summary(member) : null, branch(member, before, budget, depth + 1));
    if (previous !== undefined && before === undefined) row.className = "changed";
    return row;
  });
  return h("ul", {}, ...rows, more(entries.length - shown.length));
}

function more(count) {
  return count > 0 ? h("li", {}, `… ${count} more`) : null;
}

function summary(value) {
  const count = Object.keys(value).length;
  if (count === 0) return null;
  const noun = Array.isArray(value) ? "item" : "member";
  return h("span", { class: "count" }, `${count} ${noun}${count === 1 ? "" : "s"}`);
}

function leaf(value, previous) {
  const kind = value === null ? "null" : typeof value;
  const node = h("span", { class: `value ${kind}` }, isContainer(value) ? JSON.stringify(value) : String(value));
  if (previous !== undefined && previous !== value) node.classList.add("changed");
  return node;
}

function isContainer(value) {
  return Array.isArray(value) || isObject(value);
}

// Returns the nodes of an activity's content: a title, steps with a mark each, and other members by name.
export function contentView(content) {
  const nodes = [];
  const budget = newBudget();
  const entries = Object.entries(isObject(content) ? content : { content });
  for (const [name, value] of entries.slice(0, MAX_MEMBERS)) {
    if (name === "title") nodes.push(h("p", { class: "title" }, String(value)));
    else if (name === "progress" && typeof value === "number") nodes.push(progress(value));
    else if (Array.isArray(value)) nodes.push(steps(value, budget));
    else nodes.push(h("div", { class: "member" }, h("span", { class: "key" }, name), branch(value, undefined, budget)));
  }
  return nodes;
}

function progress(value) {
  const share = value > 1 ? value / 100 : value;
  return h("progress", { max: 1, value: share, "aria-label": "Progress" });
}

function steps(values, budget) {
  const shown = values.slice(0, MAX_MEMBERS).map((value) => step(value, budget));
  return h("ul", { class: "steps" }, ...shown, more(values.length - shown.length));
}

function step(value, budget) {
  if (!isObject(value)) return h("li", {}, branch(value, undefined, budget));
  const done = value.done ?? value.status;
  const isDone = done === true || ["done", "completed", "complete"].includes(done);
  const label = value.label ?? value.title ?? value.name ?? value.description ?? JSON.stringify(value);
  const words = h("span", { class: "unseen" }, isDone ? "done: " : "to do: ");
  return h("li", { class: isDone ? "done" : "" }, words, String(label));
}
