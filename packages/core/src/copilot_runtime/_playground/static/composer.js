// Where messages are written: text, files, and speech.

import { byId, formatBytes, h, icon, iconButton, newId } from "./dom.js";

const KINDS = ["image", "audio", "video"];

// `actions` has send(content), stop(), transcribe(body) and fail(text).
export class Composer {
  #attachments = [];
  #recorder = null;
  #input = byId("prompt");

  constructor(actions) {
    this.actions = actions;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener("keydown", (event) => {
      // While an input method is composing a word, Enter confirms the word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    if (!CSS.supports("field-sizing", "content")) this.#input.addEventListener("input", () => this.#fitHeight());
    this.#input.addEventListener("paste", (event) => this.#add(event.clipboardData.files, event));
    byId("attach").addEventListener("click", () => byId("files").click());
    byId("files").addEventListener("change", ({ target }) => {
      this.#add(target.files);
      target.value = "";
    });
    byId("record").addEventListener("click", () => this.#record());
    byId("stop").addEventListener("click", () => actions.stop());
    this.#acceptDrops();
  }

  focus() {
    this.#input.focus();
  }

  // Says what the composer may do: `reason` is why nothing can be sent, or null.
  update({ busy, stopping, reason }) {
    const hadFocus = document.activeElement === byId("stop");
    byId("stop").hidden = !busy;
    byId("stop").disabled = stopping;
    byId("send").hidden = busy;
    byId("send").disabled = reason !== null;
    this.#input.placeholder = reason ?? "Write a message";
    this.blocked = busy || reason !== null;
    if (hadFocus && !busy) this.focus();
  }

  setSpeech(isAvailable) {
    byId("record").hidden = !isAvailable || typeof MediaRecorder === "undefined";
  }

  // As CSS does it where a browser knows field-sizing.
  #fitHeight() {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
  }

  #send() {
    const text = this.#input.value;
    if (this.blocked || (text.trim() === "" && this.#attachments.length === 0)) return;
    const parts = this.#attachments.map(({ part }) => part);
    const content = parts.length === 0 ? text : [...(text.trim() === "" ? [] : [{ type: "text", text }]), ...parts];
    this.#input.value = "";
    this.#input.style.height = "";
    this.#attachments = [];
    this.#showAttachments();
    this.actions.send(content);
  }

  // ---------------------------------------------------------------- files

  async #add(files, event) {
    if (files.length === 0) return;
    event?.preventDefault();
    for (const file of [...files]) {
      let url;
      try {
        url = await readAsDataUrl(file);
      } catch (error) {
        const advice = "It may be a folder, or it was moved, deleted or changed since.";
        this.actions.fail(`${file.name} cannot be read: ${error.message} ${advice}`);
        continue;
      }
      const mimeType = file.type || "application/octet-stream";
      const family = mimeType.split("/")[0];
      const type = KINDS.includes(family) ? family : "document";
      const value = url.slice(url.indexOf(",") + 1);
      const part = { type, source: { type: "data", value, mimeType }, metadata: { filename: file.name } };
      this.#attachments.push({ id: newId(), name: file.name, size: file.size, url, part });
    }
    this.#showAttachments();
    this.focus();
  }

  #showAttachments() {
    const rows = this.#attachments.map((attachment) => {
      const { id, name, size, url, part } = attachment;
      const remove = iconButton("close", `Remove ${name}`, () => {
        this.#attachments = this.#attachments.filter((each) => each.id !== id);
        this.#showAttachments();
        this.focus();
      });
      const preview = part.type === "image" ? h("img", { src: url, alt: "" }) : icon("file");
      return h("li", {}, preview, h("span", { class: "name" }, name), h("small", {}, formatBytes(size)), remove);
    });
    byId("attachments").replaceChildren(...rows);
    byId("attachments").hidden = rows.length === 0;
  }

  #acceptDrops() {
    const area = byId("chat");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    area.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      area.classList.add("dropping");
    });
    area.addEventListener("dragleave", (event) => {
      if (!area.contains(event.relatedTarget)) area.classList.remove("dropping");
    });
    area.addEventListener("drop", (event) => {
      area.classList.remove("dropping");
      if (hasFiles(event)) this.#add(event.dataTransfer.files, event);
    });
  }

  // ---------------------------------------------------------------- speech

  async #record() {
    if (this.#recorder) return this.#recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const recorder = new MediaRecorder(stream);
      const pieces = [];
      recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
      recorder.addEventListener("stop", () => {
        for (const track of stream.getTracks()) track.stop();
        this.#setRecorder(null);
        this.#transcribe(new Blob(pieces, { type: recorder.mimeType }));
      });
      recorder.start();
      this.#setRecorder(recorder);
    } catch (error) {
      this.actions.fail(`The microphone cannot be used: ${error.message}`);
    }
  }

  #setRecorder(recorder) {
    this.#recorder = recorder;
    const label = recorder ? "Stop recording" : "Record speech";
    const node = byId("record");
    node.setAttribute("aria-label", label);
    node.title = label;
    node.classList.toggle("recording", recorder !== null);
    node.replaceChildren(icon(recorder ? "stop" : "microphone"));
  }

  async #transcribe(recording) {
    byId("record").disabled = true;
    try {
      const url = await readAsDataUrl(recording);
      const mimeType = recording.type || "audio/webm";
      const filename = `recording.${mimeType.split(";")[0].split("/")[1]}`;
      const { text } = await this.actions.transcribe({ audio: url.slice(url.indexOf(",") + 1), mimeType, filename });
      this.#input.value = [this.#input.value.trimEnd(), text].filter(Boolean).join(" ");
    } catch (error) {
      this.actions.fail(`The recording was not transcribed: ${error.message}`);
    }
    byId("record").disabled = false;
    this.focus();
  }
}

function readAsDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(blob);
  });
}
