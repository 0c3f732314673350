// Shows Markdown that grows: what is complete is drawn once, and only the last block again. A very long text is shown as
// it is, since each few of its characters may be a node.

import { copyFrom, h, iconButton, setText } from "./dom.js";
import { highlight } from "./highlight.js";
import { parseInline, parseMarkdown } from "./markdown.js";

const IMAGE = /^data:image\/(?:png|jpeg|gif|webp|svg\+xml|avif)[;,]/i;
// The headings of messages are below those of the page, and none is skipped.
const FIRST_LEVEL = 2;
const LONGEST = 50_000; // characters, without those of images
const IMAGE_DATA = /\(data:[^()\s]*\)/g;
const LINK = /^(?:https?:\/\/|mailto:)/i;

export class MarkdownView {
  node = h("div", { class: "markdown" });
  #text = "";
  #done = 0; // how many characters the complete blocks have
  #last = null; // the node of the last block
  #code = null; // its text node, if it is code that is still growing
  #level = FIRST_LEVEL; // of the last heading of the complete blocks
  #plain = null; // what shows a text that is too long

  update(text, open) {
    if (isTooLong(text)) return this.#showPlain(text);
    if (!text.startsWith(this.#text)) {
      this.#done = 0;
      this.node.replaceChildren();
      this.#last = this.#code = null;
      this.#level = FIRST_LEVEL;
    }
    this.#text = text;
    const rest = text.slice(this.#done);
    const blocks = parseMarkdown(rest);
    const isGrowing = open && blocks.length === 1 && blocks[0].type === "code" && this.#code !== null;
    if (isGrowing) return setText(this.#code, blocks[0].text);
    this.#last?.remove();
    this.#code = null;
    const levels = { level: this.#level };
    const nodes = blocks.map((block, index) => {
      if (index === blocks.length - 1) this.#level = levels.level;
      return this.#draw(block, levels, open && index === blocks.length - 1);
    });
    this.node.append(...nodes);
    this.#last = nodes.at(-1) ?? null;
    if (blocks.length > 1) this.#done += offsetOfLine(rest, blocks.at(-1).line);
  }

  #showPlain(text) {
    this.#text = text;
    this.#plain ??= h("div", { class: "text" });
    if (!this.#plain.isConnected) this.node.replaceChildren(this.#plain);
    setText(this.#plain, text);
  }

  #draw(block, levels, isGrowing) {
    if (block.type !== "code" || !isGrowing) return drawBlock(block, levels);
    const node = codeBlock(block.language, block.text, false);
    this.#code = node.querySelector("code");
    return node;
  }
}

function isTooLong(text) {
  return text.length > LONGEST && text.replace(IMAGE_DATA, "").length > LONGEST;
}

function offsetOfLine(text, line) {
  let offset = 0;
  for (let count = 0; count < line; count += 1) offset = text.indexOf("\n", offset) + 1;
  return offset;
}

const BLOCKS = {
  paragraph: ({ text }) => h("p", {}, ...inline(text)),
  heading({ level, text }, levels) {
    levels.level = Math.min(level + FIRST_LEVEL, levels.level + 1, 6);
    return h(`h${levels.level}`, { class: `h${level}` }, ...inline(text));
  },
  rule: () => h("hr"),
  quote: ({ blocks }, levels) => h("blockquote", {}, ...blocks.map((block) => drawBlock(block, levels))),
  code: ({ language, text }) => codeBlock(language, text, true),
  list: ({ ordered, start, items }, levels) => {
    const nodes = items.map(({ checked, blocks }) => {
      const content = blocks.length === 1 && blocks[0].type === "paragraph" ? inline(blocks[0].text) : null;
      const node = h("li", {}, ...(content ?? blocks.map((block) => drawBlock(block, levels))));
      if (checked !== null) {
        node.className = "task";
        node.prepend(h("input", { type: "checkbox", checked, disabled: true, "aria-label": checked ? "done" : "to do" }));
      }
      return node;
    });
    return ordered ? h("ol", { start }, ...nodes) : h("ul", {}, ...nodes);
  },
  table: ({ align, head, rows }) => {
    // Missing cells are left out: to add them would make a table larger than its text by any factor.
    const row = (tag, cells) => {
      const nodes = cells.slice(0, head.length).map((cell, index) => h(tag, { class: align[index] }, ...inline(cell)));
      return h("tr", {}, ...nodes);
    };
    const body = h("tbody", {}, ...rows.map((cells) => row("td", cells)));
    const table = h("table", {}, h("thead", {}, row("th", head)), body);
    return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" }, table);
  },
};

function drawBlock(block, levels) {
  return BLOCKS[block.type](block, levels);
}

export function codeBlock(language, text, highlighted) {
  const code = h("code");
  if (highlighted) code.append(...highlight(text));
  else code.textContent = text;
  const copy = iconButton("copy", "Copy this code", () => copyFrom(copy, code.textContent));
  const head = h("div", { class: "code-head" }, h("span", {}, language || "text"), copy);
  return h("div", { class: "code" }, head, h("pre", { tabindex: 0 }, code));
}

const INLINES = {
  strong: ({ children }) => h("strong", {}, ...children.map(drawInline)),
  emphasis: ({ children }) => h("em", {}, ...children.map(drawInline)),
  deleted: ({ children }) => h("del", {}, ...children.map(drawInline)),
  code: ({ text }) => h("code", {}, text),
  break: () => h("br"),
  link: ({ href, children }) => link(href, ...children.map(drawInline)),
  // An image of another site would tell that site what this chat is about.
  image: ({ href, text }) => (IMAGE.test(href) ? h("img", { src: href, alt: text }) : link(href, `Image: ${text || href}`)),
};

function link(href, ...children) {
  if (!LINK.test(href)) return h("span", { title: href }, ...children);
  return h("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

function drawInline(node) {
  return typeof node === "string" ? node : INLINES[node.type](node);
}

function inline(text) {
  return parseInline(text).map(drawInline);
}
