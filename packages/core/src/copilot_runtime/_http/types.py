"""The value objects that the whole runtime speaks: no framework, no server, no I/O.

An adapter builds a `Request`, the handler answers with a `Response`, and the adapter sends that. Everything here is
immutable; ``replace`` returns a changed copy.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from pydantic_core import to_json

from .._strict_json import loads
from .headers import HEADER_NAME, HEADER_VALUE, HOP_BY_HOP, Headers, HeadersLike
from .streaming import EventStream


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FormPart:
    """One part of a ``multipart/form-data`` body (RFC 7578).

    ``filename`` is None for a plain field, ``content_type`` None where the part has none.
    """

    name: str
    data: bytes
    filename: str | None = None
    content_type: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, init=False)
class Request:
    """An HTTP request.

    Args:
        method: the HTTP method, in upper case.
        path: the whole path as it was requested, percent-encoded, without the query.
        query_string: the raw query string, without its question mark.
        headers: `Headers`, a mapping, or pairs.
        body: the whole body.
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
    body: bytes
    root_path: str
    form: tuple[FormPart, ...] | None
    body_limit: int | None
    native: Any = dataclasses.field(compare=False, repr=False)

    def __init__(
        self,
        *,
        method: str,
        path: str,
        query_string: str = "",
        headers: HeadersLike = (),
        body: bytes = b"",
        root_path: str = "",
        form: tuple[FormPart, ...] | None = None,
        body_limit: int | None = None,
        native: Any = None,
    ) -> None:
        assign = object.__setattr__
        assign(self, "method", method)
        assign(self, "path", path)
        assign(self, "query_string", query_string)
        assign(self, "headers", headers if isinstance(headers, Headers) else Headers(headers))
        assign(self, "body", body)
        assign(self, "root_path", root_path)
        assign(self, "form", form)
        assign(self, "body_limit", body_limit)
        assign(self, "native", native)

    def json(self) -> Any:
        """Returns the body as JSON (RFC 8259). Raises ValueError if it is not JSON."""
        return loads(self.body)

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some members changed."""
        return dataclasses.replace(self, **changes)


_BODILESS_STATUSES = frozenset((204, 304))
_SERVER_HEADERS = HOP_BY_HOP | {"content-length"}


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

    def __init__(self, *, status: int = 200, headers: HeadersLike = (), body: bytes | EventStream = b"") -> None:
        fields = headers if isinstance(headers, Headers) else Headers(headers)
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"Response(status={status!r}): must be an integer from 100 to 599")
        if not isinstance(body, (bytes, EventStream)):
            raise TypeError(f"Response(body=...): must be bytes or an EventStream, not {type(body).__name__}")
        for name, value in fields.multi_items():
            if not (isinstance(name, str) and HEADER_NAME.fullmatch(name)):
                raise ValueError(f"{name!r} is not the name of a header field: use a token (RFC 9110, section 5.1)")
            if not (isinstance(value, str) and HEADER_VALUE.fullmatch(value)):
                raise ValueError(f"{name}: {value!r} is not the value of a header field: use Latin-1 without line ends")
        assign = object.__setattr__
        assign(self, "status", status)
        assign(self, "headers", fields)
        assign(self, "body", body)

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: HeadersLike = ()) -> Self:
        """Returns an ``application/json`` response. ``data`` is anything that pydantic can serialise."""
        fields = (("content-type", "application/json"), *Headers(headers).multi_items())
        return cls(status=status, headers=Headers(fields), body=to_json(data))

    def wire_headers(self) -> list[tuple[str, str]]:
        """Returns the header fields to send: lower-case, with a length if it is known.

        Hop-by-hop fields are left out: they are the server's (PEP 3333 forbids them to applications, RFC 9113,
        section 8.2.2, to HTTP/2).
        """
        lowered = [(name.lower(), value) for name, value in self.headers.multi_items()]
        fields = [field for field in lowered if field[0] not in _SERVER_HEADERS]
        if isinstance(self.body, bytes) and self.status not in _BODILESS_STATUSES:
            fields.append(("content-length", str(len(self.body))))
        return fields

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some members changed."""
        return dataclasses.replace(self, **changes)

    def close(self) -> None:
        """Releases a streamed body that will not be sent."""
        if isinstance(self.body, EventStream):
            self.body.close()
