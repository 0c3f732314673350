// Bundles a project of the documentation's components, and uses each in a browser:
// node draw_components.mjs CHROMIUM FOLDER PORT MESSAGE ANSWER < '[[place, file, [components]], ...]'
// PORT is that of a runtime, which is 127.0.0.1:8000 to the pages, as the documentation has it. A page with a chat has
// to show ANSWER to MESSAGE. Prints what went wrong, a line each.
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { openChat } from "../chat_page.mjs";

const [executablePath, folder, port, message, answer] = process.argv.slice(2);
const require = createRequire(new URL("../../examples/react_frontend/", import.meta.url));
const { build, loadConfigFromFile, preview } = await import(pathToFileURL(require.resolve("vite")));
const { chromium } = require("playwright-core");

let text = "";
for await (const chunk of process.stdin) text += chunk;
const modules = JSON.parse(text);
const isComponent = (file) => /x$/.test(file);

for (const [place, file] of modules.filter(([, file]) => !isComponent(file))) {
  const loaded = await loadConfigFromFile({ command: "build", mode: "production" }, join(folder, file), folder, "silent");
  if (!loaded?.config.server?.proxy) console.log(`${place}: no configuration of a proxy`);
}

// What is no page is drawn beside a chat, with functions in place of what its reader would pass on.
const entry = `
import { CopilotChat, CopilotKit } from "@copilotkit/react-core/v2";
import "@copilotkit/react-core/v2/styles.css";
import { createElement } from "react";
import { createRoot } from "react-dom/client";

const modules = { ${modules.filter(([, file]) => isComponent(file)).map(([, file]) => `"${file}": () => import("./${file}")`)} };
const { default: Page, ...rest } = await modules[location.search.slice(1)]();
const parts = Object.values(rest).map((part, key) => createElement(part, { key, setTheme() {} }));
if (Page) createRoot(document.getElementById("root")).render(createElement(Page));
else if (parts.length) {
  const children = [createElement(CopilotChat, { key: "chat" }), ...parts];
  createRoot(document.getElementById("root")).render(createElement(CopilotKit, { runtimeUrl: "/api/copilotkit" }, children));
}
`;
await writeFile(join(folder, "all.jsx"), entry);
await writeFile(join(folder, "all.html"), '<div id="root"></div><script type="module" src="/all.jsx"></script>');
await build({
  root: folder,
  configFile: fileURLToPath(new URL("../light_build.mjs", import.meta.url)),
  configLoader: "native",
  logLevel: "error",
  build: { minify: false, target: "esnext", rollupOptions: { input: ["all.html", "index.html"].map((name) => join(folder, name)) } },
});

// What is not built is the runtime's.
const server = await preview({
  root: folder,
  configFile: false,
  logLevel: "error",
  appType: "mpa",
  preview: { host: "127.0.0.1", port: 0, proxy: { "/api": `http://127.0.0.1:${port}` } },
});

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-dev-shm-usage", `--host-resolver-rules=MAP 127.0.0.1:8000 127.0.0.1:${server.httpServer.address().port}`],
});
// One tab for all, which has loaded and compiled their modules.
const page = await browser.newPage();
let errors;
page.on("pageerror", (error) => errors.push(error));

async function draw(place, path, loadsThread) {
  errors = [];
  const address = `http://127.0.0.1:8000/${path}`;
  try {
    await (loadsThread ? openChat(page, address) : page.goto(address));
    const input = page.getByRole("textbox");
    await input.fill(message);
    await input.press("Enter");
    await page.getByText(answer).waitFor();
  } catch (error) {
    errors.push(error);
  }
  for (const error of errors) console.log(`${place}: ${error.message}`);
  await page.evaluate(() => (localStorage.clear(), sessionStorage.clear()));
}

try {
  await draw("index.html", "index.html", true);
  for (const [place, file] of modules.filter(([, file]) => isComponent(file))) {
    await draw(place, `all.html?${file}`, (await readFile(join(folder, file), "utf-8")).includes("threadId={"));
  }
} finally {
  await browser.close();
  await server.close();
}
