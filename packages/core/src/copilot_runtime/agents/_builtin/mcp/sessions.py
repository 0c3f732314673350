"""The sessions of a run: opened together, closed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from ..._context import RunContext
from ..tools.tool import Tool
from .connection import Connection
from .server import MCPServer

_CLOSE_SECONDS = 2.0
"""How long servers may take to be told that their sessions are over."""


@asynccontextmanager
async def open_mcp_servers(servers: Sequence[MCPServer], context: RunContext | None) -> AsyncGenerator[list[Tool]]:
    """The tools of all servers, in their order, with a session to each of them until the block is left.

    A server that cannot be had is left out, with a warning in the log. Once the block is
    entered, failures are those of single tools. It may be left in another task than it was
    entered in, and by cancellation.
    """
    connections = [Connection(server, context or RunContext()) for server in servers]
    try:
        listed = await asyncio.gather(*(connection.tools() for connection in connections))
        yield [tool for tools in listed for tool in tools]
    finally:
        await _close(connections)


async def _close(connections: Sequence[Connection]) -> None:
    if not connections:
        return
    tasks = [connection.close() for connection in connections]
    try:
        await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
