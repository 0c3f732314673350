"""The body of a WSGI request."""

from __future__ import annotations

import gc
import weakref
from io import BytesIO
from typing import Any

from copilot_runtime._http.body_limits import BodyBudget, BodyLimits
from copilot_runtime_wsgi import EnvironBody, environ_body

LIMITS = BodyLimits(max_bytes=100, timeout_seconds=30, budget=BodyBudget(100))


class Connection:
    """What a server puts into an environ."""


def test_environ_is_freed_with_its_request_once_the_body_has_been_read() -> None:
    """At once, and not by the garbage collector: it has the body, and whatever the server and middleware put there."""
    connection = Connection()
    left = weakref.ref(connection)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": "4",
        "wsgi.input": BytesIO(b"body"),
        "wsgi.input_terminated": True,
        "a.connection": connection,
    }
    body = environ_body(environ, LIMITS)
    assert isinstance(body, EnvironBody)
    assert body.read_blocking() == b"body"
    assert environ["wsgi.input"].read() == b"body"
    body.drain()
    gc.disable()
    try:
        del connection, environ
        assert left() is None
    finally:
        gc.enable()
    assert body.is_read
