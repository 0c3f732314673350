// Holds streams of events to the verifiers of both AG-UI generations. Each line of standard input is a stream, a JSON
// list; each line of standard output says of one, in JSON, what a client would stumble over, or null.

import { createInterface } from "node:readline";

import { verifyEvents } from "../client/wire.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const verdict = await verifyEvents(JSON.parse(line)).then(() => null, (error) => error.message);
  process.stdout.write(`${JSON.stringify(verdict)}\n`);
}
