// A row of the list of threads. It is the same for as long as its thread is listed, so that the user may point at it, select
// its text or have the focus in it while the list is renewed.

import { h, iconButton, setText } from "./dom.js";

export class ThreadRow {
  #name = h("span", { class: "name" });
  #details = h("small");
  #link = h("a", {}, this.#name, this.#details);

  constructor(openMenu) {
    this.opener = iconButton("more", "", () => openMenu(this), { "aria-haspopup": "menu", "aria-expanded": "false" });
    this.node = h("li", {}, this.#link, this.opener);
  }

  update({ thread, title, when, address, isRunning, isCurrent, mayChange }) {
    this.thread = thread;
    setText(this.#name, title);
    setText(this.#details, [thread.agentId, when, thread.archived ? "archived" : null].filter(Boolean).join(" · "));
    this.#link.href = address;
    this.#link.title = title;
    this.mark(isCurrent);
    this.node.classList.toggle("running", isRunning);
    this.opener.hidden = !mayChange;
    this.opener.title = `Actions for ${title}`;
    this.opener.setAttribute("aria-label", this.opener.title);
  }

  // Marks the thread that the page shows.
  mark(isCurrent) {
    if (isCurrent) this.#link.setAttribute("aria-current", "true");
    else this.#link.removeAttribute("aria-current");
  }

  // Lets the user write a name in place of the row. Calls `finish` once, with the name or with null.
  editName(name, finish) {
    const input = h("input", { value: name, maxLength: 200, "aria-label": "Name of the thread" });
    const form = h("form", { class: "rename" }, input);
    let isOver = false;
    const end = (written) => {
      if (isOver) return;
      isOver = true;
      const hasFocus = document.activeElement === input;
      this.node.replaceChildren(this.#link, this.opener);
      if (hasFocus) this.opener.focus();
      finish(written);
    };
    form.addEventListener("submit", (event) => (event.preventDefault(), end(input.value.trim())));
    input.addEventListener("keydown", (event) => event.key === "Escape" && end(null));
    input.addEventListener("blur", () => end(input.value.trim()));
    this.node.replaceChildren(form);
    input.focus();
    input.select();
  }
}
