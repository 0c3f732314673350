"""What an app asks of its server, answered without an agent.

The frontend sends it as ``forwardedProps.__proxiedMCPRequest`` of a run, and expects the server's response as the
result of that run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ...agents._context import RunContext
from ...agents._mcp import MCPServer, sdk
from ...agents._mcp.connection import start_session
from ...agents._mcp.kept_sessions import close_all
from ...agents._mcp.session_task import SessionTask
from ...agents._tools.tool import ToolError
from .._generative_ui_names import PROXIED_MCP_REQUEST
from .apps import find_server
from .extension import EXTENSIONS, logger, may_call

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

JSONObject = Mapping[str, Any]


class ProxiedRequest(NamedTuple):
    """What an app asks of its server."""

    server_id: str | None
    server_hash: str | None
    method: str
    params: JSONObject

    @classmethod
    def parse(cls, value: object) -> Self:
        """Returns a request from its wire form. Raises ValueError, whose text says what to send instead."""
        if not isinstance(value, Mapping):
            raise ValueError(f"forwardedProps.{PROXIED_MCP_REQUEST} must be an object")
        request = cls(
            _member(value, "serverId", str, None),
            _member(value, "serverHash", str, None),
            _member(value, "method", str),
            _member(value, "params", Mapping, {}),
        )
        for name, kind, is_required in _PARAMS.get(request.method, ()):
            _member(request.params, name, kind, *(() if is_required else (None,)), root="params.")
        return request


_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")  # RFC 5424, section 6.2.1
_TYPES: Mapping[Any, str] = {
    str: "a string",
    Mapping: "an object",
    object: "given",
    _LEVELS: f"one of {', '.join(_LEVELS)}",
}
_PARAMS: Mapping[str, Sequence[tuple[str, Any, bool]]] = {
    "tools/call": (("name", str, True), ("arguments", Mapping, False)),
    "resources/read": (("uri", str, True),),
    "notifications/message": (("level", _LEVELS, True), ("data", object, True), ("logger", str, False)),
}
"""The parameters of each method: their names, their types or possible values, and whether they are required."""


def _member(members: JSONObject, name: str, kind: Any, *default: Any, root: str = "") -> Any:
    value = members.get(name)
    if value is None and default:
        return default[0]
    is_one = value in kind if isinstance(kind, tuple) else isinstance(value, kind)
    if not is_one or name not in members:
        raise ValueError(f"forwardedProps.{PROXIED_MCP_REQUEST}.{root}{name} must be {_TYPES[kind]}")
    return value


class ProxiedRequestAgent:
    """Answers a request of an app, in the place of the agent of its run.

    Args:
        servers: the servers of the agent.
        request: the request.
    """

    def __init__(self, servers: Sequence[MCPServer], request: ProxiedRequest) -> None:
        self._servers = servers
        self._request = request

    async def run(self, input: RunAgentInput, context: RunContext) -> AsyncGenerator[JSONObject]:
        """Yields a run whose result is the server's response, or says why there is none."""
        run = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **run}
        try:
            result = await self._respond(context)
        except ToolError as error:
            result = {"error": str(error)}
            if self._request.method == "tools/call":  # as an app expects it, which would take anything else for success
                result.update(content=[{"type": "text", "text": str(error)}], isError=True)
        yield {"type": "RUN_FINISHED", **run, "result": result}

    async def _respond(self, context: RunContext) -> JSONObject:
        request = self._request
        server = find_server(self._servers, request.server_id, request.server_hash)
        if server is None:
            raise ToolError(f"Unknown server: {request.server_id or request.server_hash or 'none is named'}")
        call = _METHODS.get(request.method)
        if call is None:
            raise ToolError(f"Error: apps may not use the method {request.method}; they may use {', '.join(_METHODS)}")
        try:
            return await _call(server, context, lambda session: call(session, server, request.params))
        except ToolError:
            raise
        except TimeoutError as error:
            raise ToolError("The tool server did not respond in time.") from error
        except Exception as error:
            if (message := sdk.server_message(error)) is not None:
                raise ToolError(message) from error
            logger.warning("MCP server %s, %s: %s", server.label, request.method, server.describe_error(error))
            raise ToolError("The tool server failed.") from error


async def _call(
    server: MCPServer, context: RunContext, call: Callable[[sdk.MCPSession], Awaitable[JSONObject]]
) -> JSONObject:
    """Returns what ``call`` returns in a session that is opened for it and closed after it, and raises what it does."""
    session: SessionTask | None = None
    try:
        async with asyncio.timeout(server.connect_timeout_seconds):
            settings, client = await server.resolve_settings(context), await server.resolve_client(context)
            session = start_session(server, settings, client, EXTENSIONS)
            await session.session()
        return await session.request(call, server.call_timeout_seconds)
    finally:
        if session is not None:
            session.close()
            await close_all([session])


async def _call_tool(session: sdk.MCPSession, server: MCPServer, params: JSONObject) -> JSONObject:
    name = params["name"]
    tool = next((each for each in await session.list_tools() if each["name"] == name), None)
    if not server.allows(name) or (tool is not None and not may_call("app", tool)):
        raise ToolError(f"Apps may not call the tool {name}.")
    return await session.call_tool(name, params.get("arguments") or {})


async def _read_resource(session: sdk.MCPSession, server: MCPServer, params: JSONObject) -> JSONObject:
    return await session.read_resource(params["uri"])


async def _log(session: sdk.MCPSession, server: MCPServer, params: JSONObject) -> JSONObject:
    await session.log(params)
    return {"success": True}


async def _ping(session: sdk.MCPSession, server: MCPServer, params: JSONObject) -> JSONObject:
    await session.ping()
    return {}


_METHODS: Mapping[str, Callable[[sdk.MCPSession, MCPServer, JSONObject], Awaitable[JSONObject]]] = {
    "tools/call": _call_tool,
    "resources/read": _read_resource,
    "notifications/message": _log,
    "ping": _ping,
}
"""What apps may ask of a server."""
