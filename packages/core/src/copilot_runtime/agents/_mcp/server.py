"""`MCPServer`: the configuration of a tool server."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, get_args

import httpx2

from ... import _validation as validation
from ..._log_text import one_line
from .._context import RunContext, resolve_for_run
from .._http import request as http_request
from .._http.urls import parse_http_url, redact_url
from .sdk import Transport, require_sdk

HeaderMapping = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class MCPServer:
    """A server whose tools `BuiltInAgent` and `MCPTools` offer to models (extra ``mcp``).

    Args:
        url: the endpoint, such as ``https://tools.example/mcp``.
        headers: sent with every request: a mapping, or a plain or async function that returns one from the RunContext,
            for instance with the user's token.
        transport: ``"sse"`` for servers older than MCP 2025-03-26.
        prefix: prepended to the names of the tools. Of several tools with the same name only the first is offered.
        allowed_tools: the only tools to offer, by the server's names; None for all.
        connect_timeout_seconds: limit for everything before a run's first step: connecting, and listing the tools.
        call_timeout_seconds: limit for one tool call.
        server_id: for `MCPApps`: the name by which apps that a frontend shows find their server again, also when its
            URL has changed.
        agents: for `MCPApps`: the ids of the agents that use this server; None for all.

    Raises:
        ValueError: for an unusable URL, header, transport or timeout.
        TypeError: if ``allowed_tools`` or ``agents`` is not a list of names, or ``server_id`` not a name.
        ImportError: if the extra is not installed.
    """

    url: str
    headers: HeaderMapping | Callable[[RunContext], HeaderMapping | Awaitable[HeaderMapping]] | None = (
        dataclasses.field(default=None, kw_only=True)
    )
    transport: Transport = dataclasses.field(default="streamable-http", kw_only=True)
    prefix: str = dataclasses.field(default="", kw_only=True)
    allowed_tools: Collection[str] | None = dataclasses.field(default=None, kw_only=True)
    connect_timeout_seconds: float = dataclasses.field(default=10.0, kw_only=True)
    call_timeout_seconds: float = dataclasses.field(default=120.0, kw_only=True)
    server_id: str | None = dataclasses.field(default=None, kw_only=True)
    agents: Collection[str] | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _parse(self.url)
        if not callable(self.headers):
            http_request.validate_headers(self.headers)
        validation.check_choice("MCPServer: transport", self.transport, get_args(Transport))
        for name in ("allowed_tools", "agents"):
            if (names := getattr(self, name)) is not None:
                object.__setattr__(self, name, validation.check_names(f"MCPServer: {name}", names))
        if self.server_id is not None and (not isinstance(self.server_id, str) or not self.server_id):
            raise TypeError(f"MCPServer: server_id={self.server_id!r} must be a name, such as 'weather'")
        for name in ("connect_timeout_seconds", "call_timeout_seconds"):
            validation.check_number(f"MCPServer: {name}", getattr(self, name), minimum=_MIN_TIMEOUT_SECONDS)
        require_sdk()

    def __repr__(self) -> str:
        return f"MCPServer({self.redacted_url!r})"

    def describe_error(self, error: BaseException) -> str:
        """Returns an exception in one line, without secrets of the URL."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        url = _parse(self.url)
        text = one_line(f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": "))
        for secret in filter(None, (url.query.decode(), url.userinfo.decode())):
            text = text.replace(secret, "...")
        return text

    @property
    def redacted_url(self) -> str:
        """The URL without its secrets, for logs."""
        return redact_url(_parse(self.url))

    def allows(self, tool: str) -> bool:
        """Returns whether a tool may be offered and called, by the server's name for it."""
        return self.allowed_tools is None or tool in self.allowed_tools

    async def resolve_headers(self, context: RunContext) -> dict[str, str]:
        """Returns the headers of a run. Raises ValueError for unusable ones, and what the function raises."""
        return dict(http_request.validate_headers(await resolve_for_run(self.headers, context)))


def parse_mcp_servers(option: str, value: Any) -> tuple[MCPServer, ...]:
    """Returns the servers of a list. Raises TypeError for anything but a list of `MCPServer` values."""
    name = option.rpartition(" ")[2]
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        example = repr(value) if isinstance(value, MCPServer) else "MCPServer('https://tools.example/mcp')"
        raise TypeError(f"{option}={value!r} must be a list of MCPServer values: write {name}=[{example}]")
    servers = tuple(value)
    for server in servers:
        if not isinstance(server, MCPServer):
            instead = f": write MCPServer({server!r})" if isinstance(server, str) else ""
            raise TypeError(f"{option} must be MCPServer values, got {server!r}{instead}")
    return servers


_MIN_TIMEOUT_SECONDS = 0.001


def _parse(url: str) -> httpx2.URL:
    return parse_http_url(url, "MCPServer: url must be an absolute URL, such as 'https://tools.example/mcp'")
