// Tests the playground's modules that need no page: node playground_scripts.mjs FOLDER
import assert from "node:assert/strict";
import { Session } from "node:inspector/promises";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => import(new URL(name, folder));

// Counts how often each block of code is executed, from before the modules are loaded.
const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });

globalThis.sessionStorage = globalThis.localStorage = { getItem: () => null, setItem() {} };
const { parseMarkdown, parseInline } = await load("markdown.js");
const { applyPatch } = await load("json_patch.js");
const { readFrames, toCurl } = await load("transport.js");
const { Conversation } = await load("conversation.js");

// ---------------------------------------------------------------- Markdown

const kinds = (text) => parseMarkdown(text).map(({ type }) => type);
assert.deepEqual(kinds("# a\n\nb\nc\n\n- d\n- e\n\n1. f\n\n> g\n\n---\n\n```js\nh\n```\n\n|a|b|\n|-|-|\n|1|2|"), [
  "heading", "paragraph", "list", "list", "quote", "rule", "code", "table",
]);
assert.deepEqual(kinds("a | b\nno table"), ["paragraph"]);
assert.deepEqual(kinds("In\n1984. It was"), ["paragraph"]);
assert.equal(parseMarkdown("````\n```\n````")[0].text, "```");
assert.deepEqual([parseMarkdown("```py\nx")[0].open, parseMarkdown("```py\nx\n```")[0].open], [true, false]);
assert.deepEqual(parseMarkdown("- [x] a\n- [ ] b\n- c")[0].items.map(({ checked }) => checked), [true, false, null]);
assert.deepEqual(parseMarkdown("3. a\n4. b")[0].start, 3);
assert.equal(parseMarkdown("1. a\n  - b\n2. c")[0].items.length, 2);
assert.deepEqual(parseMarkdown("|a\\|b|c|\n|:-:|-:|\n|1|").map(({ align, head, rows }) => [align, head, rows]), [
  [["center", "end"], ["a|b", "c"], [["1"]]],
]);

const strong = (...children) => ({ type: "strong", children });
const emphasis = (...children) => ({ type: "emphasis", children });
const INLINE = {
  "**a** b": [strong("a"), " b"],
  "*a **b** c*": [emphasis("a ", strong("b"), " c")],
  "***a***": [strong(emphasis("a"))],
  "a * b * c": ["a ", "*", " b ", "*", " c"],
  "**a": ["**", "a"],
  snake_case_name: ["snake", "_", "case", "_", "name"],
  "`*a*`": [{ type: "code", text: "*a*" }],
  "`` ` ``": [{ type: "code", text: "`" }],
  "[a](https://b.c/d_(e))": [{ type: "link", href: "https://b.c/d_(e)", children: ["a"] }],
  '[a](b "t")': [{ type: "link", href: "b", children: ["a"] }],
  "![a *b*](c)": [{ type: "image", href: "c", text: "a b" }],
  "see https://a.b/c.": ["see ", { type: "link", href: "https://a.b/c", children: ["https://a.b/c"] }, "."],
  "\\*a\\*": ["*", "a", "*"],
  "~~a~~ ~b~": [{ type: "deleted", children: ["a"] }, " ", "~", "b", "~"],
  "<script>": ["<script>"],
  "a\nb": ["a", { type: "break" }, "b"],
};
for (const [text, expected] of Object.entries(INLINE)) assert.deepEqual(parseInline(text), expected, text);

async function steps(action) {
  await session.post("Profiler.takePreciseCoverage"); // which begins to count anew
  action();
  const { result } = await session.post("Profiler.takePreciseCoverage");
  const { functions } = result.find(({ url }) => url.endsWith("/markdown.js"));
  return functions.flatMap(({ ranges }) => ranges).reduce((sum, { count }) => sum + count, 0);
}

const HOSTILE = [
  "a", "*", "**", "_a_ ", "*a**", "[", "![", "](", "[a](", "[a](b ", "[a](((", "`", "`a``", "~~", "<http://", "http://", "\\", "> ", ">", "- ", "  - a\n",
  "1. ", "|", "|-", "a|b\n-|-\n", "# ", "#", "```\n", "~~~", "\n", "***\n", "- - ", "* a\n\n", "> - ", "[a](b 'c", "<br", "(", "a\n",
];
for (const piece of HOSTILE) {
  const count = async (times) => {
    const text = piece.repeat(times);
    return steps(() => {
      for (const block of parseMarkdown(text)) if (block.text !== undefined) parseInline(block.text);
      parseInline(text);
    });
  };
  const [few, many] = [await count(500), await count(2000)];
  assert.ok(many <= 6 * few, `${JSON.stringify(piece)}: ${few} steps, then ${many}`);
}

session.disconnect();

// ---------------------------------------------------------------- JSON Patch

const patched = (value, ...operations) => applyPatch(value, operations);
const before = { a: [1, 2], "x/y": { "~": 1 } };
assert.deepEqual(patched(before, { op: "add", path: "/a/1", value: 9 }, { op: "add", path: "/a/-", value: 8 }).a, [1, 9, 2, 8]);
assert.deepEqual(patched(before, { op: "replace", path: "/x~1y/~0", value: 2 })["x/y"], { "~": 2 });
assert.deepEqual(patched(before, { op: "move", from: "/a/0", path: "/b" }), { a: [2], "x/y": { "~": 1 }, b: 1 });
assert.deepEqual(patched(before, { op: "copy", from: "/a", path: "/b" }).b, [1, 2]);
assert.deepEqual(patched(before, { op: "replace", path: "", value: 1 }), 1);
assert.deepEqual(before, { a: [1, 2], "x/y": { "~": 1 } }, "the value itself is unchanged");
for (const operation of [
  { op: "remove", path: "/a/length" },
  { op: "replace", path: "/missing", value: 1 },
  { op: "add", path: "/a/9", value: 1 },
  { op: "test", path: "/a/0", value: 2 },
  { op: "unknown", path: "/a" },
]) {
  assert.throws(() => patched(before, operation), /cannot/);
}
const hostile = patched({}, { op: "add", path: "/__proto__", value: { polluted: true } });
assert.equal(Object.getPrototypeOf(hostile), Object.prototype);
assert.equal({}.polluted, undefined);

// ---------------------------------------------------------------- streams

async function frames(...chunks) {
  const encoder = new TextEncoder();
  const pieces = chunks.map((chunk) => (typeof chunk === "string" ? encoder.encode(chunk) : chunk));
  const body = new ReadableStream({ start: (controller) => (pieces.forEach((piece) => controller.enqueue(piece)), controller.close()) });
  const read = [];
  for await (const frame of readFrames(body)) read.push(frame);
  return read;
}
assert.deepEqual(await frames(": hi\n\nid: 1.2\nda", 'ta: {"a":', "1}\n\n"), [{ id: "1.2", data: '{"a":1}', bytes: 7 }]);
assert.deepEqual(await frames("data:a\r\ndata: b\r\n\r\ndata: c\n\ndata: cut off"), [
  { id: null, data: "a\nb", bytes: 3 },
  { id: null, data: "c", bytes: 1 },
]);
const euro = new TextEncoder().encode("data: €\n\n");
assert.deepEqual(await frames(euro.slice(0, 7), euro.slice(7)), [{ id: null, data: "€", bytes: 3 }]);

const request = { method: "POST", url: "http://a/b", headers: { accept: "x" }, credentials: { "x-key": "secret" }, body: "it's" };
assert.equal(toCurl(request, false), `curl -N -X POST 'http://a/b' \\\n  -H 'accept: x' \\\n  -H "x-key: $X_KEY" \\\n  --data-raw 'it'\\''s'`);
assert.ok(toCurl(request, true).includes("-H 'x-key: secret'"));

// ---------------------------------------------------------------- conversations

function converse(...events) {
  const listener = { changed() {}, reordered() {}, stateChanged() {} };
  const conversation = new Conversation(listener, () => false);
  for (const event of events) conversation.apply(event);
  return conversation;
}
const started = { type: "RUN_STARTED", runId: "r", input: { messages: [{ id: "u", role: "user", content: "hi" }] } };
const text = (id, ...deltas) => [
  { type: "TEXT_MESSAGE_START", messageId: id },
  ...deltas.map((delta) => ({ type: "TEXT_MESSAGE_CONTENT", messageId: id, delta })),
  { type: "TEXT_MESSAGE_END", messageId: id },
];
const call = [
  { type: "TOOL_CALL_START", toolCallId: "c", toolCallName: "t", parentMessageId: "a" },
  { type: "TOOL_CALL_ARGS", toolCallId: "c", delta: "{}" },
  { type: "TOOL_CALL_END", toolCallId: "c" },
];
const result = { type: "TOOL_CALL_RESULT", toolCallId: "c", messageId: "m", content: "done" };
const thoughts = [
  { type: "REASONING_MESSAGE_START", messageId: "q" },
  { type: "REASONING_MESSAGE_CONTENT", messageId: "q", delta: "hm" },
  { type: "REASONING_ENCRYPTED_VALUE", subtype: "message", entityId: "q", encryptedValue: "e" },
];
assert.deepEqual(converse(started, ...thoughts, ...text("a", "on", "e"), ...call, result, ...text("b", "two")).messages(), [
  { id: "u", role: "user", content: "hi" },
  { id: "q", role: "reasoning", content: "hm", encryptedValue: "e" },
  { id: "a", role: "assistant", content: "one", toolCalls: [{ id: "c", type: "function", function: { name: "t", arguments: "{}" } }] },
  { id: "m", role: "tool", toolCallId: "c", content: "done" },
  { id: "b", role: "assistant", content: "two" },
]);
// Whatever a message has is sent back with the next run, also what the page does not show.
const whole = [
  { id: "s", role: "system", content: "Be brief.", name: "prompt" },
  { id: "d", role: "developer", content: "Use tools." },
  { id: "u", role: "user", content: [{ type: "text", text: "hi" }], name: "ann" },
  { id: "q", role: "reasoning", content: "hm", encryptedValue: "e" },
  {
    id: "a",
    role: "assistant",
    name: "bot",
    encryptedValue: "f",
    toolCalls: [{ id: "c", type: "function", function: { name: "t", arguments: "{}" }, encryptedValue: "g" }],
  },
  { id: "m", role: "tool", toolCallId: "c", content: "failed", error: "it broke" },
  { id: "b", role: "assistant", content: "two", encryptedValue: "h" },
  { id: "v", role: "activity", activityType: "A", content: { x: 1 } },
];
const replayed = { ...started, input: { messages: whole } };
assert.deepEqual(converse(replayed).messages(), whole);
assert.deepEqual(converse({ type: "MESSAGES_SNAPSHOT", messages: whole }).messages(), whole);
assert.deepEqual(converse(replayed, { type: "MESSAGES_SNAPSHOT", messages: whole.slice(2) }).messages(), whole.slice(2));
const signature = { type: "REASONING_ENCRYPTED_VALUE", subtype: "message", entityId: "a", encryptedValue: "s" };
assert.equal(converse(...call, signature).messages()[0].encryptedValue, "s");
const asked = { type: "TEXT_MESSAGE_START", messageId: "w", role: "user" };
const said = [{ id: "w", role: "user", content: "said" }];
assert.deepEqual(converse(asked, ...text("w", "said").slice(1)).messages(), said);
assert.deepEqual(converse(asked, ...text("w", "said").slice(1), { ...started, input: { messages: said } }).messages(), said);
// A replay of what was received already does not double it.
assert.equal(converse(...text("a", "one"), ...text("a", "one")).find("assistant", "a").text, "one");
// What a snapshot lacks is gone; what is no message stays.
const snapshot = { type: "MESSAGES_SNAPSHOT", messages: [{ id: "b", role: "assistant", content: "new" }, { id: "u2", role: "user", content: "x" }] };
const afterwards = converse(started, ...thoughts, ...text("a", "one"), ...text("b", "two"), snapshot);
assert.deepEqual(afterwards.items.map(({ kind, id }) => [kind, id]), [["reasoning", "q"], ["assistant", "b"], ["user", "u2"]]);
assert.equal(afterwards.find("assistant", "b").text, "new");
const interrupt = { type: "RUN_FINISHED", runId: "r", outcome: { type: "interrupt", interrupts: [{ id: "i", reason: "x" }] } };
assert.equal(converse(started, interrupt).openInterrupts().length, 1);
assert.equal(converse(started, interrupt, { ...started, runId: "r2" }).openInterrupts().length, 0);
