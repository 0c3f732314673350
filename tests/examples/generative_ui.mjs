// Uses the built example in a browser: node generative_ui.mjs CHROMIUM URL BACKEND [SCREENSHOT]
// Ends with status 0 once a surface was drawn while it was written, in a second tab too, and its button has been
// answered with another one, each of them also after a reload.
import { createRequire } from "node:module";

import { openChat } from "../chat_page.mjs";

const { chromium } = createRequire(new URL("../../examples/react_frontend/", import.meta.url))("playwright-core");

const [executablePath, url, backend, screenshot] = process.argv.slice(2);
const [FIRST, LAST] = ["Berlin 12:15", "Berlin 18:05"];

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
  const page = await context.newPage();
  page.on("console", (said) => said.type() === "error" && console.error(said.text()));
  page.on("pageerror", (error) => console.error(error));
  await openChat(page, url);
  const input = page.getByRole("textbox");
  await input.fill("Which flights are there?");
  await input.press("Enter");
  await page.getByText(FIRST).waitFor();
  if (await page.getByText(LAST).count()) throw new Error("the surface was not drawn before it was whole");
  const other = await context.newPage(); // joins the run, since both have the same thread
  await other.goto(url);
  await other.getByText(FIRST).waitFor();
  await fetch(`${backend}/seen`);
  await page.getByText(LAST).waitFor();
  await other.getByText(LAST).waitFor();
  await page.reload();
  await page.getByText(LAST).waitFor();
  await page.getByRole("button", { name: "Book" }).nth(1).click();
  await page.getByText(`Booked: ${FIRST}`).waitFor();
  await page.reload();
  await page.getByText(`Booked: ${FIRST}`).waitFor();
  await page.getByText(LAST).waitFor();
  if (screenshot) await page.screenshot({ path: screenshot });
} finally {
  await browser.close();
}
