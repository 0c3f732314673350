"""`MCPTools`: the tools of MCP servers, for any agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from .. import _validation as validation
from .._events.sse import Event
from ..agents._forwarded_props import has_tool_choice
from ..agents._mcp import MCPServer, open_mcp_servers
from ..agents._mcp.server import parse_mcp_servers
from ._server_tools import run_with_tools

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ..agents._context import RunContext
    from ._types import Next


class MCPTools:
    """Middleware that offers the tools of MCP servers to an agent (extra ``mcp``).

    The agent's calls of them are run when it has ended, and the agent is run again with their results, all within one
    run of the client. If it has called tools of the frontend as well, the run ends with the results. A run in which the
    frontend chooses the tool, such as for suggestions, has none of these tools: a page must not start them.

    Args:
        servers: the servers. Each run has sessions of its own, with the headers that are for its user.
        max_rounds: how often the agent is run again at most. Calls that it still makes then are not run.

    Raises:
        TypeError: for anything but a list of `MCPServer` values.
        ValueError: for no servers, and for a number of rounds below 1.
    """

    def __init__(self, servers: Iterable[MCPServer], *, max_rounds: int = 32) -> None:
        validation.check_number("MCPTools: max_rounds", max_rounds, minimum=1, integer=True)
        self._servers = parse_mcp_servers("MCPTools: servers", servers)
        if not self._servers:
            raise ValueError(
                "MCPTools: servers=[] has no tools: write servers=[MCPServer('https://tools.example/mcp')]"
            )
        self._max_rounds = max_rounds

    async def run(self, input: RunAgentInput, next: Next, context: RunContext) -> AsyncGenerator[Event]:
        """Yields the events of all runs of the agent as those of one."""
        if has_tool_choice(input.forwarded_props):
            async with aclosing(next(input)) as events:
                async for event in events:
                    yield event
            return
        async with (
            open_mcp_servers(self._servers, context) as tools,
            aclosing(run_with_tools(tools, input, next, context, max_rounds=self._max_rounds)) as all_events,
        ):
            async for event in all_events:
                yield event
