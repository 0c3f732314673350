// Uses the command line's chat page in a browser: node chat_page.mjs CHROMIUM URL SCENARIO
// Ends with status 0 once the scenario has come to its end.
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../examples/react_frontend/", import.meta.url))("playwright-core");

const [executablePath, url, scenario] = process.argv.slice(2);

const log = (page) => page.getByRole("log");
const row = (page, text) => page.getByRole("navigation").getByRole("link").filter({ hasText: text });

async function chooseAgent(page, agent) {
  await page.getByLabel("Agent", { exact: true }).selectOption(agent);
}

async function send(page, text) {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

const SCENARIOS = {
  async "stopped-after-reload"(page) {
    await chooseAgent(page, "long");
    await send(page, "count for me");
    await log(page).getByText("Step 2 of 200").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await log(page).getByText("Stopped.").waitFor();
    await page.reload();
    await log(page).getByText("Step 2 of 200").waitFor();
    await log(page).getByText("Stopped.").waitFor();
    // One that was not stopped says nothing of the kind.
    await chooseAgent(page, "default");
    await send(page, "hello");
    await log(page).getByText("what I can do").waitFor();
    await page.reload();
    await log(page).getByText("what I can do").waitFor();
    if (await log(page).getByText("Stopped.").count()) throw new Error("this run was not stopped");
  },

  async "running-thread-is-listed"(page) {
    await chooseAgent(page, "long");
    await send(page, "count in the background");
    await row(page, "count in the background").filter({ hasText: "long · running" }).waitFor();
    await page.getByRole("button", { name: "New thread" }).click();
    await log(page).getByText("Write a message").waitFor();
    await row(page, "count in the background").filter({ hasText: "running" }).click();
    await log(page).getByText("Step 2 of 200").waitFor();
    await page.reload();
    await row(page, "count in the background").filter({ hasText: "running" }).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await log(page).getByText("Stopped.").waitFor();
    await row(page, "count in the background").filter({ hasNotText: "running" }).waitFor();
  },

  async "failure-names-the-terminal"(page) {
    await chooseAgent(page, "fails");
    await send(page, "try");
    await page.getByRole("alert").getByText("The terminal in which this server runs says why.").waitFor();
  },

  async "own-runtime-with-users"(page) {
    const field = page.getByRole("textbox", { name: "Authorization header" });
    await field.fill("Bearer nobody");
    await page.getByRole("button", { name: "Sign in" }).click();
    await log(page).getByText("identifies users").waitFor();
    await field.fill("Bearer ann");
    await field.press("Enter");
    await log(page).getByText("Write a message").waitFor();
    await chooseAgent(page, "a/b ü");
    await send(page, "hello");
    await log(page).getByText("Hello ann, said in a snapshot.").waitFor();
    await page.reload();
    await log(page).getByText("Hello ann, said in a snapshot.").waitFor();
  },

  async "own-runtime-without-threads"(page) {
    await send(page, "hello");
    await log(page).getByText("Hello nobody, said in a snapshot.").waitFor();
    await page.reload();
    await log(page).getByText("Hello nobody, said in a snapshot.").waitFor();
  },

  async "own-runtime-without-agents"(page) {
    await log(page).getByText("This runtime has no agents for this page.").waitFor();
  },
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(120_000);
  page.on("console", (said) => said.type() === "error" && console.error(said.text()));
  page.on("pageerror", (error) => console.error(error));
  await page.goto(url);
  await SCENARIOS[scenario](page);
} finally {
  await browser.close();
}
