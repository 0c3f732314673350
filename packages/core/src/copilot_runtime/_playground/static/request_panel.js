// What runs are sent with beside their messages: tools, context and forwardedProps.

import { byId, h } from "./dom.js";
import { isObject } from "./json_patch.js";
import { inTab, recall, remember } from "./storage.js";
import { toolDefinitions, TOOLS } from "./tools.js";

const isTool = (value) => isObject(value) && typeof value.name === "string";

const FIELDS = {
  tools: { empty: "[]", isValid: (value) => Array.isArray(value) && value.every(isTool), expected: "a list of tools, each with a name" },
  context: { empty: "[]", isValid: (value) => Array.isArray(value) && value.every(isObject), expected: "a list of objects" },
  props: { empty: "{}", isValid: isObject, expected: "an object" },
};

export class RequestPanel {
  #values = {};

  constructor() {
    byId("page-tools").append(
      ...Object.entries(TOOLS).map(([name, { description }]) => {
        const box = h("input", { type: "checkbox", checked: true, "data-tool": name });
        return h("label", { class: "check" }, box, h("span", {}, h("code", {}, name), h("small", {}, description)));
      }),
    );
    for (const [name, field] of Object.entries(FIELDS)) {
      const area = byId(`request-${name}`);
      area.value = recall(inTab, `request-${name}`, field.empty);
      area.addEventListener("input", () => this.#read(name, field, area));
      this.#read(name, field, area);
    }
  }

  // Returns what the next run is sent with.
  extras() {
    const chosen = new Set([...byId("page-tools").querySelectorAll("input:checked")].map((box) => box.dataset.tool));
    const own = toolDefinitions().filter(({ name }) => chosen.has(name));
    return { tools: [...own, ...this.#values.tools], context: this.#values.context, forwardedProps: this.#values.props };
  }

  #read(name, field, area) {
    remember(inTab, `request-${name}`, area.value);
    const problem = byId(`problem-${name}`);
    try {
      const value = JSON.parse(area.value.trim() || field.empty);
      if (!field.isValid(value)) throw new Error(`must be ${field.expected}`);
      this.#values[name] = value;
      problem.textContent = "";
      area.removeAttribute("aria-invalid");
    } catch (error) {
      this.#values[name] ??= JSON.parse(field.empty);
      problem.textContent = `Not used: ${error.message}`;
      area.setAttribute("aria-invalid", "true");
    }
  }
}
