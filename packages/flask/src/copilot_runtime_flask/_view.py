"""A handler as a Flask view."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from flask import Flask, Request, Response, current_app, request
from werkzeug.exceptions import ClientDisconnected, HTTPException

from copilot_runtime import (
    CopilotHandler,
    EventStream,
    FormPart,
    ensure_handler,
    make_form_parts,
)
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime._concurrency.framework import FrameworkContext
from copilot_runtime._server.wsgi_checks import WSGIDeploymentChecks
from copilot_runtime_wsgi import read_environ_body, request_from_environ, status_line


class FlaskContext(FrameworkContext):
    """Each run gets an application context of its own: the request's is popped long before the run ends."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def handles_exception(self, error: Exception) -> bool:
        return isinstance(error, HTTPException)  # what abort() raises, for the application's error handlers

    def sync_agent_scope(self) -> AbstractContextManager[object]:
        return self._app.app_context()

    @asynccontextmanager
    async def async_agent_scope(self) -> AsyncIterator[None]:
        with self._app.app_context():
            yield


def copilot_view(handler: CopilotHandler, *, path_kwarg: str | None = None) -> Callable[..., Response]:
    """A view function, for rules of your own: ``app.add_url_rule(rule, view_func=copilot_view(handler), methods=...)``.

    ``rest`` names the URL variable, if any, for all that follows the mount; without it the
    mount is the handler's ``base_path``, or anywhere. Raises TypeError for what is no handler.
    """
    advice = WSGIDeploymentChecks(ensure_handler(handler).runtime)

    def view(**values: str) -> Response:
        advice.check(request.environ)
        try:
            body = _body(request, handler.read_limit)
        except (ClientDisconnected, OSError):  # servers say by the latter what is wrong with a body
            return _response(400, [], b"")
        incoming = request_from_environ(
            request.environ,
            body,
            "" if path_kwarg is None else request.path.removesuffix(values.get(path_kwarg, "")).rstrip("/"),
            form=None if body else _form(request),
            body_limit=request.max_content_length,
            native=request._get_current_object(),  # type: ignore[attr-defined]
        )
        response = run_sync(handler(incoming), FlaskContext(current_app._get_current_object()))  # type: ignore[attr-defined]
        content = iter(response.body) if isinstance(response.body, EventStream) else response.body
        return _response(response.status, response.wire_headers(), content)

    return view


def _body(incoming: Request, limit: int) -> bytes:
    """The body, whether or not the application has read it; of what is too long, more than Flask's own limit."""
    if "stream" in vars(incoming):  # a cached property: it is there once anybody has begun to read
        return incoming.get_data()
    most = incoming.max_content_length
    return read_environ_body(incoming.environ, limit if most is None else min(limit, most + 1))


def _form(incoming: Request) -> tuple[FormPart, ...] | None:
    """The parts of a form that the application has read, which leaves no body."""
    if incoming.mimetype != "multipart/form-data":
        return None
    files = ((name, file.filename, file) for name, file in incoming.files.items(multi=True))
    return make_form_parts(incoming.form.items(multi=True), files)


def _response(status: int, fields: list[tuple[str, str]], content: Any) -> Response:
    # A stream is passed through: whoever asked for its data would wait for its end.
    is_stream = not isinstance(content, bytes)
    response = current_app.response_class(content, status_line(status), direct_passthrough=is_stream)
    response.headers.clear()
    response.headers.extend(fields)
    return response
