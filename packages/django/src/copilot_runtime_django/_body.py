"""The body of a Django request, which is read when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException

from copilot_runtime import FormPart
from copilot_runtime.adapters import (
    BodyLimits,
    ClientDisconnected,
    SyncBody,
    drain_socket,
    limit_socket_wait,
    make_form_parts,
    may_have_body,
    read_chunks,
)


class DjangoBody(SyncBody):
    """The body of a Django request.

    Args:
        django_request: the request that Django passed to the view.
        limits: what `copilot_runtime.CopilotHandler.body_limits` says.
    """

    def __init__(self, django_request: HttpRequest, limits: BodyLimits) -> None:
        self._request = django_request
        # Under ASGI, Django calls views when it has received the whole body, and keeps it in a file if it is large.
        is_local = isinstance(django_request, ASGIRequest)
        super().__init__(
            limits,
            self._read_source(),
            read_form=lambda: _form_parts(django_request),
            is_local=is_local,
            watch=partial(limit_socket_wait, django_request.META),
        )

        if not may_have_body(django_request.META):
            self._finish()

    def _read_source(self) -> Iterator[bytes]:
        django_limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        try:
            try:
                # Read like this, the body is still available to hooks from the native request. Without a length, Django
                # would read it without a limit.
                if django_limit is not None and django_limit <= self._limits.max_bytes and _has_length(self._request):
                    yield self._request.body
                    return
            except (RequestDataTooBig, RawPostDataException):
                pass  # Django's limit is for form fields; the runtime has its own
            yield from read_chunks(_reader(self._request), self.next_size)
        except OSError as error:
            raise ClientDisconnected(str(error)) from error

    def drain(self) -> None:
        """Reads what the client is still sending, within limits. To be called when the response has been sent."""
        if not self.is_read and not isinstance(self._request, ASGIRequest):
            drain_socket(self._request.META, _reader(self._request))


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
