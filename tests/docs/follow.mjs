// Chats with what a quickstart has built: node follow.mjs CHROMIUM URL
// Logs in where Django asks for that, and ends with status 0 once an answer is on the page, and there again after a reload.
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../examples/react_frontend/", import.meta.url))("playwright-core");
const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage();
  page.on("console", (said) => said.type() === "error" && console.log("  console:", said.text()));
  page.on("pageerror", (error) => console.log("  error:", error.message));
  await page.goto(url);
  const password = page.locator("input[type=password]");
  if (await password.count()) {
    await page.locator("input[name=username]").fill("ada");
    await password.fill("lovelace");
    await password.press("Enter");
  }
  const input = page.getByRole("textbox", { name: /./ }).or(page.locator("textarea")).first();
  await input.fill("good morning");
  await input.press("Enter");
  await page.getByText("you wrote: good morning").waitFor();
  await page.reload();
  await page.getByText("you wrote: good morning").waitFor();
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
} finally {
  await browser.close();
}
