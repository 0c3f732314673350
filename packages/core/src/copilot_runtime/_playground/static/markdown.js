// Reads Markdown, as models write it, into plain objects. It takes steps in proportion to the length of the text.

const MAX_NESTING = 6; // of lists and quotations
const MAX_OPEN = 32; // of emphasis and links in a line

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^\s`]*)/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]{1,4}|$)/;
const TASK = /^\[([ xX])\][ \t]+/;
const DELIMITER_CELL = /^:?-+:?$/;

// Returns the blocks of a text; `line` of each is where it begins.
export function parseMarkdown(text) {
  return parseBlocks(text.split("\n"), 0);
}

function parseBlocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const [block, end] = parseBlock(lines, at, depth);
    block.line = at;
    blocks.push(block);
    at = end;
  }
  return blocks;
}

// Returns the block that begins in a line, and the number of the line after it.
function parseBlock(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return parseFence(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ type: "heading", level: heading[1].length, text: withoutHashes(heading[2] ?? "") }, at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < MAX_NESTING) {
    if (QUOTE.test(line)) return parseQuote(lines, at, depth);
    if (ITEM.test(line)) return parseList(lines, at, depth);
  }
  if (isTable(lines, at)) return parseTable(lines, at);
  return parseParagraph(lines, at, depth);
}

function withoutHashes(text) {
  const trimmed = text.trimEnd();
  let end = trimmed.length;
  while (end > 0 && trimmed[end - 1] === "#") end -= 1;
  return end < trimmed.length && (end === 0 || trimmed[end - 1] === " ") ? trimmed.slice(0, end).trimEnd() : trimmed;
}

function parseFence(lines, at, [, indent, fence, language]) {
  const content = [];
  for (let next = at + 1; next < lines.length; next += 1) {
    const line = lines[next].trim();
    if (line.length >= fence.length && line[0] === fence[0] && isRun(line)) {
      return [{ type: "code", language, text: content.join("\n"), open: false }, next + 1];
    }
    content.push(unindent(lines[next], indent.length));
  }
  return [{ type: "code", language, text: content.join("\n"), open: true }, lines.length];
}

function isRun(line) {
  for (const character of line) if (character !== line[0]) return false;
  return true;
}

function unindent(line, most) {
  let spaces = 0;
  while (spaces < most && line[spaces] === " ") spaces += 1;
  return line.slice(spaces);
}

function parseQuote(lines, at, depth) {
  const inner = [];
  let next = at;
  for (; next < lines.length && QUOTE.test(lines[next]); next += 1) inner.push(lines[next].replace(QUOTE, ""));
  return [{ type: "quote", blocks: parseBlocks(inner, depth + 1) }, next];
}

function parseList(lines, at, depth) {
  const [, , marker] = ITEM.exec(lines[at]);
  const kind = marker.at(-1);
  const items = [];
  let next = at;
  while (next < lines.length) {
    const match = ITEM.exec(lines[next]);
    if (!match || match[2].at(-1) !== kind || RULE.test(lines[next])) break;
    const [inner, end] = itemLines(lines, next, match);
    const task = TASK.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(task[0].length);
    items.push({ checked: task ? task[1] !== " " : null, blocks: parseBlocks(inner, depth + 1) });
    next = end;
  }
  const ordered = kind === "." || kind === ")";
  return [{ type: "list", ordered, start: ordered ? Number.parseInt(marker, 10) : 1, items }, next];
}

// Returns the lines of an item without their indentation, and the number of the line after it.
function itemLines(lines, at, [whole, indent]) {
  const inner = [lines[at].slice(whole.length)];
  let next = at + 1;
  let blanks = 0;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (line.trim() === "") {
      blanks += 1;
      inner.push("");
      continue;
    }
    // Two spaces are enough, which models write below "1." as well.
    const isInside = line.startsWith(" ".repeat(indent.length + 2));
    if (!isInside && (blanks > 0 || startsBlock(line))) break;
    blanks = 0;
    inner.push(unindent(line, whole.length));
  }
  return [inner.slice(0, inner.length - blanks), next];
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

function isTable(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|") || !lines[at + 1].includes("-")) return false;
  const cells = splitCells(lines[at + 1]);
  return cells.every((cell) => DELIMITER_CELL.test(cell)) && cells.length === splitCells(lines[at]).length;
}

function parseTable(lines, at) {
  const align = splitCells(lines[at + 1]).map((cell) => {
    if (!cell.endsWith(":")) return "start";
    return cell.startsWith(":") ? "center" : "end";
  });
  const rows = [];
  let next = at + 2;
  for (; next < lines.length && lines[next].includes("|"); next += 1) rows.push(splitCells(lines[next]));
  return [{ type: "table", align, head: splitCells(lines[at]), rows }, next];
}

function splitCells(line) {
  const cells = [];
  let cell = "";
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === "\\" && line[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (line[at] === "|") {
      cells.push(cell.trim());
      cell = "";
    } else {
      cell += line[at];
    }
  }
  cells.push(cell.trim());
  if (cells[0] === "") cells.shift();
  if (cells.at(-1) === "") cells.pop();
  return cells;
}

function parseParagraph(lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && lines[next].trim() !== "" && !interrupts(lines, next, depth)) next += 1;
  return [{ type: "paragraph", text: lines.slice(at, next).join("\n").trim() }, next];
}

function interrupts(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at)) return true;
  if (depth >= MAX_NESTING) return false;
  const item = ITEM.exec(line);
  // "1984. It was" at the beginning of a line is not a list.
  return QUOTE.test(line) || (item !== null && (!/^\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1));
}

// ---------------------------------------------------------------- within a line

const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}]/u;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]*)>/y;
const BARE_LINK = /https?:\/\/[^\s<>"`]+/y;
const BREAK = /<br\s?\/?>/iy;
const KINDS = { "*": "emphasis", _: "emphasis", "**": "strong", __: "strong", "~~": "deleted" };

// Returns the inline nodes of a text: strings, and { type, children } or { type, text }.
export function parseInline(text) {
  return buildTree(new InlineTokens(text).read());
}

// Tokens in the order of the text; those that open something and are closed refer to each other.
class InlineTokens {
  tokens = [];
  #openers = []; // those that nothing has closed yet
  #counts = {}; // of these, by marker
  #start = 0; // of the text that is not yet a token

  constructor(text) {
    this.text = text;
    this.codeRuns = backtickRuns(text);
  }

  read() {
    const { text } = this;
    let at = 0;
    while (at < text.length) {
      const read = READERS[text[at]]?.(this, at);
      if (read === undefined) {
        at += 1;
        continue;
      }
      const [token, end, begin = at] = read;
      this.#flush(begin);
      if (token !== null) this.tokens.push(token);
      else this.#readMarks(at, end);
      at = this.#start = end;
    }
    this.#flush(text.length);
    return this.tokens;
  }

  #flush(end) {
    if (end > this.#start) this.tokens.push({ type: "text", text: this.text.slice(this.#start, end) });
  }

  // A run of one character that may open or close emphasis, or a bracket.
  #readMarks(at, end) {
    const character = this.text[at];
    if (character === "[" || character === "!") return this.#open(this.text.slice(at, end));
    let left = end - at;
    const before = this.text[at - 1] ?? " ";
    const after = this.text[end] ?? " ";
    let canOpen = !/\s/.test(after);
    let canClose = !/\s/.test(before);
    if (character === "_") [canOpen, canClose] = [canOpen && !WORD.test(before), canClose && !WORD.test(after)];
    while (left > 0) {
      const marker = canClose ? this.#closable(character, left) : null;
      const opened = character.repeat(character === "~" || left > 1 ? 2 : 1);
      if (marker !== null) this.#close(marker);
      else if (canOpen) this.#open(opened);
      else this.tokens.push({ type: "text", text: opened });
      left -= (marker ?? opened).length;
    }
  }

  #closable(character, left) {
    const top = this.#openers.at(-1)?.marker;
    if (top?.[0] === character && top.length <= left) return top;
    const double = character + character;
    if (left > 1 && this.#counts[double] > 0) return double;
    return this.#counts[character] > 0 ? character : null;
  }

  #open(marker) {
    const token = { type: "mark", marker, text: marker, closedBy: null };
    this.tokens.push(token);
    if (this.#openers.length >= MAX_OPEN) return;
    this.#openers.push(token);
    this.#counts[marker] = (this.#counts[marker] ?? 0) + 1;
  }

  #pop() {
    const opener = this.#openers.pop();
    this.#counts[opener.marker] -= 1;
    return opener;
  }

  #close(marker, members = {}) {
    let opener = this.#pop();
    while (opener.marker !== marker) opener = this.#pop();
    const closer = { type: "end", opener, ...members };
    opener.closedBy = closer;
    this.tokens.push(closer);
  }

  // Closes the last open bracket, if there is one, with the address after it.
  closeBracket(href, at, end) {
    const images = this.#counts["!["] ?? 0;
    const links = this.#counts["["] ?? 0;
    if (images + links === 0) return false;
    this.#flush(at);
    const last = this.#openers.findLast(({ marker }) => marker === "[" || marker === "![");
    this.#close(last.marker, { href });
    this.#start = end;
    return true;
  }
}

const isMark = (tokens, at) => {
  const character = tokens.text[at];
  let end = at + 1;
  while (tokens.text[end] === character) end += 1;
  const length = end - at;
  const isPlain = character === "~" ? length !== 2 : length > 3;
  return isPlain ? [{ type: "text", text: tokens.text.slice(at, end) }, end] : [null, end];
};

// For characters that may begin something: undefined if it is text, or a token (null for marks) and where it ends.
const READERS = {
  "\\": ({ text }, at) => {
    if (text[at + 1] === "\n") return [{ type: "break" }, at + 2];
    return PUNCTUATION.test(text[at + 1] ?? "") ? [{ type: "text", text: text[at + 1] }, at + 2] : undefined;
  },
  "\n": (_, at) => [{ type: "break" }, at + 1],
  "`": ({ text, codeRuns }, at) => {
    let end = at + 1;
    while (text[end] === "`") end += 1;
    const close = codeRuns.after(end - at, at);
    if (close === undefined) return [{ type: "text", text: text.slice(at, end) }, end];
    const content = text.slice(end, close).replaceAll("\n", " ");
    const isPadded = content.startsWith(" ") && content.endsWith(" ") && content.trim() !== "";
    return [{ type: "code", text: isPadded ? content.slice(1, -1) : content }, close + end - at];
  },
  "*": isMark,
  _: isMark,
  "~": isMark,
  "!": ({ text }, at) => (text[at + 1] === "[" ? [null, at + 2] : undefined),
  "[": (_, at) => [null, at + 1],
  "]": (tokens, at) => {
    const address = readAddress(tokens.text, at + 1);
    if (address === null || !tokens.closeBracket(address.href, at, address.end)) return undefined;
    return [{ type: "text", text: "" }, address.end, address.end];
  },
  "<": ({ text }, at) => {
    const link = matchAt(AUTOLINK, text, at);
    if (link) return [{ type: "link", href: link[1], children: [link[1]] }, at + link[0].length];
    const lineBreak = matchAt(BREAK, text, at);
    return lineBreak ? [{ type: "break" }, at + lineBreak[0].length] : undefined;
  },
  h: ({ text }, at) => {
    if (!text.startsWith("http", at) || WORD.test(text[at - 1] ?? " ")) return undefined;
    const link = matchAt(BARE_LINK, text, at);
    if (!link) return undefined;
    let end = link[0].length;
    const isBalanced = link[0].includes("(");
    while (end > 0 && (".,;:!?*_~'|]".includes(link[0][end - 1]) || (link[0][end - 1] === ")" && !isBalanced))) end -= 1;
    const href = link[0].slice(0, end);
    return [{ type: "link", href, children: [href] }, at + end];
  },
};

function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

// Reads (https://site.example/path "title") from an index on. One pair of parentheses may be within the address.
function readAddress(text, at) {
  if (text[at] !== "(") return null;
  let depth = 0;
  for (let end = at + 1; end < text.length; end += 1) {
    const character = text[end];
    if (character === "(" && (depth += 1) > 1) return null;
    if (character === ")" && (depth -= 1) < 0) return { href: text.slice(at + 1, end), end: end + 1 };
    if (character === "\n" || character === "<" || character === "]") return null;
    if (character === " ") {
      const title = matchAt(/ +(?:"[^"\n]*"|'[^'\n]*')\)/y, text, end);
      return title ? { href: text.slice(at + 1, end), end: end + title[0].length } : null;
    }
  }
  return null;
}

// Where the runs of backticks are, by their length. Asked for ever later positions.
function backtickRuns(text) {
  const positions = new Map();
  for (let at = text.indexOf("`"); at >= 0; at = text.indexOf("`", at)) {
    let end = at + 1;
    while (text[end] === "`") end += 1;
    const runs = positions.get(end - at) ?? { starts: [], next: 0 };
    positions.set(end - at, runs);
    runs.starts.push(at);
    at = end;
  }
  return {
    after(length, at) {
      const runs = positions.get(length);
      while (runs && runs.starts[runs.next] <= at) runs.next += 1;
      return runs?.starts[runs.next];
    },
  };
}

function buildTree(tokens) {
  const open = [{ children: [] }];
  for (const token of tokens) {
    const { children } = open.at(-1);
    if (token.type === "mark" && token.closedBy) {
      open.push({ children: [] });
    } else if (token.type === "end") {
      open.pop();
      const { marker } = token.opener;
      if (marker === "[") open.at(-1).children.push({ type: "link", href: token.href, children });
      else if (marker === "![") open.at(-1).children.push({ type: "image", href: token.href, text: plainText(children) });
      else open.at(-1).children.push({ type: KINDS[marker], children });
    } else if (token.type === "text" || token.type === "mark") {
      if (token.text !== "") children.push(token.text);
    } else {
      children.push(token);
    }
  }
  return open[0].children;
}

function plainText(nodes) {
  return nodes.map((node) => (typeof node === "string" ? node : (node.text ?? plainText(node.children ?? [])))).join("");
}
