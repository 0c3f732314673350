"""A handler as a Flask view."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from flask import Flask, Request, Response, current_app, request
from werkzeug.exceptions import HTTPException

from copilot_runtime import CopilotHandler, EventStream, FormPart
from copilot_runtime.adapters import (
    FrameworkContext,
    WSGIDeploymentChecks,
    begin_response,
    ensure_handler,
    make_form_parts,
    run_sync,
    wsgi_body,
)
from copilot_runtime_wsgi import EnvironBody, environ_body, environ_target, request_from_environ, status_line

from ._playground import refuse_playground_in_production


class FlaskContext(FrameworkContext):
    """Gives each run an application context of its own, because that of the request is popped long before."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def handles_exception(self, error: Exception) -> bool:
        return isinstance(error, HTTPException)  # raised by abort(), for the application's error handlers

    def sync_agent_scope(self) -> AbstractContextManager[object]:
        return self._app.app_context()

    @asynccontextmanager
    async def async_agent_scope(self) -> AsyncIterator[None]:
        with self._app.app_context():
            yield


def copilot_view(handler: CopilotHandler, *, path_kwarg: str | None = None) -> Callable[..., Response]:
    """Returns a view function for URL rules of your own.

    ``app.add_url_rule("/chat/<path:rest>", "chat", copilot_view(handler, path_kwarg="rest"), methods=[...])``

    Args:
        handler: what `create_copilot_runtime_handler` returned.
        path_kwarg: the name of the URL variable, if any, that holds the path below the mount. Without it, the
            handler's ``base_path`` says where the runtime is mounted.

    Raises:
        TypeError: if ``handler`` is not a handler.
    """
    deployment_checks = WSGIDeploymentChecks(ensure_handler(handler).runtime)

    def view(**url_variables: str) -> Response:
        # Each access to a member of these two looks the object up again.
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        flask_request: Request = request._get_current_object()  # type: ignore[attr-defined]
        environ = flask_request.environ
        if handler.has_playground:
            refuse_playground_in_production(handler, app)
        deployment_checks.check(environ)
        try:
            body, form = _read_body(flask_request, handler)
        except OSError:  # servers raise it for a body that cannot be read
            return _response(app, 400, [], [])
        mount_path = ""
        if path_kwarg is not None:
            mount_path = flask_request.path.removesuffix(url_variables.get(path_kwarg, "")).rstrip("/")
        response = None
        if body == b"" and form is None:
            response = handler.respond_at_once(environ["REQUEST_METHOD"], *environ_target(environ, mount_path))
        if response is None:
            limit = flask_request.max_content_length
            copilot_request = request_from_environ(
                environ, body, mount_path, form=form, body_limit=limit, native=flask_request
            )
            response = begin_response(run_sync(handler(copilot_request), FlaskContext(app)))
        content = wsgi_body(handler.runtime, response.body, environ)
        is_stream = isinstance(response.body, EventStream)
        flask_response = _response(app, response.status, response.wire_headers(), content, is_stream=is_stream)
        if isinstance(body, EnvironBody) and not body.is_read:
            flask_response.call_on_close(body.drain)
        return flask_response

    return view


def _read_body(
    flask_request: Request, handler: CopilotHandler
) -> tuple[bytes | EnvironBody, tuple[FormPart, ...] | None]:
    """Returns the body, even if the application has read it already, and the parts of a form that it has read."""
    if "stream" in vars(flask_request):  # a cached property, set as soon as anything has begun to read
        data = flask_request.get_data()
        return data, None if data else _form_parts(flask_request)
    return environ_body(flask_request.environ, handler.body_limits), None


def _form_parts(flask_request: Request) -> tuple[FormPart, ...] | None:
    """Returns the parts of a form that the application has read, which leaves no body."""
    if flask_request.mimetype != "multipart/form-data":
        return None
    files = ((name, file.filename, file) for name, file in flask_request.files.items(multi=True))
    return make_form_parts(flask_request.form.items(multi=True), files)


def _response(
    app: Flask, status: int, headers: list[tuple[str, str]], content: Iterable[bytes], *, is_stream: bool = False
) -> Response:
    # A stream is passed through: code that asked for its data would wait for its end.
    response_class: Any = app.response_class
    if is_stream:
        response_class = _stream_class(response_class)
    response: Response = response_class(content, status_line(status), headers, direct_passthrough=is_stream)
    if not any(name == "content-type" for name, _ in headers):
        del response.headers["Content-Type"]  # Werkzeug's default
    return response


@functools.cache
def _stream_class(response_class: Any) -> Any:
    """Returns a class for streams, whose length is not sent if ``after_request`` puts another content in its place.

    Such as a wrapped one: most streams have no length to remove, and a server would cut the content off there.
    """

    class StreamResponse(response_class):  # type: ignore[misc]
        def __init__(self, content: Iterable[bytes], *values: Any, **options: Any) -> None:
            super().__init__(content, *values, **options)
            self._content = content
            self._length = self.headers.get("content-length")

        def get_wsgi_headers(self, environ: Any) -> Any:
            if self.response is not self._content and self.headers.get("content-length") == self._length:
                self.headers.remove("content-length")
            return super().get_wsgi_headers(environ)

    return StreamResponse
