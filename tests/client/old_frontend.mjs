// An old frontend on a page of another origin:
//
//     node old_frontend.mjs RUNTIME_URL ORIGIN MESSAGE ['{"header": "value"}']
//
// CopilotKit 1.57 POSTs envelopes to the runtime's URL itself, which a browser does only after a preflight of that very
// URL. Node has no CORS, so `fetch` does here what a browser does. Prints the agent's answer.

import { randomUUID } from "node:crypto";

const [runtimeUrl, origin, message, headers = "{}"] = process.argv.slice(2);

const realFetch = globalThis.fetch;
const SIMPLE_HEADERS = new Set(["accept", "accept-language", "content-language"]);
const SIMPLE_TYPES = /^(application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)(;|$)/;

/** Throws unless the page may read the response. */
function allowed(response, what) {
  const allow = response.headers.get("access-control-allow-origin");
  if (allow !== "*" && allow !== origin) {
    throw new TypeError(`CORS: ${what}: status ${response.status}, Access-Control-Allow-Origin is ${allow}`);
  }
  return response;
}

/** The names of the headers for which a preflight is needed. */
const unusual = (names, type) =>
  names.filter((name) => !SIMPLE_HEADERS.has(name) && !(name === "content-type" && SIMPLE_TYPES.test(type)));

globalThis.fetch = async (url, init = {}) => {
  const method = init.method ?? "GET";
  const given = new Headers(init.headers);
  const names = unusual([...given.keys()], given.get("content-type") ?? "");
  if (names.length > 0 || !["GET", "HEAD", "POST"].includes(method)) {
    const preflight = await realFetch(url, {
      method: "OPTIONS",
      // A browser does not follow redirects of preflights.
      redirect: "manual",
      headers: {
        origin,
        "access-control-request-method": method,
        "access-control-request-headers": names.join(","),
        "sec-fetch-site": "cross-site",
      },
    });
    allowed(preflight, `preflight of ${url}`);
    if (!preflight.ok) throw new TypeError(`CORS: preflight of ${url}: status ${preflight.status}`);
    const words = (preflight.headers.get("access-control-allow-headers") ?? "").toLowerCase().split(/\s*,\s*/);
    // The wildcard does not cover Authorization (WHATWG Fetch, section 4.9).
    const missing = names.filter((name) => !words.includes(name) && (name === "authorization" || !words.includes("*")));
    if (missing.length > 0) throw new TypeError(`CORS: preflight of ${url} does not allow ${missing}`);
  }
  given.set("origin", origin);
  given.set("sec-fetch-site", "cross-site");
  return allowed(await realFetch(url, { ...init, headers: given }), `${method} ${url}`);
};

globalThis.window ??= {};
const { CopilotKitCore, CopilotKitCoreRuntimeConnectionStatus: Status } = await import("copilotkit-core-1.57");

const core = new CopilotKitCore({ runtimeUrl, runtimeTransport: "single", headers: JSON.parse(headers) });
const fail = (error) => {
  console.error(error);
  process.exit(1);
};
core.subscribe({ onError: ({ error }) => fail(error) });
await new Promise((resolve) => {
  const done = () => core.runtimeConnectionStatus === Status.Connected && resolve();
  core.subscribe({ onRuntimeConnectionStatusChanged: done });
  done();
});
const agent = core.getAgent("default");
agent.addMessage({ id: randomUUID(), role: "user", content: message });
await core.runAgent({ agent });
process.stdout.write(`${agent.messages.at(-1).content}\n`, () => process.exit(0));
