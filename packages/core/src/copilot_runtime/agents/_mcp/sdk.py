"""The official SDK, of which two major versions are supported: 1.x, which some frameworks still pin, and 2.x.

They name the attributes of what servers send differently, so it is read as JSON on the wire, which is the same in
both. The package is optional, so it is imported on first use.
"""

from __future__ import annotations

import functools
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

import anyio
from pydantic import ValidationError

from ..._optional.optional_imports import import_optional
from .._http.clients import default_client
from .program import Program
from .wire_repair import WireRepair

JSONObject = Mapping[str, Any]
"""A message on the wire, or a part of one."""

Transport = Literal["streamable-http", "sse"]

Extensions = Mapping[str, Mapping[str, Any]]
"""The protocol's extensions that a client supports: their settings by identifier."""

NO_EXTENSIONS: Extensions = MappingProxyType({})


@functools.cache
def require_sdk() -> Any:
    """Returns the SDK. Raises ImportError with the command that installs it."""
    for module in ("mcp.client.sse", "mcp.client.streamable_http"):
        import_optional(module, feature="MCPServer", extra="mcp")
    return import_optional("mcp", feature="MCPServer", extra="mcp")


def mcp_error_type() -> type[Exception]:
    """Returns the class that the SDK raises for an error response and for a closed connection."""
    mcp = require_sdk()
    return getattr(mcp, "MCPError", None) or mcp.McpError  # type: ignore[no-any-return]  # 2.x, 1.x


def server_message(error: Exception) -> str | None:
    """Returns the message of a server's error response; None for other errors, whose texts are for logs only."""
    if not isinstance(error, mcp_error_type()) or error.error.code in _UNUSABLE_RESPONSE:  # type: ignore[attr-defined]
        return None
    return str(error)


class SessionLost(Exception):
    """The server has no such session any more, and so has not carried out the request: it has to be sent again."""


class Disconnected(Exception):
    """The connection has closed, before or during the request."""


class MCPSession:
    """An open session. Its methods raise what the SDK and its HTTP client raise, SessionLost and Disconnected.

    Args:
        client: a ``ClientSession``, or a ``Client`` of 2.x.
        repair: what repairs the messages that it receives; None for a client of the application.
    """

    def __init__(self, client: Any, repair: WireRepair | None = None) -> None:
        self._client = client
        self._session = getattr(client, "session", client)  # 2.x, 1.x
        self._repair = repair
        self.is_lost = False
        """Whether it is of no use any more: the server does not know it, or the connection has closed."""
        if repair is not None:
            for name in ("validate_tool_result", "_validate_tool_result"):  # 2.x, 1.x
                if hasattr(self._session, name):
                    setattr(self._session, name, _accept_result)

    async def list_tools(self) -> list[JSONObject]:
        """Returns the tools of all pages."""
        try:
            return await self._list_tools()
        except ValidationError:
            if self._repair is None or self._repair.replaces_tools:
                raise
            self._repair.replaces_tools = True
            return await self._list_tools()

    async def _list_tools(self) -> list[JSONObject]:
        definitions = {} if self._repair is None else self._repair.definitions
        tools: dict[str, JSONObject] = {}
        cursors = set[str]()
        options: dict[str, str] = {}
        while True:
            page = _dump(await self._request(self._client.list_tools(**options)))
            for tool in page["tools"]:
                tools.setdefault(tool["name"], definitions.get(tool["name"], tool))
            cursor = page.get("nextCursor")
            if not cursor or cursor in cursors:
                return list(tools.values())
            cursors.add(cursor)
            options = {"cursor": cursor}

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> JSONObject:
        """Returns the result of a tool call."""
        return _dump(await self._request(self._client.call_tool(name, dict(arguments))))

    async def _request(self, response: Awaitable[Any]) -> Any:
        try:
            return await response
        except mcp_error_type() as error:
            code: int = error.error.code  # type: ignore[attr-defined]
            # With 404 a server also says that it does not know a method.
            if self.is_lost and code != _METHOD_NOT_FOUND:
                raise SessionLost("the server has lost the session") from error
            if (code, str(error)) != _CONNECTION_CLOSED:
                raise
            self.is_lost = True
            raise Disconnected(str(error)) from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self.is_lost = True
            raise Disconnected("the connection has closed") from error

    async def read_resource(self, uri: str) -> JSONObject:
        """Returns the contents of a resource."""
        return _dump(await self._request(self._client.read_resource(uri)))

    async def log(self, params: Mapping[str, Any]) -> None:
        """Sends a ``notifications/message``."""
        message = require_sdk().types.LoggingMessageNotification.model_validate(
            {"method": "notifications/message", "params": params}
        )
        await self._session.send_notification(message)

    async def ping(self) -> None:
        """Returns once the server has answered."""
        try:
            await self._session.send_ping()
        except mcp_error_type() as error:
            # The protocol has no ping any more since 2026-07-28, and a server that says so has answered.
            if error.error.code != _METHOD_NOT_FOUND:  # type: ignore[attr-defined]
                raise


# JSON-RPC 2.0, section 5.1
_METHOD_NOT_FOUND = -32601
_CONNECTION_CLOSED = (-32000, "Connection closed")
"""The SDK's own error, whose code servers use for errors of theirs."""
_UNUSABLE_RESPONSE = (-32700, -32600)
"""Parse Error and Invalid Request: the SDK's own words about a response, with an excerpt of it or where it leads."""


@asynccontextmanager
async def http_session(
    url: str,
    transport: Transport,
    connect_timeout_seconds: float,
    headers: Mapping[str, str],
    extensions: Extensions,
    label: str,
) -> AsyncGenerator[MCPSession]:
    """Opens a session over HTTP, and closes it on exit. Has to be entered and exited in the same task."""
    mcp = require_sdk()
    lost = _LostSessions()

    def create_client(**_: Any) -> Any:
        client = default_client() if _is_2(mcp) else import_module("httpx").AsyncClient(verify=_ssl_context())
        client.headers.update(headers)
        # No read timeout: servers may be silent, and the caller limits each operation as a whole.
        client.timeout = (connect_timeout_seconds, None, None, None)
        client.event_hooks = {"response": [lost.note]}
        return client

    async with AsyncExitStack() as stack:
        if transport == "sse":
            streams = mcp.client.sse.sse_client(url, httpx_client_factory=create_client)
        else:
            client = await stack.enter_async_context(create_client())
            streams = mcp.client.streamable_http.streamable_http_client(url, http_client=client)
        lost.session = await _enter(stack, streams, extensions, label)
        yield lost.session


@asynccontextmanager
async def stdio_session(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
    extensions: Extensions,
    label: str,
    started: Program,
) -> AsyncGenerator[MCPSession]:
    """Starts a server as a process, and ends it on exit. Has to be entered and exited in the same task."""
    stdio = import_optional("mcp.client.stdio", feature="MCPServer", extra="mcp")
    program, *arguments = command
    parameters = stdio.StdioServerParameters(command=program, args=arguments, env=dict(env), cwd=cwd)
    async with AsyncExitStack() as stack:
        streams = started.guard(stdio.stdio_client(parameters, errlog=_stderr()))
        yield await _enter(stack, streams, extensions, label)


class _LostSessions:
    """Notes that a server has responded with 404 to a request with the id of a session."""

    session: MCPSession | None = None

    async def note(self, response: Any) -> None:
        """Called with each response."""
        if response.status_code == 404 and "mcp-session-id" in response.request.headers and self.session is not None:
            self.session.is_lost = True


async def _enter(stack: AsyncExitStack, transport: Any, extensions: Extensions, label: str) -> MCPSession:
    mcp = require_sdk()
    repair = WireRepair(label)
    if _is_2(mcp):
        supported = [mcp.client.advertise(name, dict(settings)) for name, settings in extensions.items()]
        repaired = _repaired(transport, repair)
        return MCPSession(
            await stack.enter_async_context(mcp.Client(repaired, cache=None, extensions=supported)), repair
        )
    read, write, *_ = await stack.enter_async_context(transport)
    client_session = await stack.enter_async_context(mcp.ClientSession(repair.wrap(read), write))
    if extensions:
        _advertise(mcp, client_session, extensions)
    await client_session.initialize()
    return MCPSession(client_session, repair)


@asynccontextmanager
async def _repaired(transport: Any, repair: WireRepair) -> AsyncGenerator[tuple[Any, Any]]:
    async with transport as (read, write):
        yield repair.wrap(read), write


async def _accept_result(name: str, result: Any) -> None:
    """Takes the place of the SDK's check of a result with its tool's schema: its tool has run, so the model sees it."""


def _stderr() -> Any:
    """Returns where a server's process writes its log: this process's own, unless that is no file."""
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL
    return sys.stderr


def _is_2(mcp: Any) -> bool:
    return hasattr(mcp, "Client")


def _advertise(mcp: Any, session: Any, extensions: Extensions) -> None:
    """Has a session of 1.x, which knows no extensions, advertise some when it is initialized."""
    send_request = session.send_request

    async def send(request: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(request.root, mcp.types.InitializeRequest):
            request.root.params.capabilities.extensions = {name: dict(each) for name, each in extensions.items()}
        return await send_request(request, *arguments, **options)

    session.send_request = send


def _dump(model: Any) -> JSONObject:
    """Returns a result in the form that both lines of the protocol share."""
    result: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in _SESSION_MEMBERS:
        result.pop(name, None)
    if (meta := result.get("_meta")) is not None and meta.keys() <= _SESSION_META:
        del result["_meta"]
    return result


_SESSION_MEMBERS = ("resultType", "ttlMs", "cacheScope")
_SESSION_META = {"io.modelcontextprotocol/serverInfo"}
"""What MCP 2026-07-28 adds to each result, which is for the session that it is the result of."""


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()
