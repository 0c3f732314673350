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
from typing import Any, Literal

from ...._optional.optional_imports import import_optional
from ..._http.clients import default_client

JSONObject = Mapping[str, Any]
"""A message on the wire, or a part of one."""

Transport = Literal["streamable-http", "sse"]


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


class MCPSession:
    """An open session. Its methods raise what the SDK and its HTTP client raise."""

    def __init__(self, client: Any) -> None:
        self._client = client

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


@asynccontextmanager
async def session(
    url: str, transport: Transport, connect_timeout_seconds: float, headers: Mapping[str, str]
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
            yield MCPSession(await stack.enter_async_context(mcp.Client(streams, cache=None)))
            return
        read, write, *_ = await stack.enter_async_context(streams)
        client_session = await stack.enter_async_context(mcp.ClientSession(read, write))
        await client_session.initialize()
        yield MCPSession(client_session)


def _is_2(mcp: Any) -> bool:
    return hasattr(mcp, "Client")


def _dump(model: Any) -> JSONObject:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)  # type: ignore[no-any-return]


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()
