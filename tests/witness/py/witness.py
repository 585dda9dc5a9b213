"""Scenarios over the official Python SDK: the twin of ts/witness.mjs, with the same output."""

import asyncio
import json
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import mcp_types as types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

USAGE = "usage: python witness.py list|state|parallel|hold|delete|whole URL ['{\"option\": …}']"

DEFAULTS: dict[str, Any] = {
    "tool": "count",
    "whoami": "whoami",
    "arguments": {},
    "times": 3,
    "sessions": 10,
    "calls": 3,
    "batch": 100,
    "keep": False,
    "headers": {},
    "transport": "http",
    "listen": False,
    "timeoutMs": 30_000,
    # Of `whole`: names of tools, of which one that is None is left out.
    "count": "count",
    "progress": None,
    "elicit": None,
    "echo": None,
    "size": 5_000_000,
    "many": 50,
}

# Made once: reading the system's certificates for each session costs more than the session.
PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Opened:
    """A session, and what its HTTP responses told that the SDK keeps to itself."""

    client: ClientSession
    asked: list[str]
    http: "Observed"

    def about(self) -> dict[str, Any]:
        server = self.client.server_info
        return {
            "sdk": "py",
            "sessionId": self.http.session_id,
            "protocolVersion": self.client.protocol_version,
            "server": server.model_dump(exclude_none=True) if server else None,
            "opened": self.http.opened,
        }


@dataclass
class Observed:
    session_id: str | None = None
    opened: dict[str, Any] = field(default_factory=dict)
    last_status: int | None = None
    listening: asyncio.Event = field(default_factory=asyncio.Event)

    async def note(self, response: httpx2.Response) -> None:
        if response.request.method == "GET":
            self.listening.set()
        if response.request.method != "POST":
            return
        self.last_status = response.status_code
        if not self.opened:
            self.opened = {"status": response.status_code, "headers": dict(response.headers)}
            self.session_id = response.headers.get("mcp-session-id")


@asynccontextmanager
async def open_session(url: str, options: dict[str, Any]) -> AsyncIterator[Opened]:
    http = Observed()
    asked: list[str] = []
    timeout = httpx2.Timeout(30.0, read=300.0)
    http_client = httpx2.AsyncClient(
        headers=options["headers"],
        verify=PLAIN_HTTP,
        timeout=timeout,
        event_hooks={"response": [http.note]},
    )
    async with http_client:
        if options["transport"] == "sse":
            streams = sse_client(url, headers=options["headers"])
        else:
            streams = streamable_http_client(url, http_client=http_client)
        async with streams as (read, write):
            session = ClientSession(
                read,
                write,
                read_timeout_seconds=options["timeoutMs"] / 1000,
                sampling_callback=answer_sampling(asked),
                elicitation_callback=answer_elicitation(asked),
                list_roots_callback=answer_roots(asked),
                client_info=types.Implementation(name="witness-py", version="1"),
            )
            async with session:
                await session.initialize()
                if options["listen"]:
                    await http.listening.wait()
                yield Opened(session, asked, http)


async def list_(url: str, options: dict[str, Any]) -> dict[str, Any]:
    async with open_session(url, options) as session:
        client = session.client
        capabilities = client.server_capabilities
        declared = capabilities.model_dump(exclude_none=True) if capabilities else {}
        found = session.about() | {"capabilities": sorted(declared)}
        if "tools" in declared:
            found["tools"] = await pages(client.list_tools, "tools", "name")
        if "prompts" in declared:
            found["prompts"] = await pages(client.list_prompts, "prompts", "name")
        if "resources" in declared:
            found["resources"] = await pages(client.list_resources, "resources", "uri")
        return found


async def pages(fetch: Any, member: str, name: str) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
        page = await fetch(params=params)
        names += [str(getattr(entry, name)) for entry in getattr(page, member)]
        cursor = page.next_cursor
        if cursor is None:
            return names


async def state(url: str, options: dict[str, Any]) -> dict[str, Any]:
    async with open_session(url, options) as session:
        results = []
        for _ in range(options["times"]):
            results.append(await call(session, options["tool"], options["arguments"]))
        return session.about() | {"results": results, "asked": session.asked}


async def whole(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Lists, calls, and all that a client can take beside answers; as in frameworks.py."""
    async with open_session(url, options) as session:
        told: dict[str, Any] = session.about()
        told["tools"] = await pages(session.client.list_tools, "tools", "name")
        told["counts"] = [(await call(session, options["count"], {}))["text"] for _ in range(3)]
        if options["progress"]:
            steps = []

            async def progress(*_: Any) -> None:
                steps.append(1)

            arguments = {"steps": 5, "ms": 20}
            await session.client.call_tool(
                options["progress"], arguments, progress_callback=progress
            )
            told["progress"] = len(steps)
        if options["elicit"]:
            told["elicited"] = (await call(session, options["elicit"], {}))["text"]
            told["asked"] = len(session.asked)
        if options["echo"]:
            message = {"message": "x" * options["size"]}
            told["echoed"] = len((await call(session, options["echo"], message))["text"])
        calls = [call(session, options["count"], {}) for _ in range(options["many"])]
        told["parallel"] = len({said["text"] for said in await asyncio.gather(*calls)})
        return told


async def parallel(url: str, options: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    at_once = asyncio.Semaphore(options["batch"])
    all_counted = Countdown(options["sessions"])
    tasks = [
        asyncio.create_task(counted(url, options, at_once, all_counted))
        for _ in range(options["sessions"])
    ]
    sessions = await asyncio.gather(*tasks)
    failed = sum(1 for session in sessions if "error" in session)
    elapsed = round((time.monotonic() - started) * 1000)
    return {"sessions": sessions, "failed": failed, "elapsedMs": elapsed}


class Countdown:
    """An event that comes once everyone has arrived."""

    def __init__(self, expected: int) -> None:
        self.missing = expected
        self.done = asyncio.Event()

    def arrive(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self.done.set()


async def counted(
    url: str, options: dict[str, Any], at_once: asyncio.Semaphore, all_counted: Countdown
) -> dict[str, Any]:
    arrived = False
    await at_once.acquire()
    holding = True
    try:
        async with open_session(url, options) as session:
            values = []
            for _ in range(options["calls"]):
                result = await call(session, options["tool"], options["arguments"])
                values.append(result.get("structured", {}).get("value", result["text"]))
            who = await call(session, options["whoami"], {})
            who_said = who.get("structured", who["text"])
            pid = who_said.get("pid") if isinstance(who_said, dict) else None
            if options["keep"]:
                at_once.release()
                holding = False
                arrived = True
                all_counted.arrive()
                await all_counted.done.wait()
            session_id = session.http.session_id
            return {"sessionId": session_id, "values": values, "pid": pid, "who": who_said}
    except Exception as error:
        return describe(error)
    finally:
        if holding:
            at_once.release()
        if not arrived:
            all_counted.arrive()


async def hold(url: str, options: dict[str, Any]) -> None:
    lines = Lines()
    try:
        async with open_session(url, options) as session:
            emit({"ready": True} | session.about())
            lines.start()
            while line := await lines.next():
                try:
                    request = json.loads(line)
                    said = await call(session, request["tool"], request.get("arguments", {}))
                except Exception as error:
                    said = describe(error)
                lines.answer(said)
    except Exception as error:
        # A connection that fails takes the whole session of this SDK down, and the call with it.
        if not lines.started:
            raise
        closed = describe(error) | {"closed": True}
        if lines.unanswered:
            lines.answer(closed)
        while await lines.next():
            lines.answer(closed)


class Lines:
    """Standard input, read by a thread: a session that is cancelled loses no line of it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.started = False
        self.unanswered = False

    def start(self) -> None:
        self.started = True
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        while line := sys.stdin.readline():
            if line.strip():
                self.loop.call_soon_threadsafe(self.queue.put_nowait, line)
        self.loop.call_soon_threadsafe(self.queue.put_nowait, "")

    async def next(self) -> str:
        """The next line, or "" at the end."""
        line = await self.queue.get()
        self.unanswered = line != ""
        return line

    def answer(self, said: dict[str, Any]) -> None:
        self.unanswered = False
        emit(said)


async def delete(url: str, options: dict[str, Any]) -> dict[str, Any]:
    async with open_session(url, options) as session:
        before = await call(session, options["tool"], options["arguments"])
        session_id = session.http.session_id
        if session_id is None:
            raise RuntimeError("the server gave no session id")
        headers = options["headers"] | {"mcp-session-id": session_id}
        async with httpx2.AsyncClient(headers=headers, verify=PLAIN_HTTP) as http_client:
            deleted = await http_client.delete(url)
            deleted.raise_for_status()
        try:
            answer = await call(session, options["tool"], options["arguments"])
        except Exception as error:
            after = describe(error) | {"status": session.http.last_status}
            return {"sessionId": session_id, "before": before, "after": after}
        raise RuntimeError(f"the ended session still answers: {json.dumps(answer)}")


async def call(session: Opened, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await session.client.call_tool(tool, arguments)
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    said: dict[str, Any] = {"isError": bool(result.is_error), "text": "\n".join(texts)}
    if result.structured_content is not None:
        said["structured"] = result.structured_content
    return said


def answer_sampling(asked: list[str]) -> Any:
    async def answer(_: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        asked.append("sampling/createMessage")
        heard = getattr(params.messages[-1].content, "text", "")
        content = types.TextContent(type="text", text=f"witness heard: {heard}")
        return types.CreateMessageResult(
            role="assistant", model="witness", stop_reason="endTurn", content=content
        )

    return answer


def answer_elicitation(asked: list[str]) -> Any:
    async def answer(_: Any, params: Any) -> types.ElicitResult:
        asked.append("elicitation/create")
        properties = params.requested_schema.get("properties", {})
        content = {name: filled_in(schema) for name, schema in properties.items()}
        return types.ElicitResult(action="accept", content=content)

    return answer


def answer_roots(asked: list[str]) -> Any:
    async def answer(_: Any) -> types.ListRootsResult:
        asked.append("roots/list")
        root = types.Root.model_validate({"uri": "file:///witness", "name": "witness"})
        return types.ListRootsResult(roots=[root])

    return answer


def filled_in(schema: dict[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema:
        return schema["oneOf"][0]["const"]
    if schema.get("type") == "array":
        return [filled_in(items_as_choice(schema.get("items", {})))]
    if schema.get("type") == "boolean":
        return True
    if schema.get("type") in ("number", "integer"):
        return schema.get("minimum", 1)
    return "witness@example.com" if schema.get("format") == "email" else "witness"


def items_as_choice(items: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": items["anyOf"]} if "anyOf" in items else items


def describe(error: BaseException) -> dict[str, Any]:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    described: dict[str, Any] = {"error": str(error) or type(error).__name__}
    data = getattr(error, "error", None)
    if data is not None and hasattr(data, "code"):
        described |= {"error": data.message, "code": data.code}
    response = getattr(error, "response", None)
    if response is not None:
        described["status"] = response.status_code
    return described


def emit(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


SCENARIOS = {
    "list": list_,
    "state": state,
    "parallel": parallel,
    "hold": hold,
    "delete": delete,
    "whole": whole,
}


def main() -> int:
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in SCENARIOS:
        print(USAGE, file=sys.stderr)
        return 2
    name, url = sys.argv[1], sys.argv[2]
    try:
        options = DEFAULTS | json.loads(sys.argv[3] if len(sys.argv) == 4 else "{}")
        result = asyncio.run(SCENARIOS[name](url, options))
    except (Exception, BaseExceptionGroup) as error:
        print(f"{name}: {json.dumps(describe(error))}", file=sys.stderr)
        return 1
    if result is not None:
        emit(result)
        return 1 if result.get("failed") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
