// The shared state: as it changes, and as the person edits it.

import { byId, h, oncePerFrame } from "./dom.js";
import { valueTree } from "./value_view.js";

export class StatePanel {
  #shown; // the value that is drawn
  #draw = oncePerFrame(() => this.#drawState());

  constructor() {
    byId("state-edit").addEventListener("click", () => this.#edit());
    byId("state-cancel").addEventListener("click", () => this.#close());
    byId("state-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#apply();
    });
  }

  // Shows the state of another thread.
  show(conversation) {
    this.conversation = conversation;
    this.#shown = undefined;
    this.#close();
    this.#drawState();
  }

  changed() {
    this.#draw();
  }

  #drawState() {
    const { state } = this.conversation;
    if (state === this.#shown) return;
    const before = this.#shown;
    this.#shown = state;
    const isEmpty = state === null || (typeof state === "object" && Object.keys(state).length === 0);
    byId("state-view").replaceChildren(
      isEmpty ? h("p", { class: "hint" }, "The state is empty. Edit it, or let an agent change it.") : valueTree(state, before),
    );
    byId("state-dot").hidden = isEmpty;
  }

  #edit() {
    byId("state-text").value = JSON.stringify(this.conversation.state, null, 2);
    byId("state-problem").textContent = "";
    this.#toggle(true);
    byId("state-text").focus();
  }

  #apply() {
    try {
      this.conversation.setState(JSON.parse(byId("state-text").value));
    } catch (error) {
      byId("state-problem").textContent = `This is not JSON: ${error.message}`;
      return;
    }
    this.#close();
    byId("state-edit").focus();
  }

  #close() {
    this.#toggle(false);
  }

  #toggle(isEditing) {
    byId("state-form").hidden = !isEditing;
    byId("state-view").hidden = isEditing;
    byId("state-edit").hidden = isEditing;
  }
}
