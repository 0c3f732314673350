"""Converts Django's requests into the runtime's, and the runtime's responses into Django's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.encoding import repercent_broken_unicode

from copilot_runtime import CopilotRuntime, EventStream, Headers, Request, Response
from copilot_runtime.adapters import RequestBody, decode_headers, environ_headers, split_raw_target, wsgi_body

from ._body import DjangoBody

_GZIP_MIDDLEWARE = "django.middleware.gzip.GZipMiddleware"


def request_target(django_request: HttpRequest, path_below_mount: str | None) -> tuple[str, str]:
    """Returns the path of a request and its root path, percent-encoded.

    Args:
        django_request: the request that Django passed to the view.
        path_below_mount: the decoded path below the mount; None if it is not known.
    """
    raw_target = _raw_target(django_request)
    root_path = (
        django_request.META["SCRIPT_NAME"]
        if path_below_mount is None
        else django_request.path.removesuffix(path_below_mount)
    )
    return split_raw_target(raw_target, _path(django_request, raw_target), root_path.rstrip("/").encode())


def to_request(django_request: HttpRequest, body: bytes | RequestBody, path_below_mount: str | None) -> Request:
    """Returns a request for a `copilot_runtime.CopilotHandler`.

    Args:
        django_request: the request that Django passed to the view.
        body: its body.
        path_below_mount: as for `request_target`.
    """
    path, root_path = request_target(django_request, path_below_mount)
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
        return decode_headers(django_request.scope["headers"])
    return Headers(environ_headers(django_request.META))


def _path(django_request: HttpRequest, raw_target: bytes | str | None) -> bytes:
    """Returns the decoded path.

    Django percent-encodes what is not UTF-8. Only the raw target can tell this from escapes that the client sent.
    """
    path: str = django_request.path
    if not isinstance(raw_target, str) or (raw_target == path and "%" not in path):  # as most: nothing is encoded
        return path.encode()
    decoded = unquote_to_bytes(raw_target.partition("?")[0])
    return decoded if repercent_broken_unicode(decoded).decode() == path else path.encode()


class AsyncChunks:
    """The chunks of a stream. If the client does not read them in time, Django's task that sends them is cancelled."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._chunks = aiter(stream)
        self._first: bytes | None = b""
        """What `read_first` has read, until it is sent."""
        self._task: asyncio.Task[Any] | None = None

    async def read_first(self) -> bool:
        """Reads what a run has ready once its task has had its turn. Returns whether that is all there is."""
        await asyncio.sleep(0)
        self._first = self._stream.source.read_available()
        return self._first is None or self._stream.source.is_at_end

    def __aiter__(self) -> AsyncChunks:
        return self

    async def __anext__(self) -> bytes:
        if self._task is None and (task := asyncio.current_task()) is not None:
            self._task = task
            self._stream.on_stalled(task.cancel)
        if self._first:
            first, self._first = self._first, b""
            return first
        return await anext(self._chunks)

    def close(self) -> None:
        self._chunks.close()


class _StreamResponse(StreamingHttpResponse):
    """A stream whose length is no longer known if middleware puts another content, such as a wrapped one, in its place.

    Other streams have no length, so that middleware does not remove it: a server would cut the content off there.
    """

    def __init__(self, content: Iterable[bytes] | AsyncChunks, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(content, status=status, headers=headers)
        length = headers.get("content-length")
        if length is not None:  # which the content has removed
            self["content-length"] = length

    def _set_streaming_content(self, value: Any) -> None:
        super()._set_streaming_content(value)  # type: ignore[misc]
        del self["Content-Length"]


class _WSGIResponse(HttpResponse):
    """A response whose content leaves in chunks if it is large, whatever middleware has made of it.

    The rest of the request's body is read after it.
    """

    def __init__(
        self,
        content: bytes,
        *,
        status: int,
        headers: Mapping[str, str],
        runtime: CopilotRuntime,
        environ: Mapping[str, Any],
        request_body: bytes | DjangoBody,
    ) -> None:
        super().__init__(content, status=status, headers=headers)
        self._runtime = runtime
        self._environ = environ
        self._request_body = request_body

    def __iter__(self) -> Iterator[bytes]:
        chunks = wsgi_body(self._runtime, self.content, self._environ)
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
        if isinstance(self._request_body, DjangoBody):
            self._request_body.drain()


def to_django_response(
    response: Response,
    django_request: HttpRequest,
    request_body: bytes | DjangoBody,
    runtime: CopilotRuntime,
    chunks: AsyncChunks | None = None,
) -> HttpResponseBase:
    """Returns a response for Django; a stream is iterated as WSGI or ASGI requires it for this request.

    Args:
        response: the runtime's response.
        django_request: the request that Django passed to the view.
        request_body: its body.
        runtime: the runtime that has responded.
        chunks: the chunks of a stream under ASGI, if they have been read from already.
    """
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.wire_headers():
        if name == "set-cookie":
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    status, body = response.status, response.body
    is_asgi = isinstance(django_request, ASGIRequest)
    django_response: HttpResponseBase
    if isinstance(body, EventStream):
        content = (chunks or AsyncChunks(body)) if is_asgi else wsgi_body(runtime, body, django_request.META)
        django_response = _StreamResponse(content, status=status, headers=headers)
        if _GZIP_MIDDLEWARE in settings.MIDDLEWARE:
            django_response["Content-Encoding"] = "identity"  # or Django 5.2 buffers the stream until it ends
    else:
        # A response to HEAD has no content (RFC 9110, section 9.3.2), and WSGI servers do not see to that.
        body = b"" if django_request.method == "HEAD" else body
        django_response = (
            HttpResponse(body, status=status, headers=headers)
            if is_asgi  # Django itself sends it in chunks then
            else _WSGIResponse(
                body,
                status=status,
                headers=headers,
                runtime=runtime,
                environ=django_request.META,
                request_body=request_body,
            )
        )
    if "content-type" not in headers:
        del django_response["Content-Type"]  # Django's default
    for cookie in cookies:
        django_response.cookies.load(cookie)
    return django_response
