"""The sessions of a run: opened together, closed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from .._context import RunContext
from .._tools.tool import Tool
from .connection import Connection
from .kept_sessions import close_all
from .sdk import NO_EXTENSIONS, Extensions
from .server import MCPServer


@asynccontextmanager
async def open_connections(
    servers: Sequence[MCPServer], context: RunContext | None, extensions: Extensions = NO_EXTENSIONS
) -> AsyncGenerator[list[Connection]]:
    """Yields a connection to each server.

    An unavailable server has no tools, with a warning in the log. Later failures are failures of single tool calls. The
    block may be exited in another task than it was entered in, and by cancellation.
    """
    connections = [Connection(server, context or RunContext(), extensions) for server in servers]
    try:
        yield connections
    finally:
        await close_all([session for connection in connections for session in connection.close()])


@asynccontextmanager
async def open_mcp_servers(servers: Sequence[MCPServer], context: RunContext | None) -> AsyncGenerator[list[Tool]]:
    """Opens a session to each server, and yields the tools of all servers in order."""
    async with open_connections(servers, context) as connections:
        tools_by_server = await asyncio.gather(*(connection.tools() for connection in connections))
        yield [tool for tools in tools_by_server for tool in tools]
