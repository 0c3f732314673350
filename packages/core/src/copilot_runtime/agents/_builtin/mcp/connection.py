"""One server's session, for as long as a run lasts.

A task of its own opens the session, keeps it and closes it: the SDK's cancel scopes have to
be left in the task that entered them, whereas a run may be ended from any.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ..._context import RunContext
from ..tools.tool import Tool, ToolError
from . import sdk
from .server import MCPServer
from .tool_results import result_content
from .tools import build_tools

logger = logging.getLogger("copilot_runtime.agents.mcp")

_DISCONNECTED = "The tool's server has gone."


class Connection:
    """A session, opened on the running loop from construction on. `end` has to be called."""

    def __init__(self, server: MCPServer, context: RunContext) -> None:
        self._server = server
        self._session: asyncio.Future[sdk.MCPSession] = asyncio.get_running_loop().create_future()
        self._tools: list[Tool] = []
        self._calls: set[asyncio.Timeout] = set()
        self._close_requested = asyncio.Event()
        self._task = asyncio.create_task(self._run(context))

    async def tools(self) -> list[Tool]:
        """The server's tools, when they are known; none where it cannot be had."""
        await asyncio.wait((self._task, self._session), return_when=asyncio.FIRST_COMPLETED)
        return self._tools

    def close(self) -> asyncio.Task[None]:
        """Has the session closed. Gives the task that does it."""
        if self._session.done():
            self._close_requested.set()
        else:
            self._task.cancel()
        return self._task

    async def _run(self, context: RunContext) -> None:
        server, seconds = self._server, self._server.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                headers = await server.headers_for(context)
                async with sdk.session(server, headers) as session:
                    self._tools = build_tools(server, await session.tools(), self._call)
                    limit.reschedule(None)
                    self._session.set_result(session)
                    await self._close_requested.wait()
        except TimeoutError:
            logger.warning(
                "MCP server %s is left out of a run: no list of tools within %g s", server.redacted_url, seconds
            )
        except Exception as error:
            what = "has gone in the middle of a run" if self._session.done() else "is left out of a run"
            logger.warning("MCP server %s %s: %s", server.redacted_url, what, server.describe_error(error))
        finally:
            # The SDK's 1.x leaves a call waiting whose connection is gone.
            for call in self._calls:
                if not call.expired():
                    call.reschedule(asyncio.get_running_loop().time())

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """What a tool gives. Raises ToolError, whatever goes wrong."""
        server, seconds = self._server, self._server.call_timeout_seconds
        if self._task.done():
            raise ToolError(_DISCONNECTED)
        try:
            async with asyncio.timeout(seconds) as limit:
                self._calls.add(limit)
                try:
                    result = await self._session.result().call(name, arguments)
                finally:
                    self._calls.discard(limit)
        except TimeoutError as error:
            too_slow = f"The tool's server has not answered within {seconds:g} s."
            raise ToolError(_DISCONNECTED if self._task.done() else too_slow) from error
        except sdk.mcp_error_type() as error:
            raise ToolError(str(error)) from error
        except Exception as error:
            logger.warning("MCP server %s, tool %r: %s", server.redacted_url, name, server.describe_error(error))
            raise ToolError("The tool's server has failed.") from error
        return result_content(result)
