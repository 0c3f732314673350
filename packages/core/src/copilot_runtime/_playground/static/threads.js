// The list of threads, and what may be done with them.

import { arrange, button, byId, h, icon } from "./dom.js";
import { plainText } from "./conversation.js";
import { inBrowser, recall, remember } from "./storage.js";
import { ThreadRow } from "./thread_row.js";

const POLL_MILLISECONDS = 2000;
const NAMING_MILLISECONDS = 2500;
const PAGE_SIZE = 50;
const REMEMBERED = 300;

// `actions` has current(), address(threadId, agentId), deleted(threadId) and fail(text).
export class Threads {
  #list = byId("threads");
  #rows = new Map(); // of the listed threads
  #more = h("li", {}, button("Show more", () => this.#showMore(), { class: "wide" }));
  #menu = byId("thread-menu");
  #running = new Map(); // those with a run that this page has started or joined, and whose end it has not seen
  #updated = new Map(); // when the listed threads were updated
  #timer = null;
  #lateRefresh = null; // when the runtime may have named the thread
  #firstMessages = new Map(recall(inBrowser, "first-messages", []));
  #limit = PAGE_SIZE;

  constructor(runtime, actions) {
    this.runtime = runtime;
    this.actions = actions;
    this.access = {};
    byId("show-archived").addEventListener("change", () => this.refresh());
    this.#menu.addEventListener("toggle", (event) => {
      this.#opener?.setAttribute("aria-expanded", String(event.newState === "open"));
    });
  }

  #opener = null; // the button that has opened the menu

  setAccess(access) {
    this.access = access ?? {};
    byId("archived-option").hidden = !this.access.mutations;
    if (!this.access.list) this.#showHint("This runtime does not list threads. Reloading this page still replays its thread.");
  }

  // Called when a run of the shown thread has begun or ended.
  follow({ threadId, agentId, conversation }) {
    clearTimeout(this.#lateRefresh);
    this.#rememberName({ threadId, conversation });
    if (conversation.runId === null) {
      this.#running.delete(threadId);
      this.#lateRefresh = setTimeout(() => this.refresh(), NAMING_MILLISECONDS);
    } else if (!this.#running.has(threadId)) {
      const name = nameOf(conversation);
      this.#running.set(threadId, { id: threadId, agentId, name, before: this.#updated.get(threadId) });
    }
    this.refreshIn(50); // a replay may begin and end many runs
  }

  refreshIn(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), milliseconds);
  }

  async refresh() {
    if (!this.access.list) return;
    clearTimeout(this.#timer);
    const current = this.actions.current();
    const query = new URLSearchParams({ limit: String(this.#limit) });
    if (byId("show-archived").checked) query.set("includeArchived", "true");
    try {
      const { threads, nextCursor } = await this.runtime.json("threads", { path: `/threads?${query}` });
      for (const { id, updatedAt } of threads) {
        this.#updated.set(id, updatedAt);
        // The run of a thread that is not shown has ended, if the thread has changed since.
        const running = this.#running.get(id);
        if (id !== current?.threadId && running && running.before !== updatedAt) this.#running.delete(id);
      }
      if (current !== this.actions.current()) return;
      const listed = new Set(threads.map(({ id }) => id));
      const unlisted = [...this.#running.values()].filter(({ id }) => !listed.has(id)).reverse();
      this.#show([...unlisted, ...threads], nextCursor);
      if ([...this.#running.keys()].some((id) => id !== current?.threadId)) this.refreshIn(POLL_MILLISECONDS);
    } catch (error) {
      // fetch raises TypeError for a server that is away, such as while a developer restarts it: the list is kept then.
      const isListed = this.#list.querySelector("a") !== null;
      if (!isListed || !(error instanceof TypeError)) this.#showHint(`The list of threads is not available: ${error.message}`);
    }
  }

  // Marks the thread that is shown now.
  mark(threadId) {
    for (const [id, row] of this.#rows) row.mark(id === threadId);
  }

  // The runtime may be about to name the thread (thread_names). Until then, or where it does not, this browser shows
  // its first message, without storing that as a name.
  #rememberName({ threadId, conversation }) {
    const name = nameOf(conversation);
    if (!name || this.#firstMessages.get(threadId) === name) return;
    this.#firstMessages.set(threadId, name);
    remember(inBrowser, "first-messages", [...this.#firstMessages].slice(-REMEMBERED));
  }

  #patch({ id, agentId }, changes) {
    return this.#change("PATCH", `/threads/${encodeURIComponent(id)}`, { agentId, ...changes });
  }

  #change(method, path, body) {
    return this.runtime.json("threads", { method, path, body });
  }

  #showHint(text) {
    this.#fill([h("li", { class: "hint" }, text)]);
  }

  #show(threads, nextCursor) {
    this.#rows = new Map(threads.map((thread) => [thread.id, this.#row(thread)]));
    if (threads.length === 0) return this.#showHint("No threads yet.");
    const nodes = [...this.#rows.values()].map(({ node }) => node);
    this.#fill(nextCursor ? [...nodes, this.#more] : nodes);
  }

  // Leaves the list as it is while the menu stands beside a row, or a name is written in one.
  #fill(nodes) {
    const isInUse = this.#menu.matches(":popover-open") || this.#list.contains(document.activeElement?.closest("form"));
    if (isInUse) return this.refreshIn(POLL_MILLISECONDS);
    for (const node of [...this.#list.children]) if (!nodes.includes(node)) node.remove();
    arrange(this.#list, nodes);
  }

  #showMore() {
    this.#limit = Math.min(this.#limit + PAGE_SIZE, 1000);
    this.refresh();
  }

  #row(thread) {
    const { id, agentId, name, updatedAt } = thread;
    const row = this.#rows.get(id) ?? new ThreadRow((self) => this.#openMenu(self));
    const isRunning = this.#running.has(id);
    row.update({
      thread,
      title: name || this.#firstMessages.get(id) || `Thread ${id.slice(0, 8)}`,
      when: isRunning ? "running" : ago(updatedAt),
      address: this.actions.address(id, agentId),
      isRunning,
      isCurrent: id === this.actions.current()?.threadId,
      mayChange: Boolean(this.access.mutations) && updatedAt !== undefined,
    });
    return row;
  }

  #openMenu(row) {
    if (this.#menu.matches(":popover-open")) return this.#menu.hidePopover();
    const { opener, thread } = row;
    const { id, archived } = thread;
    const path = `/threads/${encodeURIComponent(id)}`;
    const item = (name, label, action) => {
      const node = h("button", { type: "button", role: "menuitem", onclick: () => (this.#menu.hidePopover(), action()) }, icon(name), label);
      return node;
    };
    const archive = archived
      ? item("restore", "Restore", () => this.#do(this.#patch(thread, { archived: false })))
      : item("archive", "Archive", () => this.#do(this.#change("POST", `${path}/archive`, { agentId: thread.agentId })));
    this.#menu.replaceChildren(
      item("edit", "Rename", () => this.#rename(row, thread)),
      archive,
      item("trash", "Delete", () => this.#delete(thread, path)),
    );
    this.#opener = opener;
    this.#menu.showPopover();
    const place = opener.getBoundingClientRect();
    const below = Math.min(place.bottom, innerHeight - this.#menu.offsetHeight - 8);
    this.#menu.style.top = `${below}px`;
    this.#menu.style.left = `${Math.min(place.left, innerWidth - this.#menu.offsetWidth - 8)}px`;
    this.#menu.firstElementChild.focus();
    this.#menu.onkeydown = (event) => this.#moveInMenu(event, opener);
  }

  #moveInMenu(event, opener) {
    const items = [...this.#menu.children];
    const at = items.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      items.at(next % items.length).focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      this.#menu.hidePopover();
      opener.focus();
    }
  }

  async #do(request) {
    try {
      await request;
    } catch (error) {
      this.actions.fail(error.message);
    }
    this.refresh();
  }

  #rename(row, thread) {
    row.editName(thread.name ?? "", (name) => {
      if (name && name !== thread.name) this.#do(this.#patch(thread, { name }));
      else this.refresh();
    });
  }

  async #delete(thread, path) {
    const dialog = byId("delete-dialog");
    byId("delete-name").textContent = thread.name || thread.id;
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "delete") return;
    this.#running.delete(thread.id);
    await this.#do(this.#change("DELETE", path, { agentId: thread.agentId }));
    this.actions.deleted(thread.id);
  }
}

function nameOf(conversation) {
  const first = conversation.items.find((item) => item.kind === "user");
  return first && plainText(first.content).replace(/\s+/g, " ").trim().slice(0, 60);
}

function ago(text) {
  const seconds = (Date.now() - Date.parse(text)) / 1000;
  if (!(seconds >= 0)) return "now";
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(text).toLocaleDateString([], { dateStyle: "medium" });
}
