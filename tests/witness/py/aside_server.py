"""A server of the official Python SDK 1.x whose questions name no request: over Streamable HTTP they
go to the session's GET stream. `aside_server.py http` prints its port, `aside_server.py stdio` does not.
"""

import socket
import sys

import uvicorn
from mcp import types
from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("aside", log_level="WARNING")


@server.tool()
async def everything(ctx: Context) -> str:
    """Asks for a form, a completion and the roots, one after the other."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    form = await ctx.session.elicit("who?", schema)
    question = types.TextContent(type="text", text="Capital?")
    messages = [types.SamplingMessage(role="user", content=question)]
    said = await ctx.session.create_message(messages, max_tokens=9)
    roots = await ctx.session.list_roots()
    name = (form.content or {}).get("name")
    return f"{name}, {getattr(said.content, 'text', None)}, {roots.roots[0].uri}"


def main() -> None:
    if sys.argv[1] == "stdio":
        return server.run("stdio")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
