"""Refuses requests that name a host which the server was not told of.

A page of another site can make its own name resolve to 127.0.0.1 (DNS rebinding) and
is then, for the browser, of the same origin as a server on this machine: no CORS rule
stops it. What it cannot do is to send another ``Host`` than its own name, so a server
that knows its names is safe (RFC 9110, section 7.2; the answer is its section 15.5.20).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# A name or an IPv4 address, or an IPv6 address in its brackets; then perhaps a port.
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/@\[\]*,]+)(?::(?P<port>\d*))?", re.IGNORECASE)


def parse_host(text: str) -> str:
    """A host as a person writes it, in the form that `KnownHosts` compares.

    Takes a name or an IP address, an IPv6 one with or without brackets. Raises
    ValueError, with a sentence for that person, for anything else.
    """
    bracketed = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
    match = _AUTHORITY.fullmatch(bracketed)
    if match is None or match["port"] is not None:
        raise ValueError(f"{text!r} is not a host: write a name or an address alone, such as example.test")
    return match["host"].lower()


class TrustedHostMiddleware:
    """An ASGI application that passes on only what is addressed to one of ``hosts``.

    ``hosts`` are compared without case and without the port. Anything else gets 421 and
    a JSON body that names the option which adds a host. ``lifespan`` is passed on as it is.
    """

    def __init__(self, app: App, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(parse_host(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        named = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        # Exactly one: of two, another part of the stack might go by the one not looked at.
        if len(named) == 1 and _host(named[0]) in self._hosts:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(named, send)
        else:
            await send({"type": "websocket.close"})


def _host(authority: str) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    return None if match is None else match["host"].lower()


async def _refuse(named: list[str], send: Send) -> None:
    host = _host(named[0]) if len(named) == 1 else None
    message = (
        "The request must name one host, in one Host header."
        if host is None
        else f"This server does not answer for the host {host!r}. If that name is yours, add --allow-host {host}"
    )
    body = json.dumps({"error": "Unknown host", "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": body})
