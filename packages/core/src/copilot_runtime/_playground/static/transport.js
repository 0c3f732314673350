// HTTP: the runtime's operations by REST paths or by the single-route envelope, as a CopilotKit frontend sends them.

// What a request needs, by path and in an envelope.
const OPERATIONS = {
  info: () => ({ method: "GET", path: "info", envelope: { method: "info" } }),
  run: ({ agentId, body }) => agentOperation("run", agentId, body),
  connect: ({ agentId, body }) => agentOperation("connect", agentId, body),
  suggest: ({ agentId, body }) => agentOperation("suggest", agentId, body),
  stop: ({ agentId, threadId, body }) => ({
    method: "POST",
    path: `agent/${encodeURIComponent(agentId)}/stop/${encodeURIComponent(threadId)}`,
    body,
    envelope: { method: "agent/stop", params: { agentId, threadId }, body },
  }),
  transcribe: ({ body }) => ({ method: "POST", path: "transcribe", body, envelope: { method: "transcribe", body } }),
  threads: ({ method = "GET", path, body }) => ({
    method,
    path: path.slice(1),
    body,
    envelope: { method: "resource/request", params: { path, httpMethod: method }, body },
  }),
};

function agentOperation(name, agentId, body) {
  return {
    method: "POST",
    path: `agent/${encodeURIComponent(agentId)}/${name}`,
    body,
    envelope: { method: `agent/${name}`, params: { agentId }, body },
    accept: "text/event-stream",
  };
}

export class ResponseError extends Error {
  constructor(status, message) {
    super(`The runtime responded with status ${status}: ${message}`);
    this.status = status;
  }
}

// A mounted runtime. `headers` are what the person has entered, such as credentials; `onRequest` is called with every
// request, and again when its response has begun.
export class Runtime {
  headers = {};
  onRequest = () => {};
  isSingleRoute = false;

  constructor(mount) {
    this.mount = mount.replace(/\/+$/, "");
  }

  // Returns what the runtime says of itself, by whichever transport it has.
  async info() {
    this.isSingleRoute = false;
    try {
      return await this.json("info");
    } catch (error) {
      if (!(error instanceof ResponseError) || ![400, 404, 405, 415].includes(error.status)) throw error;
    }
    this.isSingleRoute = true;
    return this.json("info");
  }

  async json(name, members, options) {
    const response = await this.send(name, members, options);
    const text = await response.text();
    return text === "" ? null : JSON.parse(text);
  }

  // `isPoll`: the page asks by itself, again and again.
  async send(name, members = {}, { signal, headers = {}, isPoll = false } = {}) {
    const request = this.prepare(name, members, headers);
    const record = { ...request, isPoll, at: performance.now(), status: null, milliseconds: null };
    this.onRequest(record);
    try {
      const { method, url, body } = request;
      const response = await fetch(url, { method, headers: { ...request.headers, ...request.credentials }, body, signal });
      record.status = response.status;
      if (!response.ok) throw new ResponseError(response.status, await errorMessage(response));
      checkContentType(response, request.headers.accept ?? "application/json");
      response.record = record;
      return response;
    } catch (error) {
      record.failure = error.name === "AbortError" ? "aborted" : error.message;
      throw error;
    } finally {
      record.milliseconds = performance.now() - record.at;
      this.onRequest(record);
    }
  }

  // Returns the parts of a request, with the headers that may be secret apart from the others.
  prepare(name, members, extraHeaders = {}) {
    const { method, path, body, envelope, accept } = OPERATIONS[name](members);
    const sent = this.isSingleRoute ? envelope : body;
    const headers = { ...extraHeaders };
    if (accept) headers.accept = accept;
    if (sent !== undefined) headers["content-type"] = "application/json";
    return {
      name,
      method: this.isSingleRoute ? "POST" : method,
      url: this.isSingleRoute ? this.mount : `${this.mount}/${path}`,
      headers,
      credentials: { ...this.headers },
      body: sent === undefined ? undefined : JSON.stringify(sent),
    };
  }
}

// A login in front of the application, for example, redirects to a page of its own, with status 200.
function checkContentType(response, expected) {
  const actual = response.headers.get("content-type") ?? "nothing";
  if (response.status === 204 || actual.startsWith(expected)) return;
  const where = response.redirected ? ` after a redirect to ${response.url}` : "";
  throw new ResponseError(
    response.status,
    `It sent ${actual}${where} where ${expected} was expected, so something in front of the runtime has responded. ` +
      "If that is a login, sign in to it in this browser and try again.",
  );
}

async function errorMessage(response) {
  const body = await response.json().catch(() => null);
  return body?.message ?? body?.details ?? body?.error ?? response.statusText;
}

// Returns a request as a command for a shell. What the person has entered stays out of it, unless it is wanted.
export function toCurl({ method, url, headers, credentials, body }, withCredentials) {
  const parts = [`curl -N -X ${method} ${quote(url)}`];
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  for (const [name, value] of Object.entries(credentials)) {
    const variable = name.toUpperCase().replace(/[^A-Z0-9]/g, "_");
    parts.push(`-H ${withCredentials ? quote(`${name}: ${value}`) : `"${name}: $${variable}"`}`);
  }
  if (body !== undefined) parts.push(`--data-raw ${quote(body)}`);
  return parts.join(" \\\n  ");
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const encoder = new TextEncoder();

// Yields the frames of a text/event-stream (HTML standard, section 9.2.6): { id, data, bytes }.
export async function* readFrames(body) {
  let id = null;
  let data = [];
  for await (const line of readLines(body)) {
    if (line === "") {
      if (data.length) {
        const text = data.join("\n");
        yield { id, data: text, bytes: encoder.encode(text).length };
      }
      data = [];
      id = null;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data.push(value);
    if (field === "id") id = value;
  }
}

async function* readLines(body) {
  let pieces = []; // of the line that has not ended
  for await (const text of readChunks(body.pipeThrough(new TextDecoderStream()))) {
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      pieces.push(text.slice(start, end));
      const line = pieces.join("");
      pieces = [];
      start = end + 1;
      yield line.endsWith("\r") ? line.slice(0, -1) : line;
    }
    pieces.push(text.slice(start));
  }
}

// Not every browser can iterate over a stream yet.
async function* readChunks(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}
