"""Converts Django's requests into the runtime's, and the runtime's responses into Django's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.encoding import repercent_broken_unicode

from copilot_runtime import CopilotRuntime, EventStream, Headers, Request, Response
from copilot_runtime.adapters import RequestBody, split_raw_target, wsgi_body

from ._body import DjangoBody

_GZIP_MIDDLEWARE = "django.middleware.gzip.GZipMiddleware"


def to_request(django_request: HttpRequest, body: RequestBody, path_below_mount: str | None) -> Request:
    """Returns a request for a `copilot_runtime.CopilotHandler`.

    Args:
        django_request: the request that Django passed to the view.
        body: its body.
        path_below_mount: the decoded path below the mount; None if it is not known.
    """
    raw_target = _raw_target(django_request)
    root_path = (
        django_request.META["SCRIPT_NAME"]
        if path_below_mount is None
        else django_request.path.removesuffix(path_below_mount)
    )
    path, root_path = split_raw_target(raw_target, _path(django_request, raw_target), root_path.rstrip("/").encode())
    return Request(
        method=django_request.META["REQUEST_METHOD"],
        path=path,
        root_path=root_path,
        query_string=django_request.META.get("QUERY_STRING", ""),
        headers=_headers(django_request),
        body=body,
        native=django_request,
    )


def _raw_target(django_request: HttpRequest) -> bytes | str | None:
    if isinstance(django_request, ASGIRequest):
        raw_path: bytes | None = django_request.scope.get("raw_path")
        return raw_path
    return django_request.META.get("RAW_URI") or django_request.META.get("REQUEST_URI")


def _headers(django_request: HttpRequest) -> Headers:
    if isinstance(django_request, ASGIRequest):
        raw_headers = django_request.scope["headers"]
        return Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw_headers)
    # If a request lacks these two, WSGI servers set them to an empty string; other headers may be empty on purpose.
    may_be_missing = ("Content-Type", "Content-Length")
    items = django_request.headers.items()
    return Headers((name.lower(), value) for name, value in items if value or name not in may_be_missing)


def _path(django_request: HttpRequest, raw_target: bytes | str | None) -> bytes:
    """Returns the decoded path.

    Django percent-encodes what is not UTF-8. Only the raw target can tell this from escapes that the client sent.
    """
    decoded = unquote_to_bytes(raw_target.partition("?")[0]) if isinstance(raw_target, str) else b""
    is_same = repercent_broken_unicode(decoded).decode() == django_request.path
    return decoded if is_same else django_request.path.encode()


class _AsyncChunks:
    """The chunks of a stream. If the client does not read them in time, Django's task that sends them is cancelled."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._chunks = aiter(stream)
        self._task: asyncio.Task[Any] | None = None

    def __aiter__(self) -> _AsyncChunks:
        return self

    async def __anext__(self) -> bytes:
        if self._task is None and (task := asyncio.current_task()) is not None:
            self._task = task
            self._stream.on_stalled(task.cancel)
        return await anext(self._chunks)

    def close(self) -> None:
        self._chunks.close()


class _WSGIResponse(HttpResponse):
    """A response whose content leaves in chunks if it is large, whatever middleware has made of it.

    The rest of the request's body is read after it.
    """

    def __init__(
        self, response: Response, runtime: CopilotRuntime, environ: Mapping[str, Any], request_body: DjangoBody
    ) -> None:
        super().__init__(response.body, status=response.status)
        self._runtime = runtime
        self._environ = environ
        self._request_body = request_body

    def __iter__(self) -> Iterator[bytes]:
        chunks = wsgi_body(self._runtime, Response(body=self.content), self._environ)
        close = getattr(chunks, "close", None)
        if close is not None:
            self._resource_closers.append(close)  # type: ignore[attr-defined]
        return iter(chunks)

    def __reduce__(self) -> tuple[Any, ...]:
        # What a cache stores is the response to other requests, on other connections.
        state = vars(self).copy()
        for name in ("_runtime", "_environ", "_request_body"):
            del state[name]
        return HttpResponse, (), state

    def close(self) -> None:
        super().close()
        self._request_body.drain()


def to_django_response(
    response: Response, django_request: HttpRequest, request_body: DjangoBody, runtime: CopilotRuntime
) -> HttpResponseBase:
    """Returns a response for Django; a stream is iterated as WSGI or ASGI requires it for this request."""
    django_response: HttpResponseBase
    is_asgi = isinstance(django_request, ASGIRequest)
    if isinstance(response.body, EventStream):
        content = _AsyncChunks(response.body) if is_asgi else wsgi_body(runtime, response, django_request.META)
        django_response = StreamingHttpResponse(content, status=response.status)
        if _GZIP_MIDDLEWARE in settings.MIDDLEWARE:
            django_response["Content-Encoding"] = "identity"  # or Django 5.2 buffers the stream until it ends
    else:
        # A response to HEAD has no content (RFC 9110, section 9.3.2), and WSGI servers do not see to that.
        body = b"" if django_request.method == "HEAD" else response.body
        django_response = (
            HttpResponse(body, status=response.status)
            if is_asgi  # Django itself sends it in chunks then
            else _WSGIResponse(response.replace(body=body), runtime, django_request.META, request_body)
        )
    del django_response["Content-Type"]
    for name, value in response.wire_headers():
        if name == "set-cookie":
            django_response.cookies.load(value)
        else:
            django_response[name] = f"{django_response[name]}, {value}" if name in django_response else value
    return django_response
