// mcp-remote, the bridge from clients that know stdio alone; behind it is a 1.x client.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { requireFrom } from "./installed.mjs";
import { answers, main } from "./witness.mjs";

const require = requireFrom("ts_v1");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const types = require("@modelcontextprotocol/sdk/types.js");
const bridge = join(
  dirname(requireFrom("mcp_remote").resolve("mcp-remote/package.json")),
  "dist/proxy.js",
);

async function open(url, { transport: kind }) {
  const asked = [];
  const client = new Client(
    { name: "witness-remote", version: "1" },
    { capabilities: { elicitation: {}, sampling: {}, roots: {} } },
  );
  const answer = answers(asked);
  client.setRequestHandler(types.ElicitRequestSchema, answer.elicitation);
  client.setRequestHandler(types.CreateMessageRequestSchema, answer.sampling);
  client.setRequestHandler(types.ListRootsRequestSchema, answer.roots);
  // It keeps what it learns of authorization in the home folder otherwise.
  const kept = mkdtempSync(join(tmpdir(), "mooring-remote-"));
  process.on("exit", () => rmSync(kept, { recursive: true, force: true }));
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [bridge, url, "--allow-http", "--transport", kind === "sse" ? "sse-only" : "http-only"],
    env: { ...process.env, MCP_REMOTE_CONFIG_DIR: kept },
    stderr: "ignore",
  });
  await client.connect(transport);
  return {
    sdk: "mcp-remote",
    client,
    asked,
    opened: {},
    id: () => undefined,
    protocolVersion: () => undefined,
    callTool: (request, limits) => client.callTool(request, undefined, limits),
    terminate: async () => {},
  };
}

await main(open);
