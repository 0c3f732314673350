"""`MCPServer`: the configuration of a tool server."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, get_args

import httpx2

from ... import _validation as validation
from ..._concurrency.loop_local import LoopLocal
from ..._log_text import one_line
from .._context import RunContext, resolve_for_run
from .._http import request as http_request
from .._http.urls import parse_http_url, redact_url
from . import sdk
from .kept_sessions import KeptSessions
from .program import Program

Settings = Mapping[str, str]

_EXAMPLE = "MCPServer('https://tools.example/mcp')"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class MCPServer:
    """A server whose tools `BuiltInAgent` and `MCPTools` offer to models (extra ``mcp``).

    It is reached at a ``url``, or started with a ``command``, or with a ``client`` that the application has opened.

    Args:
        url: the endpoint, such as ``https://tools.example/mcp``.
        command: a program and its arguments, which is started and spoken to over its standard input and output.
        client: a ``ClientSession`` or ``Client`` of the SDK, which is open and belongs to the event loop of the runs,
            or a plain or async function that returns one from the RunContext. Its owner closes it.
        headers: sent with every request to the URL: a mapping, or a plain or async function that returns one from the
            RunContext, for instance with the user's token.
        env: variables for the environment of the command, beside a few such as ``PATH``: as ``headers``.
        cwd: the working directory of the command.
        transport: ``"sse"`` for servers older than MCP 2025-03-26.
        keep: for how many seconds after a run its session, or the process of the command, stays open for the next run
            of the same user with the same headers or variables; 0 closes it with the run.
        prefix: prepended to the names of the tools. Of several tools with the same name only the first is offered.
        allowed_tools: the only tools to offer, by the server's names; None for all.
        connect_timeout_seconds: limit for everything before a run's first step: connecting, and listing the tools.
        call_timeout_seconds: limit for one tool call.
        max_result_characters: how much of the result of a call the model receives; the rest is cut, and it is told so.
        server_id: for `MCPApps`: the name by which apps that a frontend shows find their server again, also when its
            URL has changed.
        agents: for `MCPApps`: the ids of the agents that use this server; None for all.

    Raises:
        ValueError: for an unusable URL, header, transport or number, and for none or several of ``url``, ``command``
            and ``client``.
        TypeError: if ``command``, ``allowed_tools`` or ``agents`` is not a list of strings, or ``server_id`` not a
            name.
        ImportError: if the extra is not installed.
    """

    url: str | None = None
    _: dataclasses.KW_ONLY
    command: Sequence[str] | None = None
    client: Any = None
    headers: Settings | Callable[[RunContext], Settings | Awaitable[Settings]] | None = None
    env: Settings | Callable[[RunContext], Settings | Awaitable[Settings]] | None = None
    cwd: str | None = None
    transport: sdk.Transport = "streamable-http"
    keep: float = 0
    prefix: str = ""
    allowed_tools: Collection[str] | None = None
    connect_timeout_seconds: float = 10.0
    call_timeout_seconds: float = 120.0
    max_result_characters: int = 100_000
    server_id: str | None = None
    agents: Collection[str] | None = None
    _kept: LoopLocal[KeptSessions] = dataclasses.field(
        default_factory=lambda: LoopLocal(KeptSessions, KeptSessions.aclose), init=False, compare=False
    )

    def __post_init__(self) -> None:
        given = [name for name in ("url", "command", "client") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"MCPServer: exactly one of url, command and client must be set, not {' and '.join(given) or 'none'}: "
                f"write {_EXAMPLE} or MCPServer(command=['python', 'tools.py'])"
            )
        if self.url is not None:
            _parse(self.url)
        if self.command is not None:
            object.__setattr__(self, "command", _parse_command(self.command))
        for name, option, needed in (("headers", self.headers, "url"), ("env", self.env, "command")):
            if option is not None and given != [needed]:
                raise ValueError(f"MCPServer: {name} needs {needed}")
        if self.keep and self.client is not None:
            raise ValueError("MCPServer: keep needs url or command: a client is kept open by its owner")
        if not callable(self.headers):
            http_request.validate_headers(self.headers)
        if not callable(self.env):
            _parse_env(self.env)
        if self.client is not None and not callable(self.client):
            _check_client(self.client)
        validation.check_choice("MCPServer: transport", self.transport, get_args(sdk.Transport))
        for name in ("allowed_tools", "agents"):
            if (names := getattr(self, name)) is not None:
                object.__setattr__(self, name, validation.check_names(f"MCPServer: {name}", names))
        if self.server_id is not None and (not isinstance(self.server_id, str) or not self.server_id):
            raise TypeError(f"MCPServer: server_id={self.server_id!r} must be a name, such as 'weather'")
        for name in ("connect_timeout_seconds", "call_timeout_seconds"):
            validation.check_number(f"MCPServer: {name}", getattr(self, name), minimum=_MIN_TIMEOUT_SECONDS)
        validation.check_number("MCPServer: keep", self.keep, minimum=0)
        validation.check_number("MCPServer: max_result_characters", self.max_result_characters, minimum=1, integer=True)
        sdk.require_sdk()

    def __repr__(self) -> str:
        return f"MCPServer({'' if self.url is not None else 'command=' if self.command else 'client='}{self.label!r})"

    @property
    def label(self) -> str:
        """What the server is called in the log: its URL without secrets, the name of its program, or ``client``."""
        if self.url is not None:
            return redact_url(_parse(self.url))
        return os.path.basename(self.command[0]) if self.command is not None else "client"

    def describe_error(self, error: BaseException) -> str:
        """Returns an exception in one line, without secrets of the URL."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        text = one_line(f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": "))
        if self.url is not None:
            url = _parse(self.url)
            for secret in filter(None, (url.query.decode(), url.userinfo.decode())):
                text = text.replace(secret, "...")
        return text

    def allows(self, tool: str) -> bool:
        """Returns whether a tool may be offered and called, by the server's name for it."""
        return self.allowed_tools is None or tool in self.allowed_tools

    async def resolve_settings(self, context: RunContext) -> Mapping[str, str]:
        """Returns the headers of a run, or the variables of its process.

        Raises ValueError for unusable ones, and what the function raises.
        """
        if self.command is not None:
            return _parse_env(await resolve_for_run(self.env, context))
        return dict(http_request.validate_headers(await resolve_for_run(self.headers, context)))

    async def resolve_client(self, context: RunContext) -> Any:
        """Returns the application's client for a run; None if the server is one to connect to. Raises TypeError."""
        if self.client is None:
            return None
        return _check_client(await resolve_for_run(self.client, context))

    def open_session(
        self, settings: Settings, client: Any, extensions: sdk.Extensions, program: Program | None
    ) -> AbstractAsyncContextManager[sdk.MCPSession]:
        """Returns what opens a session, and closes it on exit.

        Args:
            settings: what `resolve_settings` has returned.
            client: what `resolve_client` has returned.
            extensions: the extensions that the client supports.
            program: becomes the process of the server, if it is one to start.
        """
        if client is not None:
            return nullcontext(sdk.MCPSession(client))
        if self.command is not None:
            assert program is not None
            return sdk.stdio_session(self.command, settings, self.cwd, extensions, self.label, program)
        assert self.url is not None
        seconds = self.connect_timeout_seconds
        return sdk.http_session(self.url, self.transport, seconds, settings, extensions, self.label)

    async def aclose(self) -> None:
        """Closes the running event loop's sessions that are kept.

        Not needed at shutdown: runtimes close all sessions when their server shuts down.
        """
        await self._kept.aclose()


def parse_mcp_servers(option: str, value: Any) -> tuple[MCPServer, ...]:
    """Returns the servers of a list. Raises TypeError for anything but a list of `MCPServer` values."""
    name = option.rpartition(" ")[2]
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        example = repr(value) if isinstance(value, MCPServer) else _EXAMPLE
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


def _parse_command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        instead = f": write command={value.split()!r}" if isinstance(value, str) and value.strip() else ""
        raise TypeError(f"MCPServer: command={value!r} must be a list of a program and its arguments{instead}")
    command = tuple(os.fspath(part) if isinstance(part, os.PathLike) else part for part in value)
    if not command or not all(isinstance(part, str) for part in command):
        raise TypeError(f"MCPServer: command={value!r} must be a list of a program and its arguments, all strings")
    return command


def _parse_env(value: Any) -> Mapping[str, str]:
    env = {} if value is None else value
    if not isinstance(env, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) and "\0" not in name + text and "=" not in name
        for name, text in env.items()
    ):
        raise ValueError("MCPServer: env must be a mapping of names to strings")  # which may be secrets
    return dict(env)


def _check_client(client: Any) -> Any:
    if not callable(getattr(client, "list_tools", None)) or not callable(getattr(client, "call_tool", None)):
        raise TypeError(
            f"MCPServer: client must be an open mcp.ClientSession or mcp.Client, or a function that returns one, not "
            f"{type(client).__name__}"
        )
    return client
