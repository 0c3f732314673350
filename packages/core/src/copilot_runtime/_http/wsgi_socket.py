"""Breaking off a response that a WSGI server is sending, for which WSGI (PEP 3333) has no means."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

_SOCKET_VARIABLES = ("gunicorn.socket", "werkzeug.socket")
"""Where servers put the connection. Other servers do not tell it, or have a timeout of their own."""

_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


def connection_aborter(environ: Mapping[str, Any]) -> Callable[[], None] | None:
    """Returns a function that breaks a request's connection off, from any thread; None if the server has no way to.

    For `copilot_runtime.EventStream.on_stalled`. A worker thread that waits for the client to read gets an error from
    its write, as if the client had disconnected.

    Args:
        environ: the request's WSGI environ.
    """
    for name in _SOCKET_VARIABLES:
        connection = environ.get(name)
        if connection is not None:
            return partial(_abort, connection)
    return None


def _abort(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have been closed meanwhile
        # A reset, because the kernel would keep what was written for as long as the client does not read it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
        # gevent's own method makes the write fail in a way that servers take for a fault, and log.
        getattr(connection, "_sock", connection).shutdown(socket.SHUT_RDWR)
