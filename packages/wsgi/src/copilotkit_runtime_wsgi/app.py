"""A handler as a WSGI application (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_input_stream

from copilotkit_runtime import (
    CopilotHandler,
    CopilotRuntime,
    EventStream,
    Headers,
    Request,
    checked_handler,
    handler_for,
    raw_target,
)
from copilotkit_runtime.bridge import drive

from .advice import Advice

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_CONNECTED = b": connected\n\n"
_PIECE = 64 * 1024


def create_copilot_wsgi_app(
    *, runtime: CopilotRuntime | None = None, handler: CopilotHandler | None = None, **options: Any
) -> App:
    """A WSGI application that serves a runtime.

    Give a ``runtime`` with the options of `create_copilot_runtime_handler` (``base_path``,
    ``mode``, ``cors``, ``hooks``), or a ready ``handler``. Raises TypeError for both, neither,
    or options beside a handler, and what `create_copilot_runtime_handler` raises.
    """
    return to_wsgi(handler_for(runtime=runtime, handler=handler, options=options))


def to_wsgi(handler: CopilotHandler) -> App:
    """A handler as a WSGI application. Raises TypeError for what is no handler."""
    advice = Advice(checked_handler(handler).runtime)

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        advice.look(environ)
        try:
            request = _request(environ, handler.read_limit)
        except ClientDisconnected:
            start_response("400 Bad Request", [])
            return []
        response = drive(handler(request))
        start_response(_status(response.status), response.fields())
        if isinstance(response.body, EventStream):
            return Body(response.body)
        # RFC 9110, section 9.3.2: HEAD is answered without content, and WSGI servers leave that to us.
        return [] if request.method == "HEAD" else [response.body]

    return app


class Body:
    """A stream as a WSGI body: an iterator whose ``close`` works even before its first step."""

    def __init__(self, stream: EventStream) -> None:
        self._chunks = stream.__iter__()
        self._is_first = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._is_first:
            # A server holds the headers back until the first chunk (PEP 3333, "Handling of
            # Headers"), and the agent may take its time.
            self._is_first = False
            return self._chunks.ready() or _CONNECTED
        return self._chunks.__next__()

    def close(self) -> None:
        self._chunks.close()


def _request(environ: Environ, limit: int) -> Request:
    # PEP 3333: these strings are bytes, decoded as latin-1.
    mount = environ.get("SCRIPT_NAME", "").encode("latin-1")
    path, prefix = raw_target(
        environ.get("RAW_URI") or environ.get("REQUEST_URI"),
        mount + environ.get("PATH_INFO", "").encode("latin-1"),
        mount,
    )
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        mount=prefix,
        query=environ.get("QUERY_STRING", ""),
        headers=Headers(_headers(environ)),
        body=_body(environ, limit),
        native=environ,
    )


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield name.replace("_", "-").lower(), value


def _body(environ: Environ, limit: int) -> bytes:
    stream = get_input_stream(environ)
    body = stream.read(limit)
    # What is too long is read on for a while all the same: a client that is still sending
    # when the connection closes never sees the answer.
    left = limit
    while len(body) == limit and left > 0 and (piece := stream.read(min(left, _PIECE))):
        left -= len(piece)
    return body


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"
