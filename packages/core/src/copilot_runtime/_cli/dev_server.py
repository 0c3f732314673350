"""Runs an ASGI application on uvicorn, for the command line.

Imported only when a command needs it, because uvicorn is not a dependency of the core.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

import uvicorn

from .trusted_hosts import LOCAL_HOSTS, TrustedHostMiddleware, parse_host

if TYPE_CHECKING:
    from copilot_runtime_asgi._asgi_types import ASGIApp

# How long open streams may delay the shutdown after Ctrl+C. By default uvicorn waits for them without limit, and sends
# the application its shutdown event only afterwards.
_GRACEFUL_SHUTDOWN_SECONDS = 2

# A browser cannot open the address that stands for all addresses, but it can open the loopback address.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}

_BIND_ERRORS = {
    errno.EADDRINUSE: "Port {port} on {host} is already in use. Stop that server, or choose another port with --port.",
    errno.EACCES: "Port {port} on {host} requires more privileges. Choose a port above 1023 with --port.",
    errno.EADDRNOTAVAIL: "This machine has no address {host}. Choose another with --host.",
}


class BindError(Exception):
    """The server cannot listen on its address. The text is a message for the user."""


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    allow_hosts: Iterable[str],
    greeting: str,
    listener: socket.socket | None = None,
) -> bool:
    """Serves ``app`` until it is interrupted.

    Args:
        app: the application. Only requests for a local host name, ``host`` or one of ``allow_hosts`` reach it.
        host: the address to bind.
        port: the port to bind; 0 picks a free one.
        allow_hosts: additional host names of this server.
        listener: a socket that listens there already.
        greeting: printed once the server is running, with ``{url}`` replaced by its URL.

    Returns:
        Whether the server could start.

    Raises:
        BindError: if it cannot listen on the address.
    """
    guarded_app = TrustedHostMiddleware(app, (*LOCAL_HOSTS, host, *allow_hosts))
    with listener or listen(host, port) as listener:
        url = _url(parse_host(host), listener.getsockname()[1])
        config = uvicorn.Config(
            guarded_app,
            lifespan="on",
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
        )
        server = _Server(config, greeting.replace("{url}", url))
        # uvicorn raises the signal again after a graceful shutdown; the traceback would be of no use.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
        return server.started


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._greeting, flush=True)


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens on an address. Raises BindError."""
    unbracketed = host.removeprefix("[").removesuffix("]")
    try:
        family, *_, address = socket.getaddrinfo(unbracketed, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        message = _BIND_ERRORS.get(error.errno or 0, "Cannot listen on {host}, port {port}: {reason}.")
        raise BindError(message.format(host=host, port=port, reason=error.strerror)) from error


def _url(host: str, port: int) -> str:
    return f"http://{_LOOPBACK.get(host, host)}:{port}"
