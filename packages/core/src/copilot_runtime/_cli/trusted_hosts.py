"""Rejects requests for unknown hosts, which protects a local server from DNS rebinding.

A page of another site can make its own name resolve to 127.0.0.1 (DNS rebinding). For the browser it then has the same
origin as a server on this machine, and no CORS rule stops it. But it cannot send a ``Host`` header with any other than
its own name, so a server that checks the header is safe (RFC 9110, sections 7.2 and 15.5.20).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copilot_runtime_asgi._asgi_types import ASGIApp, Receive, Scope, Send

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# A name or an IPv4 address, or an IPv6 address in brackets; optionally a port.
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/@\[\]*,]+)(?::(?P<port>\d*))?", re.IGNORECASE)


def parse_host(text: str) -> str:
    """Returns a host in the form that `TrustedHostMiddleware` compares: lower case, IPv6 addresses in brackets.

    Args:
        text: a name or an IP address; an IPv6 address with or without brackets.

    Raises:
        ValueError: for anything else, with a message for the user of the command line.
    """
    bracketed = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
    match = _AUTHORITY.fullmatch(bracketed)
    if match is None or match["port"] is not None:
        raise ValueError(f"{text!r} is not a host: write only a name or an address, such as example.test")
    return match["host"].lower()


class TrustedHostMiddleware:
    """ASGI middleware that passes on only requests whose ``Host`` is one of ``hosts``.

    Hosts are compared case-insensitively and without the port. Any other request is answered with 421 and a JSON body
    that names the option to allow the host. Lifespan events are passed on.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(parse_host(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        authorities = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        # Exactly one: of two, another part of the stack might use the one that was not checked.
        host = _host_of(authorities[0]) if len(authorities) == 1 else None
        if host in self._hosts:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _reject(host, send)
        else:
            await send({"type": "websocket.close"})


def _host_of(authority: str) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    return None if match is None else match["host"].lower()


async def _reject(host: str | None, send: Send) -> None:
    message = (
        "The request must have exactly one valid Host header."
        if host is None
        else f"Requests for the host {host!r} are not allowed. If it is a name of this server, add --allow-host {host}"
    )
    body = json.dumps({"error": "Unknown host", "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": body})
