// Reads events, one in each line of JSON, and says for each which generations of the client reject it.

import { createInterface } from "node:readline";

import { EventSchemas } from "@ag-ui/core";
import { enforceEvents } from "ag-ui-client-1";
import { of } from "rxjs";

console.warn = () => {}; // 1.0.0 warns of everything that it leaves out

/** What 1.0.0 does with an event between its transport and its verifier; null if it goes on. */
function enforced(event) {
  let problem = null;
  enforceEvents()(of(event)).subscribe({ error: (error) => (problem = error.message) });
  return problem;
}

for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  const parsed = EventSchemas.safeParse(event);
  const verdict = { "0.0.59": parsed.success ? null : parsed.error.message, "1.0.0": enforced(event) };
  console.log(JSON.stringify(verdict));
}
