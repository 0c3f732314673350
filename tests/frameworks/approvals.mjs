// Plays the approvals in a browser: node approvals.mjs EXAMPLE CHROMIUM URL AGENT...
// One line of JSON on standard output for each flow and agent, {"name": "approve/builtin", "error": null or text}.
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";

import { openChat } from "../chat_page.mjs";

const [example, executablePath, url, ...agents] = process.argv.slice(2);
const { chromium } = createRequire(`${example}/`)("playwright-core");

const PATIENCE = 30_000;
const PAY = 'call pay {"amount": 5}';
const PAY_TWICE = `${PAY} and pay {"amount": 6}`;
const CONFIRM = 'call confirm {"question": "Sure?"}';
const REFUSED = { builtin: "refused", "pydantic-ai": "The tool call was denied.", langgraph: 'refused: {"approved": false}' };

/** The chat on a thread of its own. */
class Chat {
  errors = [];

  constructor(page, agent, thread) {
    Object.assign(this, { page, agent, thread });
    // What the chat before it says until it is gone does not count.
    page.once("framenavigated", () => {
      page.on("pageerror", (error) => this.errors.push(String(error)));
      page.on("console", (said) => said.type() === "error" && this.errors.push(said.text()));
    });
  }

  /** Opens the page, or reloads it, and waits until the client has what there is of the thread. */
  async open() {
    await openChat(this.page, `${url}?agent=${this.agent}&thread=${this.thread}`);
  }

  async say(text) {
    const input = this.page.getByRole("textbox");
    await input.fill(text);
    await input.press("Enter");
  }

  press(label, nth = 0) {
    return this.page.getByRole("button", { name: label, exact: true }).nth(nth).click();
  }

  /** Waits for one of these answers of the agent, and for the end of its run. */
  async hears(...texts) {
    const isAnswer = ({ role }) => role === "assistant";
    const said = ({ isRunning, messages }) => !isRunning && texts.includes(messages.findLast(isAnswer)?.content);
    return this.#until(said, `the answer ${texts}`);
  }

  /** Waits until the client has exactly these results of tools. */
  async shows(...results) {
    const expected = String(results.sort());
    const shown = (state) => !state.isRunning && String(resultsOf(state).sort()) === expected;
    return this.#until(shown, `the results ${results}`);
  }

  async #until(holds, what) {
    let state;
    for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
      const before = await this.page.locator("#messages").textContent();
      state = JSON.parse(before);
      if (holds(state)) return state;
      await this.page
        .waitForFunction((text) => document.getElementById("messages")?.textContent !== text, before, {
          timeout: Math.max(1, end - Date.now()),
        })
        .catch(() => {});
    }
    throw new Error(`waited for ${what}, and saw ${JSON.stringify(state)}`);
  }
}

const resultsOf = ({ messages }) => messages.filter(({ role }) => role === "tool").map(({ content }) => content);

const FLOWS = {
  /** The tool runs once, and every later run, and a reload, has its result, and not the answer. */
  async approve(chat) {
    await chat.say(PAY);
    await chat.press("Approve");
    await chat.hears("the tool said: paid 5");
    await chat.shows("paid 5");
    await chat.say("results");
    await chat.hears("the tool said: paid 5");
    await chat.open();
    await chat.shows("paid 5");
    await chat.say("say it again");
    await chat.hears("it again ");
  },

  async deny(chat) {
    await chat.say(PAY);
    await chat.press("Deny");
    await chat.hears(`the tool said: ${REFUSED[chat.agent]}`);
    await chat.shows(REFUSED[chat.agent]);
  },

  async change(chat) {
    await chat.say(PAY);
    await chat.press("Change");
    await chat.hears("the tool said: paid 3");
    await chat.shows("paid 3");
  },

  async several(chat) {
    await chat.say(PAY_TWICE);
    await chat.press("Approve", 0);
    await chat.press("Deny", 1);
    await chat.hears(`the tool said: ${REFUSED[chat.agent]}`);
    await chat.shows("paid 5", REFUSED[chat.agent]);
  },

  /** The question is asked again after a reload, and answered then. */
  async reload(chat) {
    await chat.say(PAY);
    await chat.page.getByRole("button", { name: "Approve" }).waitFor();
    await chat.open();
    await chat.press("Approve");
    await chat.hears("the tool said: paid 5");
    await chat.shows("paid 5");
    await chat.open();
    await chat.shows("paid 5");
  },

  /** Both kinds in one answer of the model, the approval first. */
  async together(chat) {
    await chat.say(`${CONFIRM} and pay {"amount": 5}`);
    await chat.press("Approve");
    await chat.shows("paid 5");
    await chat.press("Yes");
    await chat.shows("yes", "paid 5");
    await chat.say("results");
    await chat.hears("the tool said: yes, paid 5", "the tool said: paid 5, yes");
  },

  /** The other way round: the client reports that it cannot run yet, and sends the result with the approval. */
  async "approval-last"(chat) {
    await chat.say(`${CONFIRM} and pay {"amount": 5}`);
    const reported = chat.page.waitForEvent("console", (said) => said.text().includes("not addressed by resume"));
    await chat.press("Yes");
    await reported;
    await chat.press("Approve");
    await chat.shows("yes", "paid 5");
    chat.errors = chat.errors.filter((text) => !text.includes("not addressed by resume"));
    await chat.say("results");
    await chat.hears("the tool said: yes, paid 5", "the tool said: paid 5, yes");
  },

  /** A tool of the frontend, whose answer is its result: `useHumanInTheLoop`. */
  async confirm(chat) {
    await chat.say(CONFIRM);
    await chat.press("Yes");
    await chat.hears("the tool said: yes");
    await chat.shows("yes");
    await chat.say(PAY);
    await chat.press("Approve");
    await chat.hears("the tool said: paid 5");
    await chat.shows("yes", "paid 5");
  },

  /** A run that fails after the tool has run does not end the conversation. */
  async failure(chat) {
    await chat.say('call pay {"amount": 13}');
    const failed = chat.page.waitForEvent("console", (said) => said.text().includes("agent_run_error_event"));
    await chat.press("Approve");
    await failed;
    chat.errors = [];
    await chat.say("say it again");
    await chat.hears("it again ");
  },
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  await Promise.all(agents.map(playAll));
} finally {
  await browser.close();
}

/** Plays all flows with an agent, in one tab: a new one would load and compile the page again, which takes seconds. */
async function playAll(agent) {
  let page = await newPage();
  for (const [flow, play] of Object.entries(FLOWS)) {
    const error = await outcome(page, agent, play);
    console.log(JSON.stringify({ name: `${flow}/${agent}`, error }));
    if (error === null) {
      page.removeAllListeners();
      await page.evaluate(() => (localStorage.clear(), sessionStorage.clear()));
    } else {
      await page.close();
      page = await newPage();
    }
  }
}

async function newPage() {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  return page;
}

/** Null where all went well, else what did not. */
async function outcome(page, agent, play) {
  const chat = new Chat(page, agent, randomUUID());
  try {
    await chat.open();
    await play(chat);
    return chat.errors.length > 0 ? chat.errors.join("\n") : null;
  } catch (error) {
    return [error, ...chat.errors].join("\n");
  }
}
