// Colours code a little, whatever its language is: comments, strings, numbers and common keywords.

import { h } from "./dom.js";

const KEYWORDS = new Set(
  (
    "abstract and as async await bool boolean break case catch char class const continue def default delete do double " +
    "elif else enum except export extends false False finally float fn for from func function if implements import in " +
    "int interface is lambda let long loop match new nil None not null of or package pass private protected public raise " +
    "return self static string struct super switch this throw true True try type typeof undefined use var void while with yield"
  ).split(" "),
);

const TOKEN =
  /(?<comment>(?:#|\/\/)[^\n]*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/)?)|(?<string>"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`[^`]*`?)|(?<number>\b\d[\w.]*)|(?<word>[\p{L}_]\w*)/gu;
const LONGEST = 20_000;

// Returns the nodes and texts of some code.
export function highlight(text) {
  if (text.length > LONGEST) return [text];
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    const kind = kindOf(match.groups);
    if (kind === null) continue;
    if (match.index > at) nodes.push(text.slice(at, match.index));
    nodes.push(h("span", { class: `code-${kind}` }, match[0]));
    at = match.index + match[0].length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function kindOf({ comment, string, number, word }) {
  if (comment !== undefined) return "comment";
  if (string !== undefined) return "string";
  if (number !== undefined) return "number";
  return KEYWORDS.has(word) ? "keyword" : null;
}
