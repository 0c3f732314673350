// Plays the scenarios against a runtime that serves the configuration `client`:
//
//     node run.mjs http://127.0.0.1:8000/api/copilotkit [scenario/transport ...]
//
// One line of JSON on standard output for each, {"name": "stop/rest", "error": null or text}; exit status 1 if any
// failed. What the clients themselves have to say goes to standard error.

import { Console } from "node:console";
import { stderr, stdout } from "node:process";
import { inspect } from "node:util";

globalThis.console = new Console(stderr, stderr);

const { SCENARIOS } = await import("./scenarios.mjs");
const { RELEASE } = await import("./core.mjs");
const { Stage } = await import("./stage.mjs");
const { CUT } = await import("./wire.mjs");

// No scenario takes more than a second or two; this only ends one that hangs.
const LIMIT_SECONDS = 20;

const [runtimeUrl, ...wanted] = process.argv.slice(2);
if (!runtimeUrl) {
  console.error("usage: node run.mjs BASE_URL [scenario/transport ...]");
  process.exit(2);
}

// Releases compare as text: all are 1.57 or newer.
const all = Object.entries(SCENARIOS)
  .filter(([, { since }]) => since <= RELEASE)
  .flatMap(([name, { transports, play }]) =>
    transports.map((transport) => ({ name: `${name}/${transport}`, transport, play })),
  );
const unknown = wanted.filter((name) => !all.some((scenario) => scenario.name === name));
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(", ")}; there are: ${all.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

let failed = 0;
for (const { name, transport, play } of all) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const error = await outcome(transport, play);
  if (error !== null) failed += 1;
  stdout.write(`${JSON.stringify({ name, error })}\n`);
}
// Not by itself: what a failed scenario has left open would keep the process.
stdout.write("", () => process.exit(failed > 0 ? 1 : 0));

/** Null where all went well, else what did not. */
async function outcome(transport, play) {
  const stage = new Stage(runtimeUrl, transport);
  let fail;
  const trouble = new Promise((_resolve, reject) => (fail = reject));
  const timer = setTimeout(
    () => fail(new Error(`not over after ${LIMIT_SECONDS} s; still open: ${inspect(stage.wire.open)}`)),
    LIMIT_SECONDS * 1000,
  );
  // Of a stream that broke, AG-UI's reader tells twice: to the client, and to nobody.
  const stray = (error) => error !== CUT && fail(error);
  process.on("unhandledRejection", stray);
  try {
    await Promise.race([trouble, play(stage).then(() => stage.verify())]);
    return null;
  } catch (error) {
    // An answer that the client could not read is likely to be behind whatever else went wrong.
    return [inspect(error), ...(await stage.wire.faults())].join("\n");
  } finally {
    clearTimeout(timer);
    process.off("unhandledRejection", stray);
    stage.close();
  }
}
