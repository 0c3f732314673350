// Asks for the response to an interrupt: by its schema if it has a simple one, as JSON otherwise.

import { button, h } from "./dom.js";
import { isObject } from "./json_patch.js";

const FIELDS = {
  boolean: (schema) => input(h("input", { type: "checkbox", checked: schema.default === true }), (node) => node.checked),
  number: (schema) => input(h("input", { type: "number", step: "any", value: schema.default ?? "" }), (node) => Number(node.value)),
  integer: (schema) => input(h("input", { type: "number", value: schema.default ?? "" }), (node) => Number(node.value)),
  string: (schema) => input(h("input", { type: "text", value: schema.default ?? "" }), (node) => node.value),
};

function input(node, read) {
  return { node, read: () => read(node) };
}

// Returns the nodes that show an interrupt, and ask for its response while it has none.
export function questionOf(item, respond) {
  const { interrupt } = item;
  const nodes = [
    h("p", { class: "label" }, "The agent asks"),
    h("p", { class: "title" }, interrupt.message ?? interrupt.reason),
  ];
  if (item.answer) {
    const { status, payload } = item.answer;
    const words = status === "cancelled" ? "Cancelled." : "Answered.";
    return [...nodes, h("p", { class: "answer" }, words), ...(payload === undefined ? [] : [json(payload)])];
  }
  if (item.over) return [...nodes, h("p", { class: "answer" }, "The thread has gone on without an answer.")];
  if (isObject(interrupt.metadata) && Object.keys(interrupt.metadata).length > 0) {
    nodes.push(h("details", {}, h("summary", {}, "Details"), json(interrupt.metadata)));
  }
  return [...nodes, ...fieldsOf(interrupt, respond)];
}

function json(value) {
  return h("pre", { tabindex: 0 }, JSON.stringify(value, null, 2));
}

function fieldsOf({ responseSchema: schema }, respond) {
  const cancel = button("Cancel", () => respond("cancelled"));
  const properties = Object.entries(isObject(schema?.properties) ? schema.properties : {});
  if (properties.length === 1 && properties[0][1]?.type === "boolean") {
    const [name] = properties[0];
    const answer = (value) => () => respond("resolved", { [name]: value });
    return [choices(button("Approve", answer(true), { class: "main" }), button("Reject", answer(false)), cancel)];
  }
  if (properties.length > 0 && properties.every(([, member]) => Array.isArray(member?.enum) || Object.hasOwn(FIELDS, member?.type))) {
    const fields = properties.map(([name, member]) => [name, field(member)]);
    const rows = fields.map(([name, { node }]) => {
      const title = schema.properties[name].title ?? name;
      return h("label", { class: "field" }, h("span", {}, title), node);
    });
    const send = () => respond("resolved", Object.fromEntries(fields.map(([name, { read }]) => [name, read()])));
    return [...rows, choices(button("Answer", send, { class: "main" }), cancel)];
  }
  return freeFields(schema, respond, cancel);
}

function field(schema) {
  if (!Array.isArray(schema.enum)) return FIELDS[schema.type](schema);
  const options = schema.enum.map((value) => h("option", { value: JSON.stringify(value) }, String(value)));
  return input(h("select", {}, ...options), (node) => JSON.parse(node.value));
}

// Without a schema there is no knowing what the agent expects: most ask for approval.
function freeFields(schema, respond, cancel) {
  const suggestion = schema?.type === "string" ? '""' : '{"approved": true}';
  const area = h("textarea", { rows: 2, value: suggestion, "aria-label": "Answer as JSON", spellcheck: false });
  const problem = h("p", { class: "problem", role: "alert" });
  const send = () => {
    try {
      respond("resolved", JSON.parse(area.value));
    } catch {
      problem.textContent = "This is not JSON. A text needs quotation marks.";
    }
  };
  return [area, problem, choices(button("Answer", send, { class: "main" }), cancel)];
}

function choices(...buttons) {
  return h("div", { class: "choices" }, ...buttons);
}
