#!/bin/sh
# The client that the suite judges: a gateway in front of the suite's server, used by an SDK.
# Usage: client.sh UPSTREAM, run by the suite with MCP_CONFORMANCE_SCENARIO set.
#
#   MOORING_BIN           the gateway
#   MOORING_WITNESS_DIR   where tests/witness/setup.sh has installed the SDKs
#   SCOPE                 /mcp/upstream (default), or /mcp for an aggregate of that one server
#   WITNESS               ts/v1.mjs (default), ts/v2.mjs or py/witness.py
#   ERA                   auto (default), or modern for the suite's servers of 2026-07-28
set -eu

witness=$(CDPATH='' cd -- "$(dirname -- "$0")/../witness" && pwd)
folder=$(mktemp -d)
cd "$folder"

# The suite's servers wait for all their connections to end: the gateway goes first.
end() {
    kill "$gateway" && wait "$gateway" || true
    [ "$1" = 0 ] || sed 's/^/gateway: /' log >&2
    rm -rf "$folder"
    exit "$1"
}

cat > mcp_settings.json << END
{
    "mcpServers": {"upstream": {"type": "streamable-http", "url": "$1", "era": "${ERA:-auto}"}},
    "systemConfig": {"namePrefix": "never"}
}
END
PORT=0 MOORING_HOST=127.0.0.1 MOORING_DATA="$folder/data" \
    "$MOORING_BIN" --port-file port > log 2>&1 &
gateway=$!
trap 'end 1' INT TERM
until [ -s port ]; do
    kill -0 "$gateway" 2> /dev/null || end 1
    sleep 0.02
done

case $MCP_CONFORMANCE_SCENARIO in
    initialize) does=list options='' ;;
    tools_call) does=state options='"tool": "add_numbers", "arguments": {"a": 5, "b": 3}' ;;
    # These servers use the session's GET stream: the call has to come after it.
    sse-retry) does=state options='"tool": "test_reconnection", "listen": true' ;;
    elicitation-sep1034-client-defaults)
        does=state options='"tool": "test_client_elicitation_defaults", "listen": true' ;;
    request-metadata | sep-2322-client-request-state | http-standard-headers | \
        http-custom-headers | http-invalid-tool-headers) does=use options='' ;;
    json-schema-2020-12-preservation)
        does=schema options='"of": "json_schema_2020_12_tool", "tool": "json_schema_echo"' ;;
    *) echo "no client for the scenario $MCP_CONFORMANCE_SCENARIO" >&2; end 2 ;;
esac
# Shorter than the suite's patience, so that the gateway's log is seen.
options="{\"times\": 1, \"timeoutMs\": 10000${options:+, $options}}"
script=${WITNESS:-ts/v1.mjs}
case $script in
    *.py) interpreter=python ;;
    *) interpreter=node ;;
esac
status=0
"$MOORING_WITNESS_DIR/bin/$interpreter" "$witness/$script" "$does" \
    "http://127.0.0.1:$(cat port)${SCOPE:-/mcp/upstream}" "$options" || status=$?
end "$status"
