"""Ending waits for a client that does not send its body or does not read its response.

WSGI (PEP 3333) has no means for that. Some servers pass the socket on. Shut down for reading, a read that waits returns
at once, and the response can still be sent; reset, a write that waits fails.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from .wait_limits import LimitedWait

IDLE_SECONDS = 0.25
"""How long to wait for a client to send more, once it has the response."""

DRAIN_SECONDS = 1.0
"""How long the rest of a body is still read after the response, by a worker thread."""

DRAIN_BYTES = 32 * 1024 * 1024
"""How much of it. Over HTTP/2 there is no limit."""

_SOCKET_VARIABLES = ("gunicorn.socket", "werkzeug.socket")
"""Where servers put the connection. Other servers do not show it, or have a timeout of their own."""

_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


def _connection(environ: Mapping[str, Any]) -> Any:
    for name in _SOCKET_VARIABLES:
        connection = environ.get(name)
        if connection is not None:
            return connection
    return None


# --- reading the request ---


def request_socket(environ: Mapping[str, Any]) -> Any:
    """Returns the socket of a request, or None if the server does not pass it on, or uses it for several requests."""
    if not str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/1"):
        return None
    return _connection(environ)


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
    return nullcontext() if connection is None else LimitedWait(deadline, lambda: shut_down_reading(connection))


def drain_socket(environ: Mapping[str, Any], read: Callable[[int], bytes] | None) -> None:
    """Reads the rest of a body, within limits, and then nothing more from this connection.

    A client that is still sending when the connection closes never sees the response.

    Args:
        environ: the WSGI environ.
        read: reads from the body; None if it is not known where the body ends, so that nothing that follows may be
            taken for another request.
    """
    connection = request_socket(environ)
    if connection is None:
        if read is not None:
            _discard(read)
        return
    before = connection.gettimeout()
    try:
        connection.settimeout(IDLE_SECONDS)
        deadline = time.monotonic() + DRAIN_SECONDS
        with LimitedWait(lambda: deadline, lambda: shut_down_reading(connection)):
            is_at_end = _discard(read or connection.recv)
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


# --- writing the response ---


def connection_aborter(environ: Mapping[str, Any]) -> Callable[[], None] | None:
    """Returns a function that breaks a request's connection off, from any thread; None if the server has no way to.

    For `copilot_runtime.EventStream.on_stalled`. A worker thread that waits for the client to read gets an error from
    its write, as if the client had disconnected.

    Args:
        environ: the request's WSGI environ.
    """
    # A connection that several requests use (HTTP/2) is broken off, too: its client may hold a thread with each.
    connection = _connection(environ)
    return None if connection is None else partial(_abort, connection)


def _abort(connection: Any) -> None:
    with contextlib.suppress(OSError):  # it may have been closed meanwhile
        # A reset, because the kernel would keep what was written for as long as the client does not read it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
        # gevent's own method makes the write fail in a way that servers take for a fault, and log.
        getattr(connection, "_sock", connection).shutdown(socket.SHUT_RDWR)
