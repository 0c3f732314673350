"""The official SDK, of which two lines are in use: 1.x, which some frameworks still pin, and 2.x.

They name the members of what servers say differently, so that is read in wire form, which
is the same in both. The package is imported by name, when first needed: it is an extra.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...._optional.optional_imports import import_optional
from ..._http.clients import default_client

if TYPE_CHECKING:
    from .server import MCPServer

JSONObject = Mapping[str, Any]
"""A message, or a part of one, with the names that the protocol gives to its members."""


@functools.cache
def require_sdk() -> Any:
    """The SDK. Raises ImportError, which says what to install."""
    for part in ("mcp.client.sse", "mcp.client.streamable_http"):
        import_optional(part, by="MCPServer", extra="mcp")
    return import_optional("mcp", by="MCPServer", extra="mcp")


def mcp_error_type() -> type[Exception]:
    """What the SDK raises where a request was answered with an error, or its connection is closed."""
    mcp = require_sdk()
    return getattr(mcp, "MCPError", None) or mcp.McpError  # type: ignore[no-any-return]  # 2.x, 1.x


class MCPSession:
    """What is used of an open session. Everything raises what the SDK and its HTTP client raise."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def tools(self) -> list[JSONObject]:
        """All tools, however many pages they come in."""
        page = _dump(await self._client.list_tools())
        tools = list(page["tools"])
        while cursor := page.get("nextCursor"):
            page = _dump(await self._client.list_tools(cursor=cursor))
            tools += page["tools"]
        return tools

    async def call(self, name: str, arguments: Mapping[str, Any]) -> JSONObject:
        """The result of a tool."""
        return _dump(await self._client.call_tool(name, dict(arguments)))


@asynccontextmanager
async def session(server: MCPServer, headers: Mapping[str, str]) -> AsyncGenerator[MCPSession]:
    """Opens a session, and closes it at the end: to be entered and left in the same task."""
    mcp = require_sdk()

    def http(**_: Any) -> Any:
        client = default_client() if _is_2(mcp) else import_module("httpx").AsyncClient(verify=_tls())
        client.headers.update(headers)
        # Silence is no failure: what is waited for is bounded as a whole, by who waits.
        client.timeout = (server.connect_timeout_seconds, None, None, None)
        return client

    async with AsyncExitStack() as stack:
        if server.transport == "sse":
            streams = mcp.client.sse.sse_client(server.url, httpx_client_factory=http)
        else:
            client = await stack.enter_async_context(http())
            streams = mcp.client.streamable_http.streamable_http_client(server.url, http_client=client)
        if _is_2(mcp):
            yield MCPSession(await stack.enter_async_context(mcp.Client(streams, cache=None)))
            return
        read, write, *_ = await stack.enter_async_context(streams)
        opened = await stack.enter_async_context(mcp.ClientSession(read, write))
        await opened.initialize()
        yield MCPSession(opened)


def _is_2(mcp: Any) -> bool:
    return hasattr(mcp, "Client")


def _dump(model: Any) -> JSONObject:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)  # type: ignore[no-any-return]


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
