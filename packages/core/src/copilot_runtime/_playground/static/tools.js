// The frontend tools that this page executes, and those that its user has added.

// `run` returns the result at once. The result of a tool without it is what the user picks from `options(args)`.
export const TOOLS = {
  set_background: {
    description: "Tints the background of the chat.",
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
    options: ({ question, options }) => ({
      question: String(question ?? ""),
      options: Array.isArray(options) ? options.map(String) : [],
    }),
    onChoice(option) {
      if (CSS.supports("color", option)) TOOLS.set_background.run({ color: option });
      return `The user chose ${option}.`;
    },
  },
};

export function toolDefinitions() {
  return Object.entries(TOOLS).map(([name, { description, parameters }]) => ({ name, description, parameters }));
}

export function argumentsOf(item) {
  try {
    return JSON.parse(item.arguments || "{}") ?? {};
  } catch {
    return {};
  }
}
