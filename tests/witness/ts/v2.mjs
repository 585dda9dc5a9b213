// @modelcontextprotocol/client 2.x

import { requireFrom } from "./installed.mjs";
import { answers, main, observed } from "./witness.mjs";

const require = requireFrom("ts_v2");
const sdk = require("@modelcontextprotocol/client");

const CAPABILITIES = { elicitation: { form: {} }, sampling: {}, roots: {} };

async function open(url, { era, headers, listen, sessionId, transport: kind }) {
  const [asked, opened] = [[], {}];
  const mode = era === "legacy" || era === "auto" ? era : { pin: era };
  const client = new sdk.Client(
    { name: "witness-ts-v2", version: "1" },
    { capabilities: CAPABILITIES, versionNegotiation: { mode } },
  );
  const answer = answers(asked);
  client.setRequestHandler("elicitation/create", answer.elicitation);
  client.setRequestHandler("sampling/createMessage", answer.sampling);
  client.setRequestHandler("roots/list", answer.roots);
  const listening = Promise.withResolvers();
  const fetch = observed(opened, listening.resolve);
  const options = { requestInit: { headers }, fetch, sessionId };
  const overSse = kind === "sse";
  const transport = overSse
    ? new sdk.SSEClientTransport(new URL(url), options)
    : new sdk.StreamableHTTPClientTransport(new URL(url), options);
  await client.connect(transport);
  if (listen) await listening.promise;
  return {
    sdk: "ts-v2",
    client,
    asked,
    opened,
    id: () => (overSse ? undefined : transport.sessionId),
    protocolVersion: () => client.getNegotiatedProtocolVersion(),
    callTool: (request, limits) => client.callTool(request, limits),
    terminate: async () => {
      if (!overSse) await transport.terminateSession();
    },
  };
}

await main(open);
