// Uses the built example in a browser: node react_frontend.mjs CHROMIUM URL MESSAGE ANSWER
// Ends with status 0 once a message with the answer's text is on the page, and is there again after a reload.
import { createRequire } from "node:module";

import { openChat } from "../chat_page.mjs";

const example = new URL("../../examples/react_frontend/", import.meta.url);
const { chromium } = createRequire(example)("playwright-core");

const [executablePath, url, message, answer] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage();
  page.on("console", (said) => said.type() === "error" && console.error(said.text()));
  page.on("pageerror", (error) => console.error(error));
  await openChat(page, url);
  const input = page.getByRole("textbox");
  await input.fill(message);
  await input.press("Enter");
  await page.getByText(answer).waitFor();
  await page.reload();
  await page.getByText(answer).waitFor();
} finally {
  await browser.close();
}
