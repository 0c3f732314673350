"""Bodies of responses as adapters send them: in chunks if they are large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._concurrency.driver import run_sync
from .._http.streaming import EventStream
from .._http.types import Response
from .request_socket import connection_aborter
from .runtime import CopilotRuntime

LARGE_BODY_BYTES = 64 * 1024
"""A complete body that is larger is sent in chunks."""


def response_stream(runtime: CopilotRuntime, response: Response) -> EventStream | None:
    """Returns the body of a response as a stream if it is one, or is large; None for a body to send as it is.

    A large body leaves in chunks, so that a client that does not read it makes the server hold little of it. To be
    called on an event loop.

    Args:
        runtime: the runtime that has responded.
        response: its response.
    """
    body = response.body
    if isinstance(body, EventStream):
        return body
    return runtime.engine.open_body(body) if len(body) > LARGE_BODY_BYTES else None


async def _open_body(runtime: CopilotRuntime, body: bytes) -> EventStream:
    return runtime.engine.open_body(body)


def begin_response(response: Response) -> Response:
    """Returns a response as a worker thread sends it: with the length of its stream if that is over at once.

    To be called before the header fields are sent, to which the length belongs. Waits for the first chunk, as a WSGI
    server would do next: it sends no header fields before that.

    Args:
        response: the response of the handler.
    """
    if not isinstance(response.body, EventStream):
        return response
    return response._begin_stream(response.body.begin())


def wsgi_body(runtime: CopilotRuntime, body: bytes | EventStream, environ: Mapping[str, Any]) -> Iterable[bytes]:
    """Returns a body in chunks, which are broken off if the client does not read them in time.

    That takes a server that shows its connection. The iterable has a ``close`` method if it has to be closed.

    Args:
        runtime: the runtime that has responded.
        body: the body of its response.
        environ: the WSGI environ of the request.
    """
    if isinstance(body, EventStream):
        if body.whole is not None:
            return [body.whole]
        stream = body
    elif len(body) > LARGE_BODY_BYTES:
        stream = run_sync(_open_body(runtime, body))
    else:
        return [body]
    abort = connection_aborter(environ)
    if abort is not None:
        stream.on_stalled(abort)
    return iter(stream)
