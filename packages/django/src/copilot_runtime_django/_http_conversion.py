"""Django's requests and responses, and the runtime's."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.http.request import RawPostDataException
from django.utils.encoding import repercent_broken_unicode

from copilot_runtime import (
    EventStream,
    FormPart,
    Headers,
    Request,
    Response,
    make_form_parts,
    read_body,
    split_raw_target,
)

_GZIP = "django.middleware.gzip.GZipMiddleware"


def to_request(native: HttpRequest, limit: int, rest: str | None) -> Request:
    """A request for the core; ``rest`` is what follows the mount, None where that is not known.

    Raises OSError where the client has left.
    """
    body, form = _body(native, limit)
    raw: bytes | str | None
    if isinstance(native, ASGIRequest):
        raw = native.scope.get("raw_path")
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in native.scope["headers"])
    else:
        raw = native.META.get("RAW_URI") or native.META.get("REQUEST_URI")
        # Of these two, WSGI servers give empty ones where a request has none; any other may be empty on purpose.
        both = ("Content-Type", "Content-Length")
        headers = Headers((name.lower(), value) for name, value in native.headers.items() if value or name not in both)
    mount = native.META["SCRIPT_NAME"] if rest is None else native.path.removesuffix(rest)
    path, mount = split_raw_target(raw, _path(native, raw), mount.rstrip("/").encode())
    return Request(
        method=native.META["REQUEST_METHOD"],
        path=path,
        root_path=mount,
        query_string=native.META.get("QUERY_STRING", ""),
        headers=headers,
        body=body,
        form=form,
        native=native,
    )


def _path(native: HttpRequest, raw: bytes | str | None) -> bytes:
    """The decoded path; what is no UTF-8 Django shows percent-encoded, which the raw target tells from real escapes."""
    target = unquote_to_bytes(raw.partition("?")[0]) if isinstance(raw, str) else b""
    return target if repercent_broken_unicode(target).decode() == native.path else native.path.encode()


def _body(native: HttpRequest, limit: int) -> tuple[bytes, tuple[FormPart, ...] | None]:
    """The body, or the form that is left of it once middleware has read ``request.POST``."""
    has_length = bool(native.META.get("CONTENT_LENGTH"))
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        # Read like this, hooks can have it again from the native request. Without a length, Django has no limit.
        if most is not None and most <= limit and has_length:
            return native.body, None
    except (RequestDataTooBig, RawPostDataException):
        pass  # that limit is for form fields; the runtime has its own
    # Under WSGI, Django takes a body without a length, a chunked one, for none.
    is_chunked = not has_length and native.META.get("wsgi.input_terminated")
    body = read_body(native.META["wsgi.input"].read if is_chunked else native.read, limit)
    return body, None if body else _form(native)


def _form(native: HttpRequest) -> tuple[FormPart, ...] | None:
    fields = ((name, value) for name, values in native.POST.lists() for value in values)
    return make_form_parts(fields, ((name, file.name, file) for name, files in native.FILES.lists() for file in files))


def to_response(response: Response, native: HttpRequest) -> HttpResponseBase:
    """An answer for Django, whose body fits the stack that has made the request."""
    answer: HttpResponseBase
    if isinstance(response.body, EventStream):
        content = aiter(response.body) if isinstance(native, ASGIRequest) else iter(response.body)
        answer = StreamingHttpResponse(content, status=response.status)
        if _GZIP in settings.MIDDLEWARE:
            answer["Content-Encoding"] = "identity"  # or Django 5.2 keeps all events back until the end
    else:
        # RFC 9110, section 9.3.2: HEAD is answered without content, and WSGI servers leave that to us.
        answer = HttpResponse(b"" if native.method == "HEAD" else response.body, status=response.status)
    del answer["Content-Type"]
    for name, value in response.wire_headers():
        if name == "set-cookie":
            answer.cookies.load(value)
        else:
            answer[name] = f"{answer[name]}, {value}" if name in answer else value
    return answer
