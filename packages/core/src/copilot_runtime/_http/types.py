"""The value objects that the whole runtime speaks: no framework, no server, no I/O.

An adapter builds a `Request`, the handler answers with a `Response`, and the adapter sends that. Everything here is
immutable; ``replace`` returns a changed copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Coroutine
from typing import Any, Self

from pydantic_core import to_json

from .._slot_setters import slot_setters
from .._strict_json import loads
from .body import BodyLimit, BodyTooLarge, RequestBody
from .form import FormPart
from .headers import Headers, HeadersLike
from .streaming import EventStream


@dataclasses.dataclass(frozen=True, slots=True, init=False)
class Request:
    """An HTTP request.

    Args:
        method: the HTTP method, in upper case.
        path: the whole path as it was requested, percent-encoded, without the query.
        query_string: the raw query string, without its question mark.
        headers: `Headers`, a mapping, or pairs.
        body: the whole body, or a `RequestBody` that reads it when it is first needed.
        root_path: the part of ``path`` (encoded likewise) under which a server or framework has mounted the
            application: ASGI's ``root_path``, WSGI's ``SCRIPT_NAME``.
        form: the parts of a multipart body that the framework has already parsed, else None.
        body_limit: the largest body in bytes that the framework accepts, if it has a limit of its own.
        native: the framework's own request, opaque to the core.
    """

    method: str
    path: str
    query_string: str
    headers: Headers
    root_path: str
    body_limit: int | None
    native: Any = dataclasses.field(compare=False, repr=False)
    _body: bytes | RequestBody = dataclasses.field(repr=False)
    _form: tuple[FormPart, ...] | None = dataclasses.field(repr=False)

    def __init__(
        self,
        *,
        method: str,
        path: str,
        query_string: str = "",
        headers: HeadersLike = (),
        body: bytes | RequestBody = b"",
        root_path: str = "",
        form: tuple[FormPart, ...] | None = None,
        body_limit: int | None = None,
        native: Any = None,
    ) -> None:
        _set_method(self, method)
        _set_path(self, path)
        _set_query_string(self, query_string)
        _set_headers(self, headers if isinstance(headers, Headers) else Headers(headers))
        _set_root_path(self, root_path)
        _set_body_limit(self, body_limit)
        _set_native(self, native)
        _set_body(self, body)
        _set_form(self, form)

    @property
    def body(self) -> bytes:
        """The whole body.

        It has been read when ``on_before_handler`` is called. In ``on_request`` and ``identify_user``, a plain function
        waits for it here; a coroutine function has to write ``await request.read()`` first, or gets a RuntimeError.
        In ``on_response`` and ``on_error`` it is empty if the request was refused before it was read.
        """
        body = self._body  # once, here and below: `close` may come in between, on another thread than a run's agent
        return body if isinstance(body, bytes) else body.read_blocking()

    def read(self) -> Coroutine[Any, Any, bytes]:
        """Returns the whole body, and waits for it if it has not been read yet."""
        body = self._body
        return _completed(body) if isinstance(body, bytes) else body.read()

    def without_unread_body(self) -> Self:
        """Returns the request with an empty body if nothing has read its body yet."""
        return self if self.is_body_read else self.replace(body=b"")

    def limit_body(self, limit: BodyLimit) -> None:
        """Limits a body that has not been read yet. Raises BodyTooLarge if it is larger, or declared to be."""
        body = self._body
        if isinstance(body, bytes):
            size = len(body)
        elif body.is_read:
            size = len(body.read_blocking())
        else:
            body.limit(limit)
            declared = self.headers.get("content-length")
            size = 0 if declared is None or len(declared) < limit.digits else _parse_length(declared)
        if size > limit.max_bytes:
            raise BodyTooLarge(limit)

    def set_body_owner(self, owner: str) -> None:
        """Sets the key of the user among whose bodies the body counts that has not been read yet."""
        body = self._body
        if not isinstance(body, bytes):
            body.set_owner(owner)

    def close(self) -> None:
        """Called when the request has been handled: its body no longer counts."""
        body = self._body
        if not isinstance(body, bytes):
            data = body.close()
            if data is not None:  # which a run keeps with its request, but not what has read it
                _set_body(self, data)

    @property
    def is_body_read(self) -> bool:
        """Whether the body has been read, so that ``body`` never waits."""
        body = self._body
        return isinstance(body, bytes) or body.is_read

    @property
    def form(self) -> tuple[FormPart, ...] | None:
        """The parts of a multipart body that the framework has parsed, which leaves no body; else None."""
        body = self._body
        return self._form if isinstance(body, bytes) else body.form

    def json(self) -> Any:
        """Returns the body as JSON (RFC 8259). Raises ValueError if it is not JSON, and what ``body`` raises."""
        return loads(self.body)

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some members changed. A body that has not been read is shared with the copy."""
        members: dict[str, Any] = {
            "method": self.method,
            "path": self.path,
            "query_string": self.query_string,
            "headers": self.headers,
            "root_path": self.root_path,
            "body_limit": self.body_limit,
            "native": self.native,
            "body": self._body,
            "form": self.form,
        }
        return type(self)(**(members | changes))


(
    _set_method,
    _set_path,
    _set_query_string,
    _set_headers,
    _set_root_path,
    _set_body_limit,
    _set_native,
    _set_body,
    _set_form,
) = slot_setters(Request)


def _parse_length(text: str) -> int:
    """Returns a declared length; 0 for what is none."""
    return int(text[:20]) if text.isascii() and text.isdigit() else 0


async def _completed(body: bytes) -> bytes:
    return body


_BODILESS_STATUSES = frozenset((204, 304))
_JSON_HEADERS = Headers((("content-type", "application/json"),))
_JSON_HEADERS.check_sendable()


@dataclasses.dataclass(frozen=True, slots=True, init=False)
class Response:
    """An HTTP response.

    Args:
        status: the status code, from 100 to 599.
        headers: `Headers`, a mapping, or pairs.
        body: bytes, or an `EventStream`.

    Raises TypeError or ValueError for what no server could send.
    """

    status: int
    headers: Headers
    body: bytes | EventStream
    _encoded: tuple[tuple[bytes, bytes], ...] | None = dataclasses.field(
        default_factory=lambda: None,  # for subclasses that are dataclasses: a default would not be set in the slot
        init=False,
        compare=False,
        repr=False,
    )

    def __init__(self, *, status: int = 200, headers: HeadersLike = (), body: bytes | EventStream = b"") -> None:
        fields = headers if isinstance(headers, Headers) else Headers(headers)
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"Response(status={status!r}): must be an integer from 100 to 599")
        if not isinstance(body, (bytes, EventStream)):
            raise TypeError(f"Response(body=...): must be bytes or an EventStream, not {type(body).__name__}")
        fields.check_sendable()
        _set_status(self, status)
        _set_fields(self, fields)
        _set_content(self, body)
        _set_encoded(self, None)

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: HeadersLike = ()) -> Self:
        """Returns an ``application/json`` response. ``data`` is anything that pydantic can serialise."""
        added = Headers(headers).multi_items()
        return cls(status=status, headers=_JSON_HEADERS.add(*added) if added else _JSON_HEADERS, body=to_json(data))

    def wire_headers(self) -> list[tuple[str, str]]:
        """Returns the header fields to send: lower-case, with a length if it is known.

        Hop-by-hop fields are left out: they are the server's (PEP 3333 forbids them to applications, RFC 9113,
        section 8.2.2, to HTTP/2).
        """
        fields = list(self.headers.sent_items())
        length = self._length()
        if length is not None:
            fields.append(("content-length", str(length)))
        return fields

    def encoded_wire_headers(self) -> list[tuple[bytes, bytes]]:
        """Returns the same as bytes, as ASGI servers take them. With a length, they are made once for each object."""
        encoded = self._encoded
        if encoded is None:
            encoded, length = self.headers.encoded_items(), self._length()
            if length is not None:
                encoded = (*encoded, (b"content-length", b"%d" % length))
                _set_encoded(self, encoded)
        return [*encoded]  # to which middleware may add

    def _length(self) -> int | None:
        """Returns the length to send, if it is known."""
        if self.status in _BODILESS_STATUSES:
            return None
        body = self.body
        return len(body) if isinstance(body, bytes) else body.length

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some members changed."""
        members: dict[str, Any] = {"status": self.status, "headers": self.headers, "body": self.body}
        return type(self)(**(members | changes))

    @classmethod
    def _of_checked(cls, status: int, headers: Headers, body: EventStream) -> Self:
        """Returns a response of what is known to be sendable, without another look at it."""
        response = object.__new__(cls)
        _set_status(response, status)
        _set_fields(response, headers)
        _set_content(response, body)
        _set_encoded(response, None)
        return response

    def _begin_stream(self, stream: EventStream) -> Self:
        """Returns a copy with the stream that a worker thread has begun to read, without another look at the rest."""
        if type(self) is not Response:  # a subclass may have more than these
            return self.replace(body=stream)
        return self._of_checked(self.status, self.headers, stream)

    def close(self) -> None:
        """Releases a streamed body that will not be sent."""
        if isinstance(self.body, EventStream):
            self.body.close()


_set_status, _set_fields, _set_content, _set_encoded = slot_setters(Response)
