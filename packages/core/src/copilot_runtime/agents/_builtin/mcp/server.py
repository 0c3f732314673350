"""`MCPServer`: where a server is, and how it is to be spoken to."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal, get_args

import httpx2

from .... import _validation as validation
from ..._context import RunContext, resolve_for_run
from ..._http import request as http_request
from ..._http.urls import parse_http_url, redact_url
from . import sdk

HeaderMapping = Mapping[str, str]
Transport = Literal["streamable-http", "sse"]


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class MCPServer:
    """A server whose tools a `BuiltInAgent` offers to its model.

    ``url`` is the endpoint, such as ``https://tools.example/mcp``. ``headers`` are sent with
    every request: a mapping, or a function of the run's context that gives one, plain or
    async, with which a user's token is passed on. ``transport`` is ``"sse"`` for servers older
    than MCP 2025-03-26.

    ``prefix`` is put before the names of the tools: of two with one name only the first is
    offered. ``allowed_tools``, where given, are the only ones offered, by the server's names.

    ``connect_timeout_seconds`` bounds what comes before a run's first step: connecting, and
    listing the tools. ``call_timeout_seconds`` bounds one call of a tool.

    Raises ValueError and TypeError for what could never work, and ImportError where the
    extra ``mcp`` is not installed.
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

    def __post_init__(self) -> None:
        _parsed(self.url)
        if not callable(self.headers):
            http_request.validate_headers(self.headers)
        validation.check_choice("MCPServer: transport", self.transport, get_args(Transport))
        if self.allowed_tools is not None:
            object.__setattr__(
                self, "allowed_tools", validation.check_names("MCPServer: allowed_tools", self.allowed_tools)
            )
        for name in ("connect_timeout_seconds", "call_timeout_seconds"):
            validation.check_number(f"MCPServer: {name}", getattr(self, name), minimum=_LEAST_SECONDS)
        sdk.require_sdk()

    def __repr__(self) -> str:
        return f"MCPServer({self.redacted_url!r})"

    def describe_error(self, error: BaseException) -> str:
        """An exception in one line, without what may be secret in the URL."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        url = _parsed(self.url)
        text = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
        for secret in filter(None, (url.query.decode(), url.userinfo.decode())):
            text = text.replace(secret, "...")
        return text

    @property
    def redacted_url(self) -> str:
        """The URL without what may be secret in it, for logs."""
        return redact_url(_parsed(self.url))

    async def headers_for(self, context: RunContext) -> dict[str, str]:
        """The headers of a run. Raises ValueError for ones that cannot be sent, and what the function raises."""
        return dict(http_request.validate_headers(await resolve_for_run(self.headers, context)))


_LEAST_SECONDS = 0.001


def _parsed(url: str) -> httpx2.URL:
    return parse_http_url(url, "MCPServer needs an absolute URL, such as 'https://tools.example/mcp'")
