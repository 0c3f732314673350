"""Bodies as WSGI (PEP 3333) requires them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from .._concurrency.driver import run_sync
from .._http.types import Response
from .request_socket import connection_aborter
from .runtime import CopilotRuntime


def wsgi_body(runtime: CopilotRuntime, response: Response, environ: Mapping[str, Any]) -> Iterable[bytes]:
    """Returns the body of a response in chunks, which are broken off if the client does not read them in time.

    That takes a server that shows its connection. The iterable has a ``close`` method if it has to be closed.

    Args:
        runtime: the runtime that has responded.
        response: its response.
        environ: the WSGI environ of the request.
    """
    stream = run_sync(runtime.body_stream(response))
    if stream is None:
        return [cast(bytes, response.body)]
    abort = connection_aborter(environ)
    if abort is not None:
        stream.on_stalled(abort)
    return iter(stream)
