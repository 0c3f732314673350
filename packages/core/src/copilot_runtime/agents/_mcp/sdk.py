"""The official SDK, of which two major versions are supported: 1.x, which some frameworks still pin, and 2.x.

They name the attributes of what servers send differently, so it is read as JSON on the wire, which is the same in
both. The package is optional, so it is imported on first use.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

from ..._optional.optional_imports import import_optional
from .._http.clients import default_client

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


class MCPSession:
    """An open session. Its methods raise what the SDK and its HTTP client raise."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._session = getattr(client, "session", client)  # 2.x, 1.x

    async def list_tools(self) -> list[JSONObject]:
        """Returns the tools of all pages."""
        page = _dump(await self._client.list_tools())
        tools = list(page["tools"])
        while cursor := page.get("nextCursor"):
            page = _dump(await self._client.list_tools(cursor=cursor))
            tools += page["tools"]
        return tools

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> JSONObject:
        """Returns the result of a tool call."""
        return _dump(await self._client.call_tool(name, dict(arguments)))

    async def read_resource(self, uri: str) -> JSONObject:
        """Returns the contents of a resource."""
        return _dump(await self._client.read_resource(uri))

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
_UNUSABLE_RESPONSE = (-32700, -32600)
"""Parse Error and Invalid Request: the SDK's own words about a response, with an excerpt of it or where it leads."""


@asynccontextmanager
async def session(
    url: str,
    transport: Transport,
    connect_timeout_seconds: float,
    headers: Mapping[str, str],
    extensions: Extensions = NO_EXTENSIONS,
) -> AsyncGenerator[MCPSession]:
    """Opens a session, and closes it on exit. Has to be entered and exited in the same task."""
    mcp = require_sdk()

    def create_client(**_: Any) -> Any:
        client = default_client() if _is_2(mcp) else import_module("httpx").AsyncClient(verify=_ssl_context())
        client.headers.update(headers)
        # No read timeout: servers may be silent, and the caller limits each operation as a whole.
        client.timeout = (connect_timeout_seconds, None, None, None)
        return client

    async with AsyncExitStack() as stack:
        if transport == "sse":
            streams = mcp.client.sse.sse_client(url, httpx_client_factory=create_client)
        else:
            client = await stack.enter_async_context(create_client())
            streams = mcp.client.streamable_http.streamable_http_client(url, http_client=client)
        if _is_2(mcp):
            supported = [mcp.client.advertise(name, dict(settings)) for name, settings in extensions.items()]
            yield MCPSession(await stack.enter_async_context(mcp.Client(streams, cache=None, extensions=supported)))
            return
        read, write, *_ = await stack.enter_async_context(streams)
        client_session = await stack.enter_async_context(mcp.ClientSession(read, write))
        if extensions:
            _advertise(mcp, client_session, extensions)
        await client_session.initialize()
        yield MCPSession(client_session)


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
