// Uses what `copilot-runtime init` wrote in a browser: node init.mjs CHROMIUM URL
// Ends with status 0 once a user has signed in, chatted, found the chat again after a reload, and signed out.
import { createRequire } from "node:module";

import { threadLoaded } from "../chat_page.mjs";

const example = new URL("../../examples/react_frontend/", import.meta.url);
const { chromium } = createRequire(example)("playwright-core");

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage();
  page.on("console", (said) => said.type() === "error" && console.error(said.text()));
  page.on("pageerror", (error) => console.error(error));
  await page.goto(url);
  await page.waitForURL("**/login");
  await page.getByLabel("Name").fill("ada");
  await page.getByLabel("Password").fill("lovelace");
  const loaded = threadLoaded(page);
  await page.getByRole("button", { name: "Sign in" }).click();
  await loaded;

  const input = page.getByRole("textbox");
  await input.fill("good morning");
  await input.press("Enter");
  const answer = page.getByText("Hello ada! You wrote: good morning");
  await answer.waitFor();
  await page.reload();
  await answer.waitFor();

  await page.getByRole("button", { name: "New chat" }).click();
  await answer.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/login");
} finally {
  await browser.close();
}
