// @modelcontextprotocol/sdk 1.x

import { requireFrom } from "./installed.mjs";
import { answers, main, observed } from "./witness.mjs";

const require = requireFrom("ts_v1");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const CAPABILITIES = { elicitation: {}, sampling: {}, roots: {} };

async function open(url, { headers, listen, sessionId, transport: kind }) {
  const [asked, opened] = [[], {}];
  const client = new Client({ name: "witness-ts-v1", version: "1" }, { capabilities: CAPABILITIES });
  const answer = answers(asked);
  client.setRequestHandler(types.ElicitRequestSchema, answer.elicitation);
  client.setRequestHandler(types.CreateMessageRequestSchema, answer.sampling);
  client.setRequestHandler(types.ListRootsRequestSchema, answer.roots);
  const listening = Promise.withResolvers();
  const fetch = observed(opened, listening.resolve);
  const options = { requestInit: { headers }, fetch, sessionId };
  const overSse = kind === "sse";
  const transport = overSse
    ? new SSEClientTransport(new URL(url), options)
    : new StreamableHTTPClientTransport(new URL(url), options);
  await client.connect(transport);
  if (listen) await listening.promise;
  return {
    sdk: "ts-v1",
    client,
    asked,
    opened,
    id: () => (overSse ? undefined : transport.sessionId),
    protocolVersion: () => transport.protocolVersion ?? transport._protocolVersion,
    callTool: (request, limits) => client.callTool(request, undefined, limits),
    terminate: async () => {
      if (!overSse) await transport.terminateSession();
    },
  };
}

await main(open);
