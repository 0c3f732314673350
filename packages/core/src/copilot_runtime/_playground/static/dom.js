// Builds nodes. Data becomes text and properties, never markup.

const SVG = "http://www.w3.org/2000/svg";

// 24 by 24, drawn with strokes.
const ICONS = {
  archive: "M4 8v11a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1V8M3 4h18v4H3zM10 12h4",
  attach: "m20 11-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.6 1.6 0 0 1-2.3-2.3L14.5 7",
  check: "m5 12 5 5L20 7",
  chat: "M21 12a8 8 0 0 1-8 8H4l2-3.2A8 8 0 1 1 21 12z",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  cut: "M4 12h4M16 12h4M9 5l6 14",
  dark: "M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z",
  download: "M12 4v11m-5-4 5 5 5-5M4 20h16",
  edit: "m4 20 1-4L16.5 4.5a2 2 0 0 1 3 3L8 19z",
  file: "M14 3H6v18h12V7zM14 3v4h4",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  list: "M4 6h16M4 12h16M4 18h10",
  microphone: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5 11a7 7 0 0 0 14 0M12 18v3",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  panel: "M3 5h18v14H3zM15 5v14",
  plus: "M12 5v14M5 12h14",
  restore: "M4 12a8 8 0 1 0 2.5-5.8L4 8.5M4 4v4.5h4.5",
  send: "M12 19V5M6 11l6-6 6 6",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5",
  sparkle: "M12 4l1.8 5.2L19 11l-5.2 1.8L12 18l-1.8-5.2L5 11l5.2-1.8zM19 17v4M17 19h4",
  speak: "M5 9v6h4l5 4V5L9 9zM17 9a4 4 0 0 1 0 6",
  stop: "M7 7h10v10H7z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// h("button", { class: "main", type: "button", onclick: send }, "Send"): members that begin with "on" are listeners,
// those that the node has as a property are set as one, others as attributes.
export function h(tag, members = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(members)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name in node && !name.startsWith("aria") && name !== "role" && name !== "form") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function button(label, onclick, members = {}) {
  return h("button", { type: "button", onclick, ...members }, label);
}

// A button that shows an icon alone; its name is read out, and shown as a hint.
export function iconButton(name, label, onclick, members = {}) {
  const node = h("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick, ...members });
  node.append(icon(name));
  return node;
}

// Streamed text only grows. Appending to it is cheap, and keeps the user's selection.
export function setText(node, text) {
  const shown = node.firstChild;
  if (shown?.nodeType === Node.TEXT_NODE && node.childNodes.length === 1 && text.startsWith(shown.data)) {
    if (text.length > shown.data.length) shown.appendData(text.slice(shown.length));
  } else {
    node.textContent = text;
  }
}

// Puts children in this order, before others. Moving one would take its focus away, and break off a selection or a click:
// what is in its place is left there, and what has the focus is not moved in any case.
export function arrange(parent, children) {
  const focused = children.find((child) => child.contains(document.activeElement));
  let place = parent.firstElementChild;
  for (const child of children) {
    while (child === focused && child !== place) {
      const other = place;
      place = place.nextElementSibling;
      parent.append(other);
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}

export const byId = (id) => document.getElementById(id);

// Calls a function once in the next frame, however often it is asked for until then.
export function oncePerFrame(action) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    const act = () => {
      if (!waiting) return;
      waiting = false;
      action();
    };
    requestAnimationFrame(act);
    // A page in the background has no frames.
    setTimeout(act, 250);
  };
}

export function formatBytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1_000_000 ? `${(count / 1000).toFixed(1)} kB` : `${(count / 1_000_000).toFixed(1)} MB`;
}

// Not crypto.randomUUID, which pages without TLS do not have.
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const shownBefore = new WeakMap(); // for each button that has copied: what it shows otherwise

// Copies a text, and says so on the button for a moment.
export async function copyFrom(source, text) {
  const copied = await writeClipboard(text);
  const label = source.getAttribute("aria-label");
  if (!shownBefore.has(source)) shownBefore.set(source, [...source.childNodes]);
  const words = copied ? "Copied" : "Not copied";
  if (label === null) source.replaceChildren(words);
  else source.replaceChildren(icon(copied ? "check" : "close"));
  byId("status").textContent = copied ? "Copied to the clipboard." : "The browser did not allow copying.";
  setTimeout(() => source.replaceChildren(...shownBefore.get(source)), 1200);
}

async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS have no clipboard, but browsers still copy what is selected.
    const area = h("textarea", { value: text, class: "unseen", "aria-hidden": "true" });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
