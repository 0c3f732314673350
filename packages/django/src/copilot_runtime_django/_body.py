"""The body of a Django request, which is read when it is first needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException

from copilot_runtime import FormPart
from copilot_runtime.adapters import (
    BodyLimits,
    SyncBody,
    drain_socket,
    limit_socket_wait,
    make_form_parts,
    may_have_body,
    read_chunks,
)


def django_body(django_request: HttpRequest, limits: BodyLimits) -> bytes | DjangoBody:
    """Returns the body of a request: ``b""`` if it has none, and one that is read when it is needed otherwise.

    Args:
        django_request: the request that Django passed to the view.
        limits: what `copilot_runtime.CopilotHandler.body_limits` says.
    """
    return DjangoBody(django_request, limits) if may_have_body(django_request.META) else b""


class DjangoBody(SyncBody):
    """The body of a Django request that may have one.

    Args:
        django_request: the request that Django passed to the view.
        limits: what `copilot_runtime.CopilotHandler.body_limits` says.
    """

    def __init__(self, django_request: HttpRequest, limits: BodyLimits) -> None:
        self._request = django_request
        self._is_unused = not vars(django_request).get("_read_started", False)
        # Under ASGI, Django calls views when it has received the whole body, and keeps it in a file if it is large.
        is_local = isinstance(django_request, ASGIRequest)
        super().__init__(
            limits,
            self._read_source(),
            read_form=lambda: _form_parts(django_request),
            is_local=is_local,
            is_in_memory=is_local and _is_small(django_request),
            watch=partial(limit_socket_wait, django_request.META),
        )

    def _read_source(self) -> Iterator[bytes]:
        if not self._is_unused:
            with contextlib.suppress(RawPostDataException):  # middleware has read something else than `body`
                yield self._request.body
                return
        yield from read_chunks(_reader(self._request), self.next_size)

    def _finish(self, form: tuple[FormPart, ...] | None = None) -> bytes:
        data = super()._finish(form)
        django_limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if self._is_unused and (django_limit is None or len(data) <= django_limit):
            # As `request.body` does, which hooks and middleware can use then. It would read the whole body with a
            # single call, during which nothing can tell a slow client from one that sends nothing.
            vars(self._request).update(_body=data, _stream=BytesIO(data))
        return data

    def drain(self) -> None:
        """Reads what the client is still sending, within limits. To be called when the response has been sent."""
        if not self.is_read and not isinstance(self._request, ASGIRequest):
            drain_socket(self._request.META, None if self.is_unreadable else _reader(self._request))


def _is_small(django_request: HttpRequest) -> bool:
    """Returns whether Django has kept a body in memory that it has received as a whole."""
    length = str(django_request.META.get("CONTENT_LENGTH") or "")
    return length.isdecimal() and int(length[:20]) <= settings.FILE_UPLOAD_MAX_MEMORY_SIZE


def _has_length(django_request: HttpRequest) -> bool:
    return bool(django_request.META.get("CONTENT_LENGTH"))


def _reader(django_request: HttpRequest) -> Callable[[int], bytes]:
    # Under WSGI, Django considers a body without a length (a chunked one) to be empty.
    is_chunked = not _has_length(django_request) and django_request.META.get("wsgi.input_terminated")
    read: Callable[[int], bytes] = django_request.META["wsgi.input"].read if is_chunked else django_request.read
    return read


def _form_parts(django_request: HttpRequest) -> tuple[FormPart, ...] | None:
    try:
        posted = django_request.POST
    except (MultiPartParserError, SuspiciousOperation):
        return None  # nothing has consumed the body, which is empty: the runtime says what is wrong with it
    fields = ((name, value) for name, values in posted.lists() for value in values)
    files = ((name, file.name, file) for name, uploads in django_request.FILES.lists() for file in uploads)
    return make_form_parts(fields, files)
