"""The body of a WSGI request, which is read when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Any

from copilot_runtime import FormPart
from copilot_runtime.adapters import (
    BodyLimits,
    SyncBody,
    drain_socket,
    limit_socket_wait,
    may_have_body,
    read_chunks,
)

Environ = dict[str, Any]


def environ_body(environ: Environ, limits: BodyLimits) -> bytes | EnvironBody:
    """Returns the body of a WSGI request: ``b""`` if it has none, and one that is read when it is needed otherwise.

    Whatever else reads ``wsgi.input`` from then on, such as the framework's own request, gets the same bytes.

    Args:
        environ: the WSGI environ.
        limits: what `copilot_runtime.CopilotHandler.body_limits` says.
    """
    if may_have_body(environ):
        return EnvironBody(environ, limits)
    environ["wsgi.input"] = BytesIO()
    environ["wsgi.input_terminated"] = True
    return b""


class EnvironBody(SyncBody):
    """The body of a WSGI request that may have one: what `environ_body` returns for it."""

    def __init__(self, environ: Environ, limits: BodyLimits) -> None:
        self._environ: Environ | None = environ
        """None once the body has been read: it is the input of the environ, which would refer to itself."""
        self._stream = _bounded_input(environ)
        super().__init__(
            limits, read_chunks(self._stream.read, self.next_size), watch=partial(limit_socket_wait, environ)
        )
        environ["wsgi.input"] = _LazyInput(self)
        environ["wsgi.input_terminated"] = True

    def drain(self) -> None:
        """Reads what the client is still sending, within limits. To be called when the response has been sent."""
        environ = self._environ
        if environ is not None:
            drain_socket(environ, None if self.is_unreadable else self._stream.read)

    def _finish(self, form: tuple[FormPart, ...] | None = None) -> bytes:
        self._environ = None
        return super()._finish(form)


def _bounded_input(environ: Environ) -> Any:
    """Returns a stream that ends where the body does."""
    if "wsgi.input_terminated" in environ:
        return environ["wsgi.input"]
    # At the first body under a server that does not end its input: the package takes 90 ms to import.
    from werkzeug.wsgi import get_input_stream

    return get_input_stream(environ)


class _LazyInput:
    """A ``wsgi.input`` (PEP 3333) that reads the body when it is first used."""

    def __init__(self, body: EnvironBody) -> None:
        self._body = body
        self._file: BytesIO | None = None

    def __getattr__(self, name: str) -> Any:
        if self._file is None:
            self._file = BytesIO(self._body.read_blocking())
        return getattr(self._file, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")
