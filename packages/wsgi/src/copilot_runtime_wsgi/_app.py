"""A handler as a WSGI application (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import ClientDisconnected

from copilot_runtime import (
    CopilotHandler,
    CopilotRuntime,
    EventStream,
    build_handler,
    ensure_handler,
)
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime._server.wsgi_checks import WSGIDeploymentChecks

from ._request import Environ, read_environ_body, request_from_environ

App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def create_copilot_wsgi_app(
    *, runtime: CopilotRuntime | None = None, handler: CopilotHandler | None = None, **options: Any
) -> App:
    """A WSGI application that serves a runtime.

    Give a ``runtime`` with the options of `create_copilot_runtime_handler` (``base_path``,
    ``mode``, ``cors``, ``hooks``), or a ready ``handler``. Raises TypeError for both, neither,
    or options beside a handler, and what `create_copilot_runtime_handler` raises.
    """
    return to_wsgi(build_handler(runtime=runtime, handler=handler, options=options))


def to_wsgi(handler: CopilotHandler) -> App:
    """A handler as a WSGI application. Raises TypeError for what is no handler."""
    advice = WSGIDeploymentChecks(ensure_handler(handler).runtime)

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        advice.check(environ)
        try:
            body = read_environ_body(environ, handler.read_limit)
        except ClientDisconnected:
            start_response("400 Bad Request", [])
            return []
        response = run_sync(handler(request_from_environ(environ, body)))
        start_response(status_line(response.status), response.wire_headers())
        if isinstance(response.body, EventStream):
            return iter(response.body)
        # RFC 9110, section 9.3.2: HEAD is answered without content, and WSGI servers leave that to us.
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    return app


def status_line(status: int) -> str:
    """A status with its phrase, which WSGI demands."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"
