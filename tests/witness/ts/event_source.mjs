// A client of HTTP+SSE made by hand around an EventSource, as browsers have it: that one opens a
// broken stream again by itself, with the id of the last event. (The SDKs' transport, which has one
// inside, drops that id.) Its scenario is `hold` alone.

import { createInterface } from "node:readline";

import { requireFrom } from "./installed.mjs";

const { EventSource } = requireFrom("ts_v1")("eventsource");

const [scenario, url] = process.argv.slice(2);
if (scenario !== "hold" || !url) {
  console.error("usage: node event_source.mjs hold URL");
  process.exit(2);
}

const waiting = new Map();
const source = new EventSource(url);
let endpoint = new Promise((resolve) => {
  source.addEventListener("endpoint", (event) => {
    const found = new URL(event.data, url);
    resolve(found);
    endpoint = Promise.resolve(found);
  });
});
source.addEventListener("message", (event) => {
  const message = JSON.parse(event.data);
  waiting.get(message.id)?.(message);
  waiting.delete(message.id);
});

async function post(message) {
  const response = await fetch(await endpoint, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", ...message }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
}

let next = 1;

async function ask(method, params) {
  const id = next++;
  const answer = new Promise((resolve) => waiting.set(id, resolve));
  await post({ id, method, params });
  // An answer that was under way when the gateway died does not come.
  const late = new Promise((resolve) => setTimeout(resolve, 3_000, { error: { message: "late" } }));
  const { result, error } = await Promise.race([answer, late]);
  if (error) throw new Error(error.message);
  return result;
}

const print = (value) => console.log(JSON.stringify(value));

await ask("initialize", {
  protocolVersion: "2025-06-18",
  capabilities: {},
  clientInfo: { name: "witness-event-source", version: "1" },
});
await post({ method: "notifications/initialized" });
print({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { tool, arguments: given } = JSON.parse(line);
  try {
    const { content } = await ask("tools/call", { name: tool, arguments: given ?? {} });
    print({ text: content.map((part) => part.text ?? "").join("\n") });
  } catch (error) {
    print({ error: String(error.message ?? error) });
  }
}
source.close();
