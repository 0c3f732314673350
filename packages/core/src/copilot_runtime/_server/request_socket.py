"""Waits for a client that is sending a body, and what ends them.

WSGI has no way to read with a timeout. Some servers pass the socket on, which can be shut down for reading: then a read
that waits returns at once, and the response can still be sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .wait_limits import limit_wait

IDLE_SECONDS = 0.25
"""How long to wait for a client to send more, once it has the response."""

DRAIN_SECONDS = 1.0
"""How long the rest of a body is still read after the response."""

DRAIN_BYTES = 32 * 1024 * 1024
"""How much of it."""

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


def request_socket(environ: Mapping[str, Any]) -> Any:
    """Returns the socket of a request, or None if the server does not pass it on, or uses it for several requests."""
    if not str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/1"):
        return None
    return next((environ[name] for name in _SOCKETS if name in environ), None)


def shut_down_reading(connection: Any) -> None:
    """Ends a read that waits on a socket, in whichever thread, and all later ones."""
    with contextlib.suppress(OSError, ValueError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        # Of the duplicate, since `SSLSocket.shutdown` would end the encryption of what is still to be sent.
        duplicate.shutdown(socket.SHUT_RD)


def limit_socket_wait(environ: Mapping[str, Any], deadline: Callable[[], float]) -> AbstractContextManager[object]:
    """Returns a context in which a read ends at a deadline, if the server allows for it.

    Args:
        environ: the WSGI environ.
        deadline: returns the deadline, by the monotonic clock.
    """
    connection = request_socket(environ)
    return nullcontext() if connection is None else limit_wait(deadline, lambda: shut_down_reading(connection))


def drain_socket(environ: Mapping[str, Any], read: Callable[[int], bytes]) -> None:
    """Reads the rest of a body, within limits, and then nothing more from this connection.

    A client that is still sending when the connection closes never sees the response.

    Args:
        environ: the WSGI environ.
        read: reads from the body.
    """
    connection = request_socket(environ)
    if connection is None:
        _discard(read)
        return
    before = connection.gettimeout()
    try:
        connection.settimeout(IDLE_SECONDS)
        deadline = time.monotonic() + DRAIN_SECONDS
        with limit_wait(lambda: deadline, lambda: shut_down_reading(connection)):
            is_at_end = _discard(read)
        if not is_at_end:
            shut_down_reading(connection)  # or the server would read on, before it looks for another request
        connection.settimeout(before)
    except OSError:
        pass


def _discard(read: Callable[[int], bytes]) -> bool:
    """Returns whether the end of the body has been reached."""
    size = 0
    try:
        while size < DRAIN_BYTES:
            chunk = read(64 * 1024)
            if not chunk:
                return True
            size += len(chunk)
    except Exception:  # servers and frameworks differ in what they raise for a body that ends early
        pass
    return False


def may_have_body(environ: Mapping[str, Any]) -> bool:
    """Returns whether a request may have a body, as far as its WSGI environ tells."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return bool(str(length).strip("0"))
    return "HTTP_TRANSFER_ENCODING" in environ or not str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/1")
