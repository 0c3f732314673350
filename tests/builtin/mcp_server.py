"""A process with a real MCP server, made with the official SDK (of either line), behind `mcp_watch`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

import uvicorn
from mcp.types import CallToolResult

try:
    from mcp.server.mcpserver import Image, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:  # 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp import Image
    from mcp.server.fastmcp.exceptions import ToolError

from .mcp_proxy import McpProxy

PNG = b"\x89PNG\r\n\x1a\n" + bytes(22)

server = MCPServer("fixture")


@server.tool(structured_output=False)
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool(structured_output=False)
def greet(name: str) -> str:
    return f"hello {name}, größe €"


@server.tool(structured_output=False)
def fail(why: str) -> str:
    raise ToolError(f"no luck: {why}")


@server.tool(structured_output=False)
def picture() -> list[Any]:
    return ["a picture", Image(data=PNG, format="png")]


@server.tool(name="docs.read")
def read() -> CallToolResult:
    """Has a name that models' interfaces do not take."""
    return result(
        {"type": "resource", "resource": {"uri": "file:///it", "text": "all of it"}},
        {"type": "resource", "resource": {"uri": "file:///raw", "mimeType": "text/csv", "blob": "YSxi"}},
        {"type": "resource_link", "uri": "file:///more", "name": "more", "description": "the rest"},
        {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"},
    )


@server.tool()
def figures() -> CallToolResult:
    return result(structured={"figures": [1, 2.5, None]})


@server.tool()
def nothing_said() -> CallToolResult:
    return result(is_error=True)


@server.tool(structured_output=False)
async def wait_forever() -> str:
    await asyncio.Event().wait()
    return "never"


@server.tool(structured_output=False)
def process(variable: str = "") -> str:
    """Returns the id of the process, and a variable of its environment."""
    return f"{os.getpid()} {os.environ.get(variable)}"


@server.tool(structured_output=False)
def write(characters: int) -> str:
    return "x" * characters


@server.tool(structured_output=False)
def die() -> str:
    os._exit(1)


def result(*blocks: Any, structured: Any = None, is_error: bool = False) -> CallToolResult:
    """In wire form, whose names both lines know."""
    return CallToolResult.model_validate({"content": blocks, "structuredContent": structured, "isError": is_error})


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
        sys.exit()
    # The listening socket is inherited, so that the parent need not wait for it.
    listening = socket.socket(fileno=int(sys.argv[1]))
    watch = McpProxy(server.streamable_http_app(), server.sse_app())
    uvicorn.Server(uvicorn.Config(watch, log_level="warning", timeout_graceful_shutdown=1)).run([listening])
