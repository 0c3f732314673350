// The settings dialog, the theme, and the parts of the page that are shown.

import { byId, icon } from "./dom.js";
import { inBrowser, inTab, recall, remember } from "./storage.js";

// Of theme.js, which runs first.
const THEMES = ["system", "light", "dark"];

export class Settings {
  #changed;

  // `changed` is called when other headers are to be sent.
  constructor(changed) {
    this.#changed = changed;
    byId("headers").value = recall(inTab, "headers", "");
    byId("curl-credentials").checked = recall(inTab, "curl-credentials", false);
    byId("auto-suggest").checked = recall(inBrowser, "auto-suggest", false);
    byId("open-settings").addEventListener("click", () => this.open());
    byId("settings").addEventListener("close", () => this.#save());
    this.#startTheme();
  }

  open() {
    byId("settings").showModal();
  }

  get headers() {
    const headers = {};
    for (const line of byId("headers").value.split("\n")) {
      const [, name, value] = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*:\s*(.*)$/.exec(line) ?? [];
      if (name) headers[name.toLowerCase()] = value.replace(/[^\x20-\x7e]/g, "").trim(); // a header holds no other characters
    }
    return headers;
  }

  setHeader(name, value) {
    const others = byId("headers").value.split("\n").filter((line) => !line.toLowerCase().startsWith(`${name.toLowerCase()}:`));
    byId("headers").value = [`${name}: ${value}`, ...others].filter(Boolean).join("\n");
    this.#save();
  }

  get withCredentials() {
    return byId("curl-credentials").checked;
  }

  get suggestsAfterRuns() {
    return byId("auto-suggest").checked;
  }

  #save() {
    const before = recall(inTab, "headers", "");
    remember(inTab, "headers", byId("headers").value);
    remember(inTab, "curl-credentials", byId("curl-credentials").checked);
    remember(inBrowser, "auto-suggest", byId("auto-suggest").checked);
    if (before !== byId("headers").value) this.#changed();
  }

  #startTheme() {
    const node = byId("theme");
    const show = () => {
      const { theme } = document.documentElement.dataset;
      node.replaceChildren(icon(theme));
      node.title = `Theme: ${theme}`;
      node.setAttribute("aria-label", `Theme: ${theme}`);
    };
    node.addEventListener("click", () => {
      const { dataset } = document.documentElement;
      dataset.theme = THEMES[(THEMES.indexOf(dataset.theme) + 1) % THEMES.length];
      try {
        localStorage.setItem("playground-theme", dataset.theme);
      } catch (error) {
        console.warn(error);
      }
      show();
    });
    show();
  }
}

// Tabs as the ARIA practices describe them: arrows select, and only the selected one is in the tab order.
export function startTabs(list) {
  const tabs = [...list.querySelectorAll('[role="tab"]')];
  const select = (tab) => {
    for (const each of tabs) {
      const isSelected = each === tab;
      each.setAttribute("aria-selected", String(isSelected));
      each.tabIndex = isSelected ? 0 : -1;
      byId(each.getAttribute("aria-controls")).hidden = !isSelected;
    }
  };
  list.addEventListener("click", ({ target }) => {
    const tab = target.closest('[role="tab"]');
    if (tab) select(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined || at < 0) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    select(tab);
    tab.focus();
  });
}

// What narrow screens show of the page, and whether wide ones show the inspector.
export function startViews() {
  const buttons = [...document.querySelectorAll("[data-show]")];
  const toggle = byId("toggle-inspector");
  const show = (view) => {
    document.body.dataset.view = view;
    for (const each of buttons) each.setAttribute("aria-pressed", String(each.dataset.show === view));
  };
  for (const each of buttons) each.addEventListener("click", () => show(each.dataset.show));
  const setInspector = (isShown) => {
    document.body.classList.toggle("without-inspector", !isShown);
    toggle.setAttribute("aria-pressed", String(isShown));
    remember(inBrowser, "inspector", isShown);
  };
  toggle.addEventListener("click", () => setInspector(document.body.classList.contains("without-inspector")));
  setInspector(recall(inBrowser, "inspector", true));
  return show;
}
