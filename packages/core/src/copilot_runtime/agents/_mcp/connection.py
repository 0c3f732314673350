"""The session with one server, for the duration of a run.

It has a task of its own, which opens, holds and closes it: the SDK's cancel scopes have to be exited in the task that
entered them, but a run may be closed from any task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from .._context import RunContext
from .._tools.tool import Tool, ToolError
from . import sdk
from .server import MCPServer
from .tool_results import result_content
from .tools import allowed_definitions, build_tool

logger = logging.getLogger("copilot_runtime.agents.mcp")

_DISCONNECTED = "The tool server disconnected."


class Connection:
    """A session that opens on the running loop as soon as it is constructed. `close` must be called."""

    def __init__(self, server: MCPServer, context: RunContext, extensions: sdk.Extensions = sdk.NO_EXTENSIONS) -> None:
        self.server = server
        self._extensions = extensions
        self._session: asyncio.Future[sdk.MCPSession] = asyncio.get_running_loop().create_future()
        self._definitions: list[sdk.JSONObject] = []
        self._call_timeouts: set[asyncio.Timeout] = set()
        self._close_requested = asyncio.Event()
        self._task = asyncio.create_task(self._run(context))

    async def definitions(self) -> list[sdk.JSONObject]:
        """Waits for the server's list of tools and returns the allowed ones; none if the server is unavailable."""
        await asyncio.wait((self._task, self._session), return_when=asyncio.FIRST_COMPLETED)
        return self._definitions

    async def tools(self) -> list[Tool]:
        """Returns the same as tools for a model."""
        return [build_tool(self.server, definition, self._call_for_model) for definition in await self.definitions()]

    def close(self) -> asyncio.Task[None]:
        """Requests the session to close, and returns the task that closes it."""
        if self._session.done():
            self._close_requested.set()
        else:
            self._task.cancel()
        return self._task

    async def _run(self, context: RunContext) -> None:
        server, seconds = self.server, self.server.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds) as timeout:
                headers = await server.resolve_headers(context)
                async with sdk.session(server.url, server.transport, seconds, headers, self._extensions) as session:
                    self._definitions = allowed_definitions(server, await session.list_tools())
                    timeout.reschedule(None)
                    self._session.set_result(session)
                    await self._close_requested.wait()
        except TimeoutError:
            logger.warning(
                "MCP server %s did not list its tools within %g s; continuing the run without it",
                server.redacted_url,
                seconds,
            )
        except Exception as error:
            if self._session.done():
                logger.warning(
                    "MCP server %s disconnected during a run: %s", server.redacted_url, server.describe_error(error)
                )
            else:
                logger.warning(
                    "MCP server %s is unavailable; continuing the run without it: %s",
                    server.redacted_url,
                    server.describe_error(error),
                )
        finally:
            # The SDK's 1.x never completes a call whose connection was closed.
            for timeout in self._call_timeouts:
                if not timeout.expired():
                    timeout.reschedule(asyncio.get_running_loop().time())

    async def _call_for_model(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return result_content(await self.call(name, arguments))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> sdk.JSONObject:
        """Returns the result of a tool as the server sends it. Raises ToolError if there is none."""
        server, seconds = self.server, self.server.call_timeout_seconds
        if self._task.done():
            raise ToolError(_DISCONNECTED)
        try:
            async with asyncio.timeout(seconds) as timeout:
                self._call_timeouts.add(timeout)
                try:
                    return await self._session.result().call_tool(name, arguments)
                finally:
                    self._call_timeouts.discard(timeout)
        except TimeoutError as error:
            timed_out = f"The tool server did not respond within {seconds:g} s."
            raise ToolError(_DISCONNECTED if self._task.done() else timed_out) from error
        except Exception as error:
            if (message := sdk.server_message(error)) is not None:
                raise ToolError(message) from error
            logger.warning("MCP server %s, tool %r: %s", server.redacted_url, name, server.describe_error(error))
            raise ToolError("The tool server failed.") from error
