"""Runs an ASGI application on uvicorn for the command line.

Imported only once a command needs it, since uvicorn is not a dependency of the core.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable

import uvicorn

from .trusted_hosts import (
    LOCAL_HOSTS,
    App,
    TrustedHostMiddleware,
    parse_host,
)

# How long open streams may delay the end after Ctrl+C, in seconds. uvicorn waits for them
# without limit otherwise, and tells the application only once they are gone.
_GRACEFUL_SHUTDOWN_SECONDS = 2

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}

_WHY_NOT = {
    errno.EADDRINUSE: "Port {port} on {host} is in use. Stop what listens there, or choose another with --port.",
    errno.EACCES: "Port {port} on {host} needs more rights than this process has. Choose one above 1023 with --port.",
    errno.EADDRNOTAVAIL: "This machine has no address {host}. Choose another with --host.",
}


class BindError(Exception):
    """The address cannot be listened on; its text is a sentence for the person who asked."""


def serve(app: App, *, host: str, port: int, allow_hosts: Iterable[str], greeting: str) -> bool:
    """Serves ``app`` until it is interrupted; True if it could start.

    ``greeting`` is printed once the server is up, with ``{url}`` replaced by its address.
    ``port`` 0 takes a free one. Requests are held to `KnownHosts`: the local names,
    ``host`` and ``allow_hosts``. Raises `CannotListenError`.
    """
    guarded = TrustedHostMiddleware(app, (*LOCAL_HOSTS, host, *allow_hosts))
    with _listen(host, port) as listener:
        url = _url(parse_host(host), listener.getsockname()[1])
        config = uvicorn.Config(
            guarded,
            lifespan="on",
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
        )
        server = _Server(config, greeting.replace("{url}", url))
        # uvicorn raises the signal again after its orderly end; a traceback would tell nobody anything.
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


def _listen(host: str, port: int) -> socket.socket:
    bare = host.removeprefix("[").removesuffix("]")
    try:
        family, *_, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        sentence = _WHY_NOT.get(error.errno or 0, "Cannot listen on {host}, port {port}: {reason}.")
        raise BindError(sentence.format(host=host, port=port, reason=error.strerror)) from error


def _url(host: str, port: int) -> str:
    # A browser cannot open "any address"; it can open the local one, which is one of them.
    return f"http://{_ANY_ADDRESS.get(host, host)}:{port}"
