"""A server over HTTP+SSE by the official Python SDK; prints its port."""

import socket
import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("sse")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(server.sse_app(), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
