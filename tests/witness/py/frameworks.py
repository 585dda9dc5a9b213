"""Scenarios over clients that people have beside the official SDK of today.

    python frameworks.py CLIENT whole|hold URL ['{"option": …}']

CLIENT is python_v1, fastmcp, openai_agents, pydantic_ai, langchain or mcp_use; each runs with the
Python of its own environment (bin/python-CLIENT). Or it is python, the SDK of today with its
high-level client, which asks for a revision without sessions first. What they have in common stands
here once; what each calls its things stands in one function of its own.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

# A witness tells nobody else.
os.environ.setdefault("MCP_USE_ANONYMIZED_TELEMETRY", "false")
os.environ.setdefault("OPENAI_AGENTS_DISABLE_TRACING", "1")

DEFAULTS: dict[str, Any] = {
    "transport": "http",
    # Names of tools; a step without one is left out.
    "count": "count",
    "progress": None,
    "elicit": None,
    "echo": None,
    "size": 5_000_000,
    "many": 50,
    "timeoutS": 60,
}


@dataclass
class Seen:
    """What the server has told or asked beside the answers."""

    progress: int = 0
    asked: int = 0


@dataclass
class Opened:
    """A client that is connected, whatever it is."""

    tools: Callable[[], Awaitable[list[str]]]
    call: Callable[[str, dict[str, Any]], Awaitable[str]]
    """The text of a tool's answer."""
    can: set[str] = field(default_factory=set)
    """Which of `progress` and `elicit` the client can take."""


def text_of(content: Any) -> str:
    """The text in whatever a client makes of a tool's answer."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        # Some hand on structured content alone.
        return str(next((content[key] for key in ("text", "value") if key in content), content))
    if isinstance(content, list | tuple):
        return "\n".join(text_of(part) for part in content)
    for member in ("content", "text"):
        if hasattr(content, member):
            return text_of(getattr(content, member))
    return str(content)


def form(schema: dict[str, Any]) -> dict[str, Any]:
    """Something for each member that is required."""
    members = schema.get("properties", {})
    return {name: fill(members.get(name, {})) for name in schema.get("required", [])}


def fill(member: dict[str, Any]) -> Any:
    kinds: dict[str, Any] = {"boolean": True, "number": 1, "integer": 1, "array": []}
    if "enum" in member:
        return member["enum"][0]
    return kinds.get(member.get("type", "string"), "witness")


@asynccontextmanager
async def python_v1(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    from mcp import ClientSession, types
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamablehttp_client

    async def elicit(_: Any, params: Any) -> types.ElicitResult:
        seen.asked += 1
        return types.ElicitResult(action="accept", content=form(params.requestedSchema))

    async def progress(*_: Any) -> None:
        seen.progress += 1

    connect = sse_client if options["transport"] == "sse" else streamablehttp_client
    async with connect(url) as streams:
        async with ClientSession(streams[0], streams[1], elicitation_callback=elicit) as session:
            await session.initialize()

            async def tools() -> list[str]:
                return [tool.name for tool in (await session.list_tools()).tools]

            async def call(tool: str, arguments: dict[str, Any]) -> str:
                answer = await session.call_tool(
                    tool,
                    arguments,
                    read_timeout_seconds=timedelta(seconds=options["timeoutS"]),
                    progress_callback=progress,
                )
                return text_of(answer)

            yield Opened(tools, call, {"progress", "elicit"})


@asynccontextmanager
async def python(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    import mcp_types as types
    from mcp import Client

    async def elicit(_: Any, params: Any) -> types.ElicitResult:
        seen.asked += 1
        return types.ElicitResult(action="accept", content=form(params.requested_schema))

    async def progress(*_: Any) -> None:
        seen.progress += 1

    async with Client(url, elicitation_callback=elicit) as client:

        async def tools() -> list[str]:
            return [tool.name for tool in (await client.list_tools()).tools]

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            return text_of(await client.call_tool(tool, arguments, progress_callback=progress))

        yield Opened(tools, call, {"progress", "elicit"})


@asynccontextmanager
async def fastmcp(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    from fastmcp import Client
    from fastmcp.client.elicitation import ElicitResult
    from fastmcp.client.transports import SSETransport, StreamableHttpTransport

    async def elicit(_: str, __: Any, params: Any, ___: Any) -> ElicitResult:
        seen.asked += 1
        return ElicitResult(action="accept", content=form(params.requested_schema))

    async def progress(*_: Any) -> None:
        seen.progress += 1

    kind = SSETransport if options["transport"] == "sse" else StreamableHttpTransport
    async with Client(
        kind(url),
        elicitation_handler=elicit,
        progress_handler=progress,
        timeout=options["timeoutS"],
    ) as client:

        async def tools() -> list[str]:
            return [tool.name for tool in await client.list_tools()]

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            return text_of(await client.call_tool(tool, arguments))

        yield Opened(tools, call, {"progress", "elicit"})


@asynccontextmanager
async def openai_agents(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    from agents.mcp import MCPServerSse, MCPServerStreamableHttp

    kind = MCPServerSse if options["transport"] == "sse" else MCPServerStreamableHttp
    params: Any = {"url": url, "timeout": options["timeoutS"]}
    async with kind(params, client_session_timeout_seconds=options["timeoutS"]) as server:

        async def tools() -> list[str]:
            return [tool.name for tool in await server.list_tools()]

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            return text_of(await server.call_tool(tool, arguments))

        yield Opened(tools, call)


@asynccontextmanager
async def pydantic_ai(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    from fastmcp.client.transports import SSETransport, StreamableHttpTransport
    from pydantic_ai.mcp import MCPToolset

    async def elicit(_: str, __: Any, params: Any, ___: Any) -> dict[str, Any]:
        seen.asked += 1
        return form(params.requested_schema)

    async def progress(*_: Any) -> None:
        seen.progress += 1

    kind = SSETransport if options["transport"] == "sse" else StreamableHttpTransport
    toolset: MCPToolset[Any] = MCPToolset(
        kind(url),
        elicitation_handler=elicit,
        progress_handler=progress,
        read_timeout=options["timeoutS"],
    )
    async with toolset:

        async def tools() -> list[str]:
            return [tool.name for tool in await toolset.list_tools()]

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            return text_of(await toolset.direct_call_tool(tool, arguments))

        yield Opened(tools, call, {"progress", "elicit"})


@asynccontextmanager
async def langchain(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    from langchain_mcp_adapters.callbacks import Callbacks
    from langchain_mcp_adapters.client import MultiServerMCPClient
    from langchain_mcp_adapters.tools import load_mcp_tools
    from mcp import types

    async def elicit(_: Any, params: Any, __: Any) -> types.ElicitResult:
        seen.asked += 1
        return types.ElicitResult(action="accept", content=form(params.requestedSchema))

    async def progress(*_: Any) -> None:
        seen.progress += 1

    callbacks = Callbacks(on_progress=progress, on_elicitation=elicit)
    transport = "sse" if options["transport"] == "sse" else "streamable_http"
    connections: Any = {"mooring": {"url": url, "transport": transport}}
    client = MultiServerMCPClient(connections, callbacks=callbacks)
    async with client.session("mooring") as session:
        loaded = await load_mcp_tools(session, callbacks=callbacks, server_name="mooring")
        by_name = {tool.name: tool for tool in loaded}

        async def tools() -> list[str]:
            return list(by_name)

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            return text_of(await by_name[tool].ainvoke(arguments))

        yield Opened(tools, call, {"progress", "elicit"})


@asynccontextmanager
async def mcp_use(url: str, options: dict[str, Any], seen: Seen) -> AsyncIterator[Opened]:
    from mcp import types
    from mcp_use import MCPClient

    async def elicit(_: Any, params: Any) -> types.ElicitResult:
        seen.asked += 1
        return types.ElicitResult(action="accept", content=form(params.requestedSchema))

    # It finds out by itself whether a URL is of HTTP+SSE.
    config = {"mcpServers": {"mooring": {"url": url}}}
    client = MCPClient(config, elicitation_callback=elicit)
    session = await client.create_session("mooring")
    try:

        async def tools() -> list[str]:
            return [tool.name for tool in await session.list_tools()]

        async def call(tool: str, arguments: dict[str, Any]) -> str:
            patience = timedelta(seconds=options["timeoutS"])
            return text_of(await session.call_tool(tool, arguments, patience))

        yield Opened(tools, call, {"elicit"})
    finally:
        await client.close_all_sessions()


CLIENTS = {
    client.__name__: client
    for client in (python, python_v1, fastmcp, openai_agents, pydantic_ai, langchain, mcp_use)
}


async def whole(client: Opened, options: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """Lists, calls, and all that the client can take beside answers."""
    told: dict[str, Any] = {"tools": await client.tools(), "can": sorted(client.can)}
    told["counts"] = [await client.call(options["count"], {}) for _ in range(3)]
    if options["progress"] and "progress" in client.can:
        await client.call(options["progress"], {"steps": 5, "ms": 20})
        told["progress"] = seen.progress
    if options["elicit"] and "elicit" in client.can:
        told["elicited"] = await client.call(options["elicit"], {})
        told["asked"] = seen.asked
    if options["echo"]:
        text = "x" * options["size"]
        told["echoed"] = len(await client.call(options["echo"], {"message": text}))
    calls = [client.call(options["count"], {}) for _ in range(options["many"])]
    told["parallel"] = len(set(await asyncio.gather(*calls)))
    return told


async def hold(client: Opened, options: dict[str, Any], seen: Seen) -> None:
    """Calls what stdin says, a line `{"tool", "arguments"}` each."""
    emit({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        try:
            emit({"text": await client.call(request["tool"], request.get("arguments", {}))})
        except Exception as error:
            emit({"error": f"{type(error).__name__}: {error}"})


# What is told goes to stdout alone: some libraries log there, and are sent to stderr.
TOLD = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def emit(value: dict[str, Any]) -> None:
    print(json.dumps(value), file=TOLD, flush=True)


SCENARIOS = {"whole": whole, "hold": hold}


async def run(name: str, scenario: str, url: str, options: dict[str, Any]) -> None:
    seen = Seen()
    async with CLIENTS[name](url, options, seen) as client:
        told = await SCENARIOS[scenario](client, options, seen)
        if told is not None:
            emit(told)


def main() -> int:
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in CLIENTS or sys.argv[2] not in SCENARIOS:
        print(__doc__, file=sys.stderr)
        return 2
    name, scenario, url = sys.argv[1:4]
    options = DEFAULTS | json.loads(sys.argv[4] if len(sys.argv) == 5 else "{}")
    asyncio.run(run(name, scenario, url, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
