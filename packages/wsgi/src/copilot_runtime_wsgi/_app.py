"""A handler as a WSGI application (PEP 3333)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Unpack, overload

from copilot_runtime import CopilotHandler, CopilotRuntime
from copilot_runtime.adapters import (
    HandlerOptions,
    WSGIDeploymentChecks,
    begin_response,
    build_handler,
    ensure_handler,
    run_sync,
    wsgi_body,
)

from ._environ_body import Environ, EnvironBody, environ_body
from ._request import environ_target, request_from_environ

WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


@overload
def create_copilot_wsgi_app(*, runtime: CopilotRuntime, **options: Unpack[HandlerOptions]) -> WSGIApp: ...
@overload
def create_copilot_wsgi_app(*, handler: CopilotHandler) -> WSGIApp: ...
def create_copilot_wsgi_app(
    *, runtime: CopilotRuntime | None = None, handler: CopilotHandler | None = None, **options: Unpack[HandlerOptions]
) -> WSGIApp:
    """Returns a WSGI application that serves a runtime.

    Args:
        runtime: the runtime to serve, with the options of `create_copilot_runtime_handler`.
        handler: a handler to serve instead, which takes no options.
        **options: ``base_path``, ``mode``, ``cors``, ``hooks`` and ``playground`` of
            `create_copilot_runtime_handler`.

    Raises:
        TypeError: for both a runtime and a handler, neither, or a handler with options; and as
            `create_copilot_runtime_handler` does.
        ValueError: as `create_copilot_runtime_handler` does.
    """
    return to_wsgi(build_handler(runtime=runtime, handler=handler, options=options))


def to_wsgi(handler: CopilotHandler) -> WSGIApp:
    """Returns a WSGI application that serves a handler.

    Args:
        handler: what `create_copilot_runtime_handler` returned.

    Raises:
        TypeError: if ``handler`` is not a handler.
    """
    deployment_checks = WSGIDeploymentChecks(ensure_handler(handler).runtime)

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        deployment_checks.check(environ)
        body = environ_body(environ, handler.body_limits)
        response = None
        if isinstance(body, bytes):
            response = handler.respond_at_once(environ["REQUEST_METHOD"], *environ_target(environ))
        if response is None:
            response = begin_response(run_sync(handler(request_from_environ(environ, body))))
        start_response(status_line(response.status), response.wire_headers())
        # A response to HEAD has no content (RFC 9110, section 9.3.2), and WSGI servers do not see to that.
        has_content = environ["REQUEST_METHOD"] != "HEAD" or not isinstance(response.body, bytes)
        content = wsgi_body(handler.runtime, response.body if has_content else b"", environ)
        return content if isinstance(body, bytes) or body.is_read else DrainedResponse(content, body)

    return app


class DrainedResponse:
    """The content of a response, after which the server has the rest of the request's body read."""

    def __init__(self, content: Iterable[bytes], body: EnvironBody) -> None:
        self._content = content
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._content)

    def close(self) -> None:
        """Called by the server when it has sent the content (PEP 3333)."""
        close = getattr(self._content, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._body.drain()


@functools.cache
def status_line(status: int) -> str:
    """Returns a status code with its reason phrase, which WSGI requires: ``200 OK``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"
