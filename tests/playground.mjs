// Uses the playground in a browser: node playground.mjs NODE_MODULES AXE CHROMIUM DEMO_URL USERS_URL SINGLE_URL EMPTY_URL
// One line of JSON on standard output for each scenario, {"name": "stop", "error": null or text}.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [modules, axePath, executablePath, ...urls] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const axe = readFileSync(axePath, "utf-8");
const [DEMO, USERS, SINGLE, EMPTY] = urls;

const PATIENCE = 60_000;
const AT_ONCE = 2;

const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 360, height: 740 };

// A PNG of one pixel.
const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** The playground in a tab. */
class Tab {
  errors = [];
  requests = [];

  constructor(page) {
    this.page = page;
    this.log = page.getByRole("log");
    this.prompt = page.getByRole("textbox", { name: "Message" });
    page.setDefaultTimeout(PATIENCE);
    // What the page before it does until it is gone does not count.
    page.once("framenavigated", () => {
      page.on("pageerror", (error) => this.errors.push(String(error)));
      page.on("console", (said) => said.type() === "error" && this.errors.push(said.text()));
      page.on("request", (request) => this.requests.push(request));
    });
  }

  async open(url) {
    await this.page.goto(url);
    await this.log.locator(":scope > *").first().waitFor();
  }

  choose(agent) {
    return this.page.getByLabel("Agent", { exact: true }).selectOption(agent);
  }

  async send(text) {
    await this.prompt.fill(text);
    await this.button("Send").click();
  }

  async ask(agent, text) {
    await this.choose(agent);
    await this.send(text);
  }

  async askAndWait(agent, text, end) {
    await this.ask(agent, text);
    await this.log.getByText(end).locator("visible=true").first().waitFor();
    await this.idle();
  }

  button(name) {
    return this.page.getByRole("button", { name, exact: true });
  }

  says(text) {
    return this.log.getByText(text).first().waitFor();
  }

  /** Waits until no run is active and nothing is being loaded. */
  idle() {
    return this.page.waitForFunction(() => document.getElementById("connection").textContent === "");
  }

  thread(name) {
    return this.page.getByRole("navigation", { name: "Threads" }).getByRole("link").filter({ hasText: name });
  }

  async inThreadMenu(name, action) {
    await this.page.getByRole("button", { name: `Actions for ${name}`, exact: true }).click();
    await this.page.getByRole("menuitem", { name: action }).click();
  }

  /** Drops files on the chat, of which the first one is deleted before that. */
  async drop(paths) {
    for (const path of paths) writeFileSync(path, "some text");
    const input = await this.page.evaluateHandle(() => Object.assign(document.createElement("input"), { type: "file", multiple: true }));
    await input.setInputFiles(paths);
    rmSync(paths[0]);
    await input.evaluate(({ files }) => {
      const dataTransfer = new DataTransfer();
      for (const file of files) dataTransfer.items.add(file);
      document.getElementById("chat").dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
    });
  }

  /** Types of the events in the timeline, in order. */
  eventTypes() {
    return this.page.locator(".event .type").allTextContents();
  }

  // Evaluated by the debugger, which the page's own policy does not apply to.
  /** Checks the whole page, or the parts of it that have changed since. */
  async checkAccessibility(where, ...selectors) {
    if (!(await this.page.evaluate(() => "axe" in globalThis))) await this.page.evaluate(axe);
    const parts = selectors.length ? JSON.stringify(selectors) : "document";
    const result = await this.page.evaluate(`axe.run(${parts}, { resultTypes: ["violations"] })`);
    const found = result.violations.map(({ id, nodes }) => `${where}: ${id} ${nodes.map(({ target }) => target).join(", ")}`);
    equal(found, []);
  }
}

function equal(actual, expected) {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} is not ${other}`);
}

function isTrue(value, words) {
  if (!value) throw new Error(`not true: ${words}`);
}

/** Checks that a node has the focus, given its locator or its handle. */
async function hasFocus(node, words) {
  isTrue(await node.evaluate((self) => self === document.activeElement), `the focus is there: ${words}`);
}

const SCENARIOS = {
  async "streams-markdown"(tab) {
    await tab.open(DEMO);
    await tab.log.getByRole("button", { name: "Show me Markdown" }).click();
    await tab.log.getByRole("heading", { name: "What this chat shows" }).waitFor();
    await tab.log.getByRole("table").waitFor();
    await tab.log.locator("pre code", { hasText: "async def agent" }).waitFor();
    await tab.log.locator("blockquote").waitFor();
    await tab.idle();
    equal(await tab.log.locator("ol > li").count(), 2);
    equal(await tab.log.locator(".code-keyword").first().textContent(), "async");
    equal(await tab.log.getByRole("link", { name: "links" }).getAttribute("rel"), "noopener noreferrer");
    await tab.page.reload();
    await tab.log.locator("blockquote").waitFor();
    equal(await tab.log.locator(".user").allTextContents(), ["Show me Markdown with code and a table"]);
  },

  // What a model writes is text, whatever it looks like.
  async "model-text-is-never-markup"(tab) {
    await tab.open(DEMO);
    await tab.ask("reasoning", '<img src=x onerror="alert(1)"> [a](javascript:alert(1)) ![b](https://other.example/c.png)');
    await tab.says("Your message has");
    await tab.idle();
    equal(await tab.log.locator("img, a[href^='javascript'], script").count(), 0);
    const elsewhere = tab.requests.filter((request) => new URL(request.url()).origin !== new URL(DEMO).origin);
    equal(elsewhere.map((request) => request.url()).filter((url) => !/^(data|blob):/.test(url)), []);
  },

  async "executes-frontend-tools"(tab) {
    await tab.open(DEMO);
    await tab.ask("tools", "Let me choose a colour");
    await tab.log.getByRole("group", { name: "Which background would you like?" }).getByRole("button", { name: "plum" }).click();
    await tab.says("The page answered: The user chose plum.");
    await tab.idle();
    await tab.send("Make it gold");
    await tab.says("The page answered: The background is gold now.");
    await tab.idle();
    const tint = () => tab.page.evaluate(() => document.documentElement.style.getPropertyValue("--tint"));
    equal(await tint(), "gold");
    // After a reload both calls have their results.
    await tab.page.reload();
    await tab.says("The page answered: The background is gold now.");
    equal(await tab.log.locator(".tool .state").allTextContents(), ["done", "done"]);
    // What one thread has changed does not show in the next.
    await tab.send("Make it gold");
    await tab.page.waitForFunction(() => document.documentElement.style.getPropertyValue("--tint") === "gold");
    await tab.button("New thread").click();
    await tab.log.getByRole("heading", { name: "tools" }).waitFor();
    equal(await tint(), "");
  },

  async "interrupts-resume-after-a-reload"(tab) {
    await tab.open(DEMO);
    await tab.ask("approval", "Book a table for four");
    await tab.log.getByText("When shall I book the table?").waitFor();
    await tab.idle();
    isTrue(await tab.button("Send").isDisabled(), "an open interrupt keeps messages back");
    await tab.page.reload();
    await tab.log.getByLabel("Time").selectOption("21:00");
    await tab.log.getByLabel("Outside").check();
    await tab.log.getByRole("button", { name: "Answer", exact: true }).click();
    await tab.says("Booked for 4 at 21:00, outside.");
    await tab.send("Delete the old backups");
    await tab.log.getByRole("button", { name: "Reject" }).click();
    await tab.says("Not done, as you wish.");
    await tab.send("Delete the new backups");
    await tab.log.getByRole("button", { name: "Cancel" }).click();
    await tab.says("Then I leave it.");
  },

  async "shows-and-edits-the-state"(tab) {
    await tab.open(DEMO);
    await tab.page.getByRole("tab", { name: "State" }).click();
    await tab.ask("state", "Add milk and eggs");
    const state = tab.page.getByRole("region", { name: "Shared state" });
    await state.getByText("eggs").waitFor();
    await tab.idle();
    await tab.button("Edit").click();
    const area = tab.page.getByRole("textbox", { name: "State as JSON" });
    await area.fill("[1,");
    await tab.button("Apply").click();
    await tab.page.getByText("This is not JSON").waitFor();
    await area.fill('{"items": [{"name": "tea", "done": false}]}');
    await tab.button("Apply").click();
    await state.getByText("tea").waitFor();
    await tab.send("Add honey");
    await state.getByText("honey").waitFor();
    await tab.says("2 item(s) left to buy.");
  },

  async "shows-reasoning-and-activities"(tab) {
    await tab.open(DEMO);
    await tab.ask("reasoning", "abc");
    await tab.says("Your message has 1 word(s)");
    await tab.idle();
    // It is open while it comes, and closed once the answer follows.
    equal(await tab.log.locator(".reasoning details").getAttribute("open"), null);
    await tab.log.getByText("Reasoning", { exact: true }).click();
    await tab.log.getByText("The user wrote “abc”.").waitFor();
    await tab.choose("activity");
    await tab.send("Why?");
    await tab.log.locator(".steps .done").nth(3).waitFor();
    await tab.log.locator(".item.step", { hasText: "✓ Write the answer" }).waitFor();
  },

  async "suggests-messages"(tab) {
    await tab.open(DEMO);
    await tab.send("Hello!");
    await tab.says("Hello! I am a small demo agent.");
    await tab.idle();
    await tab.button("Suggest messages").click();
    await tab.page.getByRole("group", { name: "Suggestions" }).getByRole("button", { name: "What is this?" }).click();
    await tab.says("This is a CopilotKit runtime written in Python.");
  },

  async "sends-images-and-files"(tab) {
    await tab.open(DEMO);
    await tab.page.locator("#files").setInputFiles([
      { name: "pixel.png", mimeType: "image/png", buffer: Buffer.from(PIXEL, "base64") },
      { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("some notes") },
      { name: "wrong.pdf", mimeType: "application/pdf", buffer: Buffer.from("wrong") },
    ]);
    await tab.page.getByRole("button", { name: "Remove wrong.pdf" }).click();
    await tab.send("xyzzy");
    await tab.says("of type image/png");
    await tab.says("document of type text/plain, 10 bytes");
    await tab.page.reload();
    await tab.log.getByRole("img", { name: "pixel.png" }).waitFor();
    await tab.log.getByText("notes.txt").waitFor();
    equal(await tab.log.getByText("wrong.pdf").count(), 0);
    // A file that is deleted before it is read cannot be read, like a folder. It does not keep back the others.
    const folder = mkdtempSync(join(tmpdir(), "playground-"));
    await tab.drop(["gone.txt", "there.txt"].map((name) => join(folder, name)));
    await tab.page.getByRole("button", { name: "Remove there.txt" }).waitFor();
    await tab.page.getByRole("alert").getByText("gone.txt cannot be read").waitFor();
    equal(await tab.page.locator("#attachments li").count(), 1);
    rmSync(folder, { recursive: true });
  },

  async "transcribes-speech"(tab) {
    await tab.open(DEMO);
    await tab.button("Record speech").click();
    await tab.button("Stop recording").click();
    await tab.page.waitForFunction(() => document.getElementById("prompt").value.includes("KiB of audio/webm"));
  },

  async "stop-is-shown-after-a-reload"(tab) {
    await tab.open(DEMO);
    await tab.ask("long", "count for me");
    await tab.says("Step 2 of 200");
    await tab.button("Stop").click();
    await tab.says("Stopped.");
    await tab.page.reload();
    await tab.says("Stopped.");
    await tab.says("Step 2 of 200");
    // One that was not stopped says nothing of the kind.
    await tab.ask("default", "hello");
    await tab.says("to show you Markdown");
    await tab.page.reload();
    await tab.says("to show you Markdown");
    equal(await tab.log.getByText("Stopped.").count(), 0);
  },

  async "threads-are-renamed-archived-and-deleted"(tab) {
    await tab.open(DEMO);
    await tab.send("hello, name me");
    await tab.thread("hello, name me").waitFor();
    await tab.idle();
    await tab.inThreadMenu("hello, name me", "Rename");
    await tab.page.getByRole("textbox", { name: "Name of the thread" }).fill("Renamed here");
    await tab.page.keyboard.press("Enter");
    await tab.thread("Renamed here").waitFor();
    const opener = tab.page.getByRole("button", { name: "Actions for Renamed here", exact: true });
    await hasFocus(opener, "the focus returns from the name");
    await tab.inThreadMenu("Renamed here", "Archive");
    await tab.thread("Renamed here").waitFor({ state: "detached" });
    await tab.page.getByRole("checkbox", { name: "Show archived" }).check();
    await tab.thread("Renamed here").filter({ hasText: "archived" }).waitFor();
    await tab.inThreadMenu("Renamed here", "Restore");
    await tab.thread("Renamed here").filter({ hasNotText: "archived" }).waitFor();
    await tab.inThreadMenu("Renamed here", "Delete");
    await tab.page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await tab.thread("Renamed here").waitFor({ state: "detached" });
    await tab.log.getByRole("heading", { name: "default" }).waitFor();
  },

  // The page asks for the list every few seconds, whatever the user is doing with it.
  async "list-of-threads-is-renewed-in-place"(tab) {
    let answer;
    const failures = [];
    await tab.page.route("**/threads?*", (route) => route.fulfill(failures.pop() ?? answer));
    const list = (...names) => {
      const threads = names.map((name) => ({ id: name, agentId: "default", name, archived: false, updatedAt: "2020-01-01T00:00:00Z" }));
      answer = { json: { threads, nextCursor: "more" } };
    };
    const shown = tab.page.locator("#threads");
    const renew = async (...names) => {
      list(...names);
      await tab.page.evaluate(() => dispatchEvent(new Event("focus")));
      const listed = (text) => Array.from(document.querySelectorAll("#threads .name"), (name) => name.textContent).join() === text;
      await tab.page.waitForFunction(listed, names.join());
    };
    list("one", "two", "three");
    await tab.open(DEMO);
    await tab.thread("three").waitFor();
    const opener = tab.page.getByRole("button", { name: "Actions for two", exact: true });
    for (const each of [tab.thread("two"), opener, tab.button("Show more")]) {
      const node = await each.elementHandle();
      await node.focus();
      await renew("new", "one", "two");
      await hasFocus(node, "others come and go");
      await renew("two", "three", "new");
      await hasFocus(node, "its thread becomes the first");
      await renew("three", "one", "new", "two");
      await hasFocus(node, "its thread becomes the last");
    }

    await tab.thread("two").locator(".name").selectText();
    await renew("three", "new", "two");
    equal(await tab.page.evaluate(() => String(getSelection())), "two");

    await tab.thread("two").evaluate((link) => link.addEventListener("click", (event) => (event.preventDefault(), (link.rel = "clicked"))));
    await tab.thread("two").hover();
    await tab.page.mouse.down();
    await renew("three", "newer", "two");
    await tab.page.mouse.up();
    equal(await tab.thread("two").getAttribute("rel"), "clicked");

    const node = await opener.elementHandle();
    await node.press("Enter");
    failures.push({ status: 500, json: { error: "broken" } });
    for (let requests = 0; requests < 2; requests += 1) await tab.page.waitForRequest("**/threads?*"); // the first one is over then
    await tab.page.keyboard.press("Escape");
    await hasFocus(node, "the focus returns from the menu");

    const many = Array.from({ length: 50 }, (_, index) => `thread ${index}`);
    await renew(...many);
    await tab.thread(/^thread 0/).focus();
    const end = await shown.evaluate((self) => ((self.scrollTop = self.scrollHeight), self.scrollTop));
    await renew(...many.with(-1, "renamed"));
    equal(await shown.evaluate((self) => self.scrollTop), end);
    tab.errors = tab.errors.filter((text) => !text.includes("500"));
  },

  async "running-thread-is-listed"(tab) {
    await tab.open(DEMO);
    await tab.ask("long", "count in the background");
    await tab.thread("count in the background").filter({ hasText: "long · running" }).waitFor();
    await tab.button("New thread").click();
    await tab.log.getByRole("heading", { name: "long" }).waitFor();
    await tab.thread("count in the background").filter({ hasText: "running" }).click();
    await tab.says("Step 2 of 200");
    await tab.button("Stop").click();
    await tab.says("Stopped.");
    await tab.thread("count in the background").filter({ hasNotText: "running" }).waitFor();
  },

  async "second-tab-joins-live"(tab, context) {
    await tab.open(DEMO);
    await tab.ask("long", "count for two");
    await tab.says("Step 2 of 200");
    const other = new Tab(await context.newPage());
    await other.open(tab.page.url());
    await other.says("Step 2 of 200");
    await other.log.getByText(/Step [34]\d? of 200/).first().waitFor();
    await other.button("Stop").click();
    await tab.idle();
    await other.idle();
    const texts = [tab, other].map(({ log }) => log.locator(".assistant .markdown").last().textContent());
    const [one, two] = await Promise.all(texts);
    equal(one, two);
    // A tab that is idle sees what another one starts.
    await other.send("count again");
    await tab.log.locator(".user", { hasText: "count again" }).waitFor();
    await tab.button("Stop").click();
    await other.idle();
    await other.page.close();
    // What another browser or program does, which has no such channel, is seen without the focus.
    await tab.idle();
    const threadId = new URLSearchParams(new URL(tab.page.url()).hash.slice(1)).get("thread");
    const messages = [{ id: "elsewhere", role: "user", content: "hello from elsewhere" }];
    const data = { threadId, runId: "elsewhere", messages, tools: [], context: [], state: {}, forwardedProps: {} };
    const response = await fetch(new URL("../agent/long/run", tab.page.url()), {
      method: "POST",
      body: JSON.stringify(data),
      headers: { "content-type": "application/json" },
    });
    equal(response.status, 200);
    await response.body.cancel();
    await tab.log.locator(".user", { hasText: "hello from elsewhere" }).waitFor();
    await tab.button("Stop").click();
    await tab.idle();
  },

  // A run is sent with all messages, so none can be sent before they are there.
  async "no-message-is-sent-before-the-thread-is-loaded"(tab) {
    await tab.open(DEMO);
    await tab.send("hello, first of two");
    await tab.says("I am a small demo agent");
    await tab.idle();
    let goOn;
    const mayGoOn = new Promise((resolve) => (goOn = resolve));
    await tab.page.route("**/connect", async (route) => (await mayGoOn, await route.continue()));
    await tab.page.reload();
    await tab.page.getByPlaceholder("Loading the thread").fill("thanks, second of two");
    await tab.page.keyboard.press("Enter");
    goOn();
    await tab.says("I am a small demo agent");
    await tab.idle();
    const sent = tab.page.waitForRequest("**/run");
    await tab.page.keyboard.press("Enter");
    equal((await sent).postDataJSON().messages.map(({ role }) => role), ["user", "assistant", "user"]);
    await tab.says("You are welcome.");
  },

  // A snapshot of the messages may come while the user is in one of them.
  async "message-that-moves-keeps-the-focus"(tab) {
    let ids = ["one", "two", "three"];
    let goOn;
    const mayGoOn = new Promise((resolve) => (goOn = resolve));
    await tab.page.route("**/run", async (route) => {
      const isFirst = ids[0] === "one";
      if (!isFirst) await mayGoOn;
      const input = route.request().postDataJSON();
      const answers = ids.map((id) => ({ id, role: "assistant", content: `message ${id}` }));
      const messages = [...input.messages.filter(({ role }) => role === "user"), ...answers];
      const run = { threadId: input.threadId, runId: input.runId };
      const events = [{ type: "RUN_STARTED", ...run }, { type: "MESSAGES_SNAPSHOT", messages }, { type: "RUN_FINISHED", ...run }];
      const body = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
      await route.fulfill({ contentType: "text/event-stream", body });
    });
    await tab.open(DEMO);
    await tab.send("first");
    await tab.says("message three");
    await tab.idle();
    ids = ["three", "two", "one"];
    await tab.send("second");
    const last = tab.log.getByRole("article").filter({ hasText: "message three" });
    const copy = await last.getByRole("button", { name: "Copy this message" }).elementHandle();
    await copy.focus();
    goOn();
    await tab.idle();
    const shown = await tab.log.locator(".markdown, .user").allTextContents();
    equal(shown, ["first", "second", "message three", "message two", "message one"]);
    await hasFocus(copy, "its message has moved");
  },

  async "cut-connection-is-resumed"(tab) {
    await tab.open(DEMO);
    await tab.ask("long", "count on");
    await tab.says("Step 2 of 200");
    const resumed = tab.page.waitForRequest((request) => request.headers()["last-event-id"] !== undefined);
    await tab.button("Cut the connection").click();
    await resumed; // a busy machine may show step 8 before the connection is cut
    await tab.says("Step 8 of 200");
    // Before the end, after which the page connects every few seconds to see whether a run goes on elsewhere, as it does
    // before the run, without a cursor.
    const connects = tab.requests.filter((request) => request.url().endsWith("/connect"));
    const cursors = connects.map((request) => request.headers()["last-event-id"]).filter(Boolean);
    isTrue(cursors.length === 1 && /^\d+\.\d+$/.test(cursors[0]), `one cursor in ${JSON.stringify(cursors)}`);
    await tab.button("Stop").click();
    await tab.says("Stopped.");
    const text = await tab.log.locator(".assistant .markdown").last().textContent();
    const steps = [...text.matchAll(/Step (\d+) of 200 is done\./g)].map(([, number]) => Number(number));
    equal(steps, steps.map((_, index) => index + 1));
    equal(await tab.log.getByRole("alert").count(), 0);
  },

  async "failure-names-the-terminal"(tab) {
    await tab.open(DEMO);
    await tab.ask("fails", "try");
    await tab.page.getByRole("alert").getByText("The terminal in which this server runs says why.").waitFor();
  },

  async "timeline-is-filtered-and-copied"(tab, context) {
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await tab.open(DEMO);
    await tab.button("Settings").click();
    await tab.page.getByLabel("Headers of every request").fill("Authorization: Bearer s3cret\nX-Tenant: acme");
    await tab.button("Done").click();
    await tab.idle();
    await tab.send("Hello! It's me");
    await tab.says("Hello! I am a small demo agent.");
    await tab.idle();
    await tab.page.locator(".event .type", { hasText: "RUN_FINISHED" }).waitFor();
    const types = (await tab.eventTypes()).filter((type) => !/^(GET|POST)/.test(type)).map((type) => type.replace(/ × \d+$/, ""));
    equal(types, ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]);
    await tab.page.getByRole("checkbox", { name: "Join deltas" }).uncheck();
    isTrue((await tab.page.locator(".event.text").count()) > 5, "each delta has a row");
    await tab.page.getByRole("group", { name: "Kinds of events to show" }).getByRole("button", { name: "Text" }).click();
    equal(await tab.page.locator(".event.text").count(), 0);
    await tab.page.getByRole("searchbox").fill("run_fin");
    equal(await tab.eventTypes(), ["RUN_FINISHED"]);
    await tab.page.locator(".event .row").click();
    await tab.page.locator(".event pre", { hasText: '"type": "RUN_FINISHED"' }).waitFor();
    await tab.page.getByRole("searchbox").fill("/agent/default/run");
    await tab.page.locator(".event.http .row").click();
    await tab.button("Copy as curl").click();
    const hidden = await copied(tab, "$AUTHORIZATION");
    isTrue(!hidden.includes("s3cret") && !hidden.includes("acme"), hidden);
    isTrue(hidden.includes("curl -N -X POST 'http") && hidden.includes("It'\\''s me"), hidden);
    await tab.button("Settings").click();
    await tab.page.getByRole("checkbox", { name: "“Copy as curl” contains these headers" }).check();
    await tab.button("Done").click();
    await tab.page.locator(".facts button").click();
    await copied(tab, "-H 'authorization: Bearer s3cret'");
    await tab.button("Copy as curl").evaluate((self) => (self.click(), self.click()));
    await tab.button("Copied").waitFor();
    await tab.button("Copy as curl").waitFor();
  },

  // Deltas come often, and so do requests that fail while the runtime is away.
  async "timeline-keeps-what-is-open"(tab) {
    await tab.open(DEMO);
    await tab.ask("long", "count slowly");
    const text = tab.page.locator(".event.text", { hasText: "TEXT_MESSAGE_CONTENT ×" });
    await text.locator(".row").click();
    const copy = await tab.button("Copy JSON").elementHandle();
    await copy.focus();
    const lines = await text.locator("pre").textContent();
    await tab.page.waitForFunction((before) => document.querySelector(".event.text pre").textContent.length > before, lines.length);
    await hasFocus(copy, "another delta has come");
    await tab.button("Stop").click();
    await tab.says("Stopped.");
    await tab.idle();

    await tab.page.getByRole("checkbox", { name: "Join deltas" }).uncheck();
    await tab.page.locator(".event .row").first().click();
    const row = await tab.page.locator(".event .row").first().elementHandle();
    await tab.page.route("**/threads?*", (route) => route.abort());
    const scroller = tab.page.locator(":has(> #events)");
    await scroller.evaluate((self) => (self.scrollTop = 0));
    await tab.page.evaluate(() => dispatchEvent(new Event("focus")));
    await tab.page.locator(".event.failed", { hasText: "GET threads" }).first().waitFor();
    await hasFocus(row, "a poll has failed");
    equal(await row.getAttribute("aria-expanded"), "true");
    equal(await scroller.evaluate((self) => self.scrollTop), 0);
    tab.errors = tab.errors.filter((text) => !text.includes("ERR_FAILED"));
  },

  async "keyboard-alone"(tab) {
    await tab.open(DEMO);
    const { keyboard } = tab.page;
    await tab.prompt.focus();
    await keyboard.type("hello");
    await keyboard.press("Shift+Enter");
    await keyboard.type("there");
    await keyboard.press("Enter");
    await tab.says("Hello! I am a small demo agent.");
    await tab.idle();
    await tab.thread("hello there").waitFor();
    equal(await tab.log.locator(".user").textContent(), "hello\nthere");
    await tab.page.getByRole("tab", { name: "Events" }).focus();
    await keyboard.press("ArrowRight");
    equal(await tab.page.getByRole("tab", { selected: true }).textContent(), "State");
    await keyboard.press("End");
    await tab.page.getByLabel("forwardedProps").waitFor();
    const opener = tab.page.getByRole("button", { name: "Actions for hello there", exact: true });
    await opener.focus();
    await keyboard.press("Enter");
    await keyboard.press("ArrowDown");
    equal(await tab.page.evaluate(() => document.activeElement.textContent), "Archive");
    await keyboard.press("Escape");
    await hasFocus(opener, "the focus returns from the menu");
  },

  async "tools-context-and-props-are-sent"(tab) {
    await tab.open(DEMO);
    await tab.page.getByRole("tab", { name: "Request" }).click();
    await tab.page.getByRole("checkbox", { name: "show_choices" }).uncheck();
    await tab.page.getByLabel("Further tools").fill('[{"name": "mine", "description": "", "parameters": {}}]');
    await tab.page.getByLabel("Context").fill('[{"description": "page", "value": "7"}]');
    await tab.page.getByLabel("forwardedProps").fill('{"a": 1}');
    await tab.ask("tools", "Let me choose");
    await tab.says("this page does not provide it");
    const body = tab.requests.findLast((request) => request.url().endsWith("/run")).postDataJSON();
    equal(body.tools.map(({ name }) => name), ["set_background", "mine"]);
    equal([body.context, body.forwardedProps], [[{ description: "page", value: "7" }], { a: 1 }]);
  },

  async "accessible-wide"(tab) {
    await tab.open(DEMO);
    await tab.checkAccessibility("welcome");
    for (const [agent, text, end] of [
      ["default", "Show me Markdown", "This is a quotation"],
      ["tools", "Let me choose", "plum"],
      ["activity", "Why?", "Done."],
      ["fails", "try", "The terminal"],
      ["approval", "Delete it", "Approve"],
    ]) {
      await tab.askAndWait(agent, text, end);
      await tab.checkAccessibility(agent, "#chat");
    }
    await tab.page.getByRole("button", { name: /^Actions for/ }).first().click();
    await tab.checkAccessibility("menu", "#sidebar");
    await tab.page.keyboard.press("Escape");
    await tab.page.locator(".event.http .row").last().click();
    for (const panel of ["Events", "State", "Request"]) {
      await tab.page.getByRole("tab", { name: panel }).click();
      await tab.checkAccessibility(panel, "#inspector");
    }
    await tab.button("Settings").click();
    await tab.checkAccessibility("settings", "dialog[open]");
  },

  async "accessible-in-the-dark"(tab) {
    await tab.page.emulateMedia({ colorScheme: "dark" });
    await tab.open(DEMO);
    await tab.askAndWait("default", "Show me Markdown", "This is a quotation");
    await tab.checkAccessibility("default");
    await tab.askAndWait("approval", "Delete it", "Approve");
    await tab.checkAccessibility("approval", "#chat");
    await tab.button("Settings").click();
    await tab.checkAccessibility("settings", "dialog[open]");
  },

  async "accessible-narrow"(tab) {
    await tab.page.setViewportSize(NARROW);
    await tab.open(DEMO);
    await tab.askAndWait("tools", "Let me choose", "plum");
    await tab.checkAccessibility("chat");
    const parts = tab.page.getByRole("navigation", { name: "Parts of the page" });
    for (const part of ["Threads", "Inspector"]) {
      await parts.getByRole("button", { name: part }).click();
      await tab.checkAccessibility(part);
      const fits = await tab.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
      isTrue(fits, `${part} is not wider than the window`);
    }
  },

  async "own-runtime-with-users"(tab) {
    await tab.page.goto(USERS);
    const field = tab.page.getByRole("textbox", { name: "Authorization header" });
    // There is no thread yet to send it to.
    await tab.prompt.fill("too early");
    await tab.page.keyboard.press("Enter");
    equal(await tab.prompt.inputValue(), "too early");
    for (const name of ["Send", "New thread", "Suggest messages"]) isTrue(await tab.button(name).isDisabled(), name);
    await tab.prompt.fill("");
    // The refusal at the start, and those of the two that are nobody.
    const refusal = (number) => tab.page.locator(".event.failed", { hasText: "status 401" }).nth(number).waitFor();
    await refusal(0);
    await field.fill("Bearer nobody");
    await tab.button("Sign in").click();
    await refusal(1);
    // A refusal that comes when another person has signed in changes nothing.
    let refuse;
    const isOver = new Promise((resolve) => (refuse = resolve));
    await tab.page.route("**/info", async (route) => {
      if (route.request().headers().authorization === "Bearer nothing") await isOver;
      await route.continue();
    });
    await field.fill("Bearer nothing");
    await tab.button("Sign in").click();
    await field.fill("Bearer ann");
    await field.press("Enter");
    await tab.log.getByRole("heading", { name: "other" }).waitFor();
    refuse();
    await refusal(2);
    isTrue(await tab.log.getByRole("heading", { name: "other" }).isVisible(), "ann is still signed in");
    await tab.page.unrouteAll();
    await tab.ask("a/b ü", "hello");
    await tab.says("Hello ann, said in a snapshot.");
    await tab.page.reload();
    await tab.says("Hello ann, said in a snapshot.");
    await tab.log.getByText("Message of the system").click();
    await tab.says("Greet everybody.");
    const sent = tab.page.waitForRequest("**/run");
    await tab.send("again");
    equal((await sent).postDataJSON().messages.map(({ role }) => role), ["system", "user", "assistant", "user"]);
    await tab.idle();
    tab.errors = tab.errors.filter((text) => !text.includes("401"));
  },

  async "own-runtime-single-route-without-threads"(tab) {
    await tab.open(SINGLE);
    await tab.send("hello");
    await tab.says("Hello nobody, said in a snapshot.");
    await tab.page.reload();
    await tab.says("Hello nobody, said in a snapshot.");
    await tab.page.getByText("This runtime does not list threads.").waitFor();
    const posts = tab.requests.filter((request) => request.method() === "POST").map((request) => request.postDataJSON().method);
    equal([...new Set(posts)].sort(), ["agent/connect", "agent/run", "info"]);
    tab.errors = tab.errors.filter((text) => !text.includes("40")); // of GET /info, which it tries first
  },

  // Messages and lists of any length, tables of many columns, schemas of odd types, and very many messages.
  async "hostile-agents-do-not-freeze-the-page"(tab) {
    await tab.open(SINGLE);
    await tab.ask("hostile", "go");
    await tab.says("Does it go on?");
    await tab.says("the end of it");
    await tab.says("Many steps");
    equal(await tab.log.getByRole("img", { name: "pixel" }).count(), 1);
    await tab.says("129500 more");
    isTrue((await tab.log.locator("td").count()) < 5000, "a table is not larger than its text");
    equal(await tab.log.locator(".item.error").count(), 0);
    await tab.page.locator(".event .type", { hasText: "RUN_FINISHED" }).waitFor();
    await tab.page.emulateMedia({ reducedMotion: "no-preference" });
    await tab.page.evaluate(() => {
      globalThis.animated = 0;
      document.getElementById("log").addEventListener("animationstart", () => (animated += 1));
    });
    await tab.ask("many", "go");
    await tab.says("message 1000");
    await tab.idle();
    const cost = await tab.page.evaluate(() => {
      const items = [...document.querySelectorAll("#log > .item")];
      const laidOut = items.filter((item) => item.firstElementChild.checkVisibility({ contentVisibilityAuto: true }));
      const log = document.getElementById("log");
      const toEnd = Math.round(log.scrollHeight - log.scrollTop - log.clientHeight);
      return { items: items.length, laidOut: laidOut.length < 300, animated: animated < 20, toEnd };
    });
    equal(cost, { items: 1000, laidOut: true, animated: true, toEnd: 0 });
    tab.errors = tab.errors.filter((text) => !text.includes("40")); // of GET /info, which it tries first
  },

  async "own-runtime-without-agents"(tab) {
    await tab.open(EMPTY);
    await tab.says("This runtime has no agents for this page.");
    // A login in front of the application, which responds in place of the runtime.
    await tab.page.route("**/info", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
    await tab.page.reload();
    await tab.says("It sent text/html where application/json was expected");
    await tab.page.unrouteAll();
    await tab.button("Try again").click();
    await tab.says("This runtime has no agents for this page.");
  },
};

/** Waits until the clipboard contains a text, and returns all of it. */
async function copied(tab, expected) {
  const read = () => navigator.clipboard.readText();
  const deadline = Date.now() + PATIENCE;
  for (let text = await tab.page.evaluate(read); Date.now() < deadline; text = await tab.page.evaluate(read)) {
    if (text.includes(expected)) return text;
  }
  throw new Error(`the clipboard does not contain ${expected}`);
}

async function play(context, page, name) {
  const tab = new Tab(page);
  try {
    await SCENARIOS[name](tab, context);
    return tab.errors.length ? tab.errors.join("\n") : null;
  } catch (error) {
    return [error.stack, ...tab.errors].join("\n");
  }
}

/** Makes a tab as good as new, which costs half of the CPU time of a new one. */
async function restore(page) {
  page.removeAllListeners();
  await page.unrouteAll();
  await page.evaluate(() => sessionStorage.clear());
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: null, reducedMotion: "reduce" });
}

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
});
const names = Object.keys(SCENARIOS).filter((name) => !process.env.SCENARIO || new RegExp(process.env.SCENARIO).test(name));
// The demo's agents mostly sleep, so several scenarios at once take little more time than one.
// Each of these has a browser context and a process to start, so more than two cost CPU time and save little.
const players = Array.from({ length: AT_ONCE }, async () => {
  // Without animations: axe-core finds too little contrast in what is only just fading in.
  const context = await browser.newContext({ viewport: WIDE, reducedMotion: "reduce" });
  let page = await context.newPage();
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const error = await play(context, page, name);
    console.log(JSON.stringify({ name, error }));
    if (error === null) {
      await restore(page);
    } else {
      for (const each of context.pages()) await each.close();
      page = await context.newPage();
    }
  }
});
await Promise.all(players);
await browser.close();
