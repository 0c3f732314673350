// Uses the built example in a browser: node generative_ui_apps.mjs CHROMIUM URL [FOLDER]
// Ends with status 0 once an app was drawn and has called its tool, and a page was shown and works, each of them also
// after a reload. Screenshots go into the folder.
import { createRequire } from "node:module";

import { openChat } from "../chat_page.mjs";

const { chromium } = createRequire(new URL("../../examples/react_frontend/", import.meta.url))("playwright-core");

const [executablePath, url, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage({ viewport: { width: 900, height: 640 } });
  page.on("console", (said) => said.type() === "error" && console.error(said.text()));
  page.on("pageerror", (error) => console.error(error));
  const app = page.frameLocator('iframe[data-testid="mcp-app-iframe"]').frameLocator("iframe");
  const sandbox = page.frameLocator('iframe:not([data-testid="mcp-app-iframe"])');

  const ask = async (text) => {
    await page.getByRole("textbox").fill(text);
    await page.getByRole("textbox").press("Enter");
  };
  // By key, not by mouse: the chat scrolls while its answer arrives, and a click would go where the frame was before.
  const push = (button) => button.press("Enter");
  const useApp = async () => {
    await app.getByText("12:00 UTC").waitFor();
    await push(app.getByRole("button"));
    await app.getByText("alarm at 07:30").waitFor();
  };
  const usePage = async () => {
    await sandbox.getByText("A page of its own.").waitFor();
    await push(sandbox.locator("button:enabled", { hasText: "0" }));
    await sandbox.getByRole("button", { name: "1" }).waitFor();
  };

  await openChat(page, url);
  await ask("Show me a clock");
  await useApp();
  if (folder) await page.screenshot({ path: `${folder}/mcp-app.png` });
  await ask("Now a page");
  await page.getByText("There it is.").waitFor();
  await usePage();
  if (folder) await page.screenshot({ path: `${folder}/sandboxed-page.png` });
  await page.reload();
  await useApp();
  await usePage();
} finally {
  await browser.close();
}
