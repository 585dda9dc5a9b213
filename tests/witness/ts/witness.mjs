// The scenarios, the same for every SDK. An SDK is a function `open(url, options)` that resolves
// to a session: see v1.mjs and v2.mjs.

import { createInterface } from "node:readline";

const USAGE = "usage: node v1.mjs|v2.mjs|remote.mjs list|state|schema|parallel|load|hold|delete|whole|use URL ['{\"option\": …}']";

const DEFAULTS = {
  tool: "count",
  whoami: "whoami",
  arguments: {},
  times: 3,
  sessions: 10,
  calls: 3,
  batch: 100,
  lastsMs: 10_000,
  keep: false,
  headers: {},
  transport: "http",
  era: "legacy",
  listen: false,
  timeoutMs: 30_000,
  // Of `whole`: names of tools, of which one that is null is left out.
  count: "count",
  progress: null,
  elicit: null,
  echo: null,
  size: 5_000_000,
  many: 50,
};

/** The whole program: one scenario, one JSON value on stdout, or a message and exit code 1. */
export async function main(open) {
  const [name, url, json = "{}"] = process.argv.slice(2);
  const scenario = { list, state, schema, parallel, load, hold, delete: remove, whole, use }[name];
  if (!scenario || !url) {
    console.error(USAGE);
    process.exit(2);
  }
  try {
    const options = { ...DEFAULTS, ...JSON.parse(json) };
    const result = await scenario((more = {}) => open(url, { ...options, ...more }), options);
    if (result) await print(result);
    process.exit(result?.failed ? 1 : 0);
  } catch (error) {
    console.error(`${name}: ${JSON.stringify(describe(error))}`);
    process.exit(1);
  }
}

async function list(open) {
  return using(open, async (session) => {
    const capabilities = session.client.getServerCapabilities() ?? {};
    const found = { ...about(session), capabilities: Object.keys(capabilities).sort() };
    const { client } = session;
    if (capabilities.tools) {
      Object.assign(found, await pages("tools", (p) => client.listTools(p), (tool) => tool.name));
    }
    if (capabilities.prompts) {
      Object.assign(found, await pages("prompts", (p) => client.listPrompts(p), (p) => p.name));
    }
    if (capabilities.resources) {
      const resources = await pages("resources", (p) => client.listResources(p), (r) => r.uri);
      Object.assign(found, resources);
    }
    return found;
  });
}

async function state(open, options) {
  return using(open, async (session) => {
    const results = [];
    for (let i = 0; i < options.times; i++) {
      results.push(await call(session, options.tool, options.arguments, options));
    }
    return { ...about(session), results, asked: session.asked };
  });
}

/** Lists, calls, and all that a client can take beside answers; the twin is in frameworks.py. */
async function whole(open, options) {
  return using(open, async (session) => {
    const { tools } = await session.client.listTools();
    const told = { ...about(session), tools: tools.map((tool) => tool.name) };
    const say = async (tool, args, more = {}) =>
      (await call(session, tool, args, { ...options, ...more })).text;
    told.counts = [];
    for (let i = 0; i < 3; i++) told.counts.push(await say(options.count, {}));
    if (options.progress) {
      told.progress = 0;
      const onprogress = () => told.progress++;
      await say(options.progress, { steps: 5, ms: 20 }, { onprogress });
    }
    if (options.elicit) {
      told.elicited = await say(options.elicit, {});
      told.asked = session.asked.length;
    }
    if (options.echo) {
      told.echoed = (await say(options.echo, { message: "x".repeat(options.size) })).length;
    }
    const calls = Array.from({ length: options.many }, () => say(options.count, {}));
    told.parallel = new Set(await Promise.all(calls)).size;
    return told;
  });
}

/** Lists everything and uses it once: tools as the suite's context says, or with samples. */
async function use(open, options) {
  return using(open, async (session) => {
    const { client } = session;
    const has = client.getServerCapabilities() ?? {};
    const told = { ...about(session), called: [] };
    const { toolCalls } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
    if (has.tools) {
      const { tools } = await client.listTools();
      told.tools = tools.map((tool) => tool.name);
      const sampled = tools.map((tool) => ({ name: tool.name, arguments: sample(tool.inputSchema) }));
      for (const { name, arguments: args } of toolCalls ?? sampled) {
        told.called.push(await call(session, name, args, options));
      }
    }
    if (has.resources) {
      const { resources } = await client.listResources();
      for (const { uri } of resources) await client.readResource({ uri });
    }
    if (has.prompts) {
      const { prompts } = await client.listPrompts();
      for (const { name, arguments: args = [] } of prompts) {
        const given = Object.fromEntries(args.map((argument) => [argument.name, "x"]));
        await client.getPrompt({ name, arguments: given });
      }
    }
    return told;
  });
}

/** An argument for each that is required. */
function sample({ required = [], properties = {} }) {
  const values = { string: "x", integer: 1, number: 1, boolean: true, array: [], object: {} };
  return Object.fromEntries(required.map((name) => [name, values[properties[name]?.type] ?? "x"]));
}

async function schema(open, options) {
  return using(open, async (session) => {
    const { tools } = await session.client.listTools();
    const { inputSchema } = tools.find((tool) => tool.name === options.of);
    const said = await call(session, options.tool, { schema: inputSchema }, options);
    return { ...about(session), inputSchema, said };
  });
}

async function parallel(open, options) {
  const started = performance.now();
  const results = new Array(options.sessions);
  const kept = [];
  let next = 0;
  const worker = async () => {
    while (next < options.sessions) {
      const index = next++;
      results[index] = await counted(open, options, kept).catch((error) => describe(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.batch, options.sessions) }, worker));
  while (kept.length > 0) await Promise.all(kept.splice(0, options.batch).map(end));
  const failed = results.filter((result) => result.error).length;
  const elapsedMs = Math.round(performance.now() - started);
  return { sessions: results, failed, elapsedMs };
}

async function counted(open, options, kept) {
  const session = await open();
  try {
    const values = [];
    for (let i = 0; i < options.calls; i++) {
      const result = await call(session, options.tool, options.arguments, options);
      values.push(result.structured?.value ?? result.text);
    }
    const who = await call(session, options.whoami, {}, options);
    const pid = who.structured?.pid ?? null;
    return { sessionId: session.id() ?? null, values, pid, who: who.structured ?? who.text };
  } finally {
    if (options.keep) kept.push(session);
    else await end(session);
  }
}

/** Sessions that call without a pause until a line comes; ever again one ends and another begins. */
async function load(open, options) {
  let isOver = false;
  createInterface({ input: process.stdin }).once("line", () => (isOver = true));
  const told = { sessions: 0, answers: 0, errors: [], failed: 0 };
  const attempt = (what, work) =>
    work().catch((error) => {
      told.failed++;
      if (told.errors.length < 20) told.errors.push({ what, at: Date.now(), ...describe(error) });
    });
  const use = async (session) => {
    for (let i = 0; i < options.calls && !isOver; i++) {
      if (i % 5 === 4) await session.client.listTools();
      else await call(session, options.tool, options.arguments, options);
      told.answers++;
    }
  };
  const client = async (isReady) => {
    while (!isOver) {
      const session = await attempt("open", open);
      if (!session) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      told.sessions++;
      isReady();
      // A session lives on after an error, as its client would.
      const end = Date.now() + options.lastsMs;
      while (!isOver && Date.now() < end) await attempt("use", () => use(session));
      await attempt("end", () => session.client.close());
    }
  };
  const running = [];
  const ready = [];
  for (let i = 0; i < options.sessions; i++) {
    ready.push(new Promise((resolve) => running.push(client(resolve))));
  }
  await Promise.all(ready);
  await print({ ready: true });
  await Promise.all(running);
  return { ...told, failed: undefined, failures: told.failed };
}

async function hold(open, options) {
  await using(open, async (session) => {
    await print({ ready: true, ...about(session) });
    for await (const line of createInterface({ input: process.stdin })) {
      if (line.trim() === "") continue;
      try {
        const request = JSON.parse(line);
        await print(await call(session, request.tool, request.arguments ?? {}, options));
      } catch (error) {
        await print(describe(error));
      }
    }
  });
}

async function remove(open, options) {
  const session = await open();
  const before = await call(session, options.tool, options.arguments, options);
  const sessionId = session.id();
  if (!sessionId) throw new Error("the server gave no session id");
  await session.terminate();
  await session.client.close();
  const revenant = await open({ sessionId });
  try {
    const answer = await call(revenant, options.tool, options.arguments, options);
    throw new Error(`the ended session still answers: ${JSON.stringify(answer)}`);
  } catch (error) {
    const after = describe(error);
    if (after.status === undefined) throw error;
    return { sessionId, before, after };
  } finally {
    await revenant.client.close().catch(() => {});
  }
}

async function using(open, body) {
  const session = await open();
  try {
    return await body(session);
  } finally {
    await end(session);
  }
}

/** Terminates and closes; that the server may be gone by now is not this scenario's failure. */
async function end(session) {
  const timeout = new Promise((resolve) => setTimeout(resolve, 2_000).unref());
  await Promise.race([session.terminate(), timeout]).catch(() => {});
  await session.client.close().catch(() => {});
}

async function call(session, tool, args, options) {
  const request = { name: tool, arguments: args };
  const limits = { timeout: options.timeoutMs };
  if (options.onprogress) limits.onprogress = options.onprogress;
  const result = await session.callTool(request, limits);
  const said = { isError: result.isError === true };
  const texts = (result.content ?? []).filter((block) => block.type === "text");
  said.text = texts.map((block) => block.text).join("\n");
  if (result.structuredContent !== undefined) said.structured = result.structuredContent;
  return said;
}

async function pages(member, fetchPage, name) {
  const names = [];
  let cursor;
  do {
    const page = await fetchPage(cursor === undefined ? undefined : { cursor });
    names.push(...page[member].map(name));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return { [member]: names };
}

function about(session) {
  return {
    sdk: session.sdk,
    sessionId: session.id() ?? null,
    protocolVersion: session.protocolVersion() ?? null,
    server: session.client.getServerVersion() ?? null,
    opened: session.opened,
  };
}

function describe(error) {
  const described = { error: String(error?.message ?? error) };
  const code = error?.code;
  if (code !== undefined) described.code = code;
  const status = error?.status ?? error?.data?.status ?? (code >= 100 && code < 600 ? code : undefined);
  if (status !== undefined) described.status = status;
  if (error?.cause) described.cause = String(error.cause?.message ?? error.cause);
  return described;
}

/** Awaited, because `process.exit` drops what a pipe has not taken yet. */
function print(value) {
  return new Promise((resolve) => process.stdout.write(`${JSON.stringify(value)}\n`, resolve));
}

/**
 * A `fetch` that remembers with which headers the server answered the first message, and tells when
 * it has answered to the first GET, which the SDKs send without waiting for the answer.
 */
export function observed(opened, onListening = () => {}) {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (init?.method === "GET") onListening();
    if (init?.method === "POST" && opened.status === undefined) {
      opened.status = response.status;
      opened.headers = Object.fromEntries(response.headers);
    }
    return response;
  };
}

/** What a witness answers when the server asks, whatever the SDK. */
export function answers(asked) {
  return {
    elicitation: (request) => {
      asked.push("elicitation/create");
      const properties = request.params?.requestedSchema?.properties ?? {};
      const content = {};
      for (const [name, schema] of Object.entries(properties)) content[name] = filledIn(schema);
      return { action: "accept", content };
    },
    sampling: (request) => {
      asked.push("sampling/createMessage");
      const said = request.params?.messages?.at(-1)?.content?.text ?? "";
      const content = { type: "text", text: `witness heard: ${said}` };
      return { role: "assistant", model: "witness", stopReason: "endTurn", content };
    },
    roots: () => {
      asked.push("roots/list");
      return { roots: [{ uri: "file:///witness", name: "witness" }] };
    },
  };
}

function filledIn(schema) {
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf) return schema.oneOf[0].const;
  if (schema.type === "array") return [schema.items?.enum?.[0] ?? schema.items?.anyOf?.[0]?.const];
  if (schema.type === "boolean") return true;
  if (schema.type === "number" || schema.type === "integer") return schema.minimum ?? 1;
  if (schema.format === "email") return "witness@example.com";
  return "witness";
}
