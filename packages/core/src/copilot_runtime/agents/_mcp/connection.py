"""What a run has of one server: its tools, and the session in which they are called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from .._context import RunContext
from .._tools.tool import Tool, ToolError
from . import sdk
from .kept_sessions import KeptSession, KeptSessions
from .program import Program
from .server import MCPServer
from .session_task import DISCONNECTED, SessionTask
from .tool_results import result_content
from .tools import allowed_definitions, build_tool, tool_names

logger = logging.getLogger("copilot_runtime.agents.mcp")

T = TypeVar("T")


def start_session(
    server: MCPServer, settings: Mapping[str, str], client: Any, extensions: sdk.Extensions
) -> SessionTask:
    """Returns a session that opens, with what the server's functions have returned for a run."""
    program = None if server.command is None else Program()
    opened = server.open_session(settings, client, extensions, program)
    return SessionTask(opened, server.label, server.describe_error, program)


class Connection:
    """A server, for the duration of a run. `close` must be called.

    The session is opened for the first request. A server that has lost it gets the request again in a new one, as MCP
    demands of clients, and one that has died is started or connected to again for the next request.
    """

    def __init__(self, server: MCPServer, context: RunContext, extensions: sdk.Extensions = sdk.NO_EXTENSIONS) -> None:
        self.server = server
        self._context = context
        self._extensions = extensions
        self._settings: Mapping[str, str] | None = None
        self._session: SessionTask | None = None
        self._sessions: KeptSessions | None = None
        self._kept: KeptSession | None = None
        """The session, if others of the server's sessions outlast their runs, too."""
        self._opening = asyncio.Lock()
        self._abandoned: list[SessionTask] = []

    async def definitions(self) -> list[sdk.JSONObject]:
        """Returns the allowed ones of the server's tools; none if the server is unavailable."""
        server, seconds = self.server, self.server.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                definitions = await self._list(seconds)
            return allowed_definitions(server, definitions)
        except TimeoutError:
            logger.warning(
                "MCP server %s did not list its tools within %g s; continuing the run without it", server.label, seconds
            )
        except Exception as error:
            logger.warning(
                "MCP server %s is unavailable; continuing the run without it: %s",
                server.label,
                server.describe_error((isinstance(error, ToolError) and error.__cause__) or error),
            )
        self._discard()
        return []

    async def tools(self) -> list[Tool]:
        """Returns the same as tools for a model."""
        definitions = await self.definitions()
        names = tool_names(self.server, definitions)
        return [build_tool(names[each["name"]], each, self._call_for_model) for each in definitions]

    def close(self) -> list[SessionTask]:
        """Ends the use of the session, and returns those that are being closed."""
        if self._sessions is not None and self._kept is not None:
            self._sessions.release(self._kept, self.server.keep)
            self._session = self._kept = None
        self._discard()
        return self._abandoned

    def _discard(self) -> None:
        if self._sessions is not None and self._kept is not None:
            self._sessions.discard(self._kept)
        elif self._session is not None:
            self._session.close()
            self._abandoned.append(self._session)
        self._session = self._kept = None

    async def _call_for_model(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return result_content(await self.call(name, arguments), self.server.max_result_characters)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> sdk.JSONObject:
        """Returns the result of a tool as the server sends it. Raises ToolError if there is none."""
        server, seconds = self.server, self.server.call_timeout_seconds
        try:
            return await self._request(lambda session: session.call_tool(name, arguments), seconds)
        except ToolError:
            raise
        except sdk.Disconnected as error:
            raise ToolError(DISCONNECTED) from error
        except TimeoutError as error:
            raise ToolError(f"The tool server did not respond within {seconds:g} s.") from error
        except Exception as error:
            if (message := sdk.server_message(error)) is not None:
                raise ToolError(message) from error
            logger.warning("MCP server %s, tool %r: %s", server.label, name, server.describe_error(error))
            raise ToolError("The tool server failed.") from error

    async def _list(self, seconds: float) -> list[sdk.JSONObject]:
        try:
            return await self._request(sdk.MCPSession.list_tools, seconds)
        except (sdk.Disconnected, ToolError):
            if self._sessions is None:
                raise
            # A session that has been kept may have ended since; unlike a call, a list can be asked for again.
            return await self._request(sdk.MCPSession.list_tools, seconds)

    async def _request(self, send: Callable[[sdk.MCPSession], Awaitable[T]], seconds: float) -> T:
        session = await self._usable_session()
        try:
            return await session.request(send, seconds)
        except sdk.SessionLost:
            return await (await self._usable_session()).request(send, seconds)

    async def _usable_session(self) -> SessionTask:
        async with self._opening:  # of several calls at once, one opens it
            if self._session is not None and self._session.is_usable:
                return self._session
            reopens = self._session is not None
            self._discard()
            session = self._session = await self._open()
            try:
                async with asyncio.timeout(self.server.connect_timeout_seconds):
                    await session.session()
            except Exception as error:
                if not reopens:
                    raise
                logger.warning(
                    "MCP server %s could not be reached again: %s",
                    self.server.label,
                    self.server.describe_error(error),
                )
                raise ToolError(DISCONNECTED) from error
            return session

    async def _open(self) -> SessionTask:
        server, context = self.server, self._context
        if self._settings is None:
            self._settings = await server.resolve_settings(context)
        settings = self._settings
        client = await server.resolve_client(context)

        def open_session() -> SessionTask:
            return start_session(server, settings, client, self._extensions)

        if not server.keep:
            return open_session()
        owner = None if context.user is None else context.user.owner_key
        key = (owner, frozenset(settings.items()), frozenset(self._extensions))
        self._sessions = await server._kept.get()
        self._kept = self._sessions.acquire(key, open_session)
        return self._kept.session
