"""The value objects that the whole runtime speaks: no framework, no server, no I/O.

An adapter builds a `Request`, the handler answers with a `Response`, and the
adapter sends that. Everything here is immutable; ``replace`` makes a changed copy.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, unquote, unquote_to_bytes

from pydantic_core import to_json

from .._concurrency.bridge import AsyncStreamIterator, StreamSource, SyncStreamIterator
from .strict_json import loads


class Headers:
    """Header fields in order, found without regard to case (RFC 9110, section 5.1).

    Takes pairs or a mapping. Names keep the spelling they came with. Instances are
    immutable and hashable; `with_` and `without` return changed copies.
    """

    __slots__ = ("_index", "_items")

    _items: tuple[tuple[str, str], ...]
    _index: dict[str, str] | None

    def __init__(self, items: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        pairs = items.items() if isinstance(items, Mapping) else items
        object.__setattr__(self, "_items", tuple(pairs))
        object.__setattr__(self, "_index", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Headers are immutable: use with_() or without()")

    def _by_name(self) -> dict[str, str]:
        if self._index is None:
            index: dict[str, str] = {}
            for name, value in self._items:
                key = name.lower()
                if key in index:
                    # RFC 9110, 5.3 joins lists with commas; RFC 6265, 5.4 cookies with semicolons.
                    index[key] += ("; " if key == "cookie" else ", ") + value
                else:
                    index[key] = value
            object.__setattr__(self, "_index", index)
            return index
        return self._index

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a field, its repetitions joined, or ``default``."""
        return self._by_name().get(name.lower(), default)

    def to_dict(self) -> Mapping[str, str]:
        """Every field once: lower-case name to its (joined) value."""
        return dict(self._by_name())

    def items(self) -> tuple[tuple[str, str], ...]:
        """The fields as they came: pairs in order, repetitions included."""
        return self._items

    def set(self, name: str, value: str) -> Headers:
        """A copy in which ``name`` has just this value."""
        return Headers((*self.remove(name)._items, (name, value)))

    def add(self, *items: tuple[str, str]) -> Headers:
        """A copy with further fields at the end."""
        return Headers((*self._items, *items))

    def remove(self, *names: str) -> Headers:
        """A copy without these fields."""
        gone = {name.lower() for name in names}
        return Headers(item for item in self._items if item[0].lower() not in gone)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_name()

    def __getitem__(self, name: str) -> str:
        return self._by_name()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name())

    def __len__(self) -> int:
        return len(self._by_name())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._by_name() == other._by_name()

    def __hash__(self) -> int:
        return hash(frozenset(self._by_name().items()))

    def __repr__(self) -> str:
        return f"Headers({list(self._items)!r})"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FormPart:
    """One part of a ``multipart/form-data`` body (RFC 7578).

    ``filename`` is None for a plain field, ``content_type`` None where the part has none.
    """

    name: str
    data: bytes
    filename: str | None = None
    content_type: str | None = None


def make_form_parts(
    fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str | None, Any]]
) -> tuple[FormPart, ...] | None:
    """What a framework has made of a form: names and values, and names, file names and files. None for neither.

    A file has ``seek``, ``read`` and ``content_type``, as werkzeug's and Django's have.
    """
    parts = [FormPart(name=name, data=value.encode()) for name, value in fields]
    for name, filename, file in files:
        file.seek(0)  # whoever parsed the form may have read it, too
        parts.append(FormPart(name=name, data=file.read(), filename=filename, content_type=file.content_type))
    return tuple(parts) or None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came in.

    ``path`` is the whole path as it was requested, percent-encoded, without the query;
    ``mount`` is the part of it (encoded likewise) under which a server or framework has
    mounted the application (ASGI's ``root_path``, WSGI's ``SCRIPT_NAME``). ``query`` is
    the raw query string without its question mark. ``form`` is set by hosts that have
    already parsed a multipart body; ``body_limit`` is the most that the host wants to have
    read, in bytes, where it says so. ``native`` is the host framework's own request, opaque
    to the core.
    """

    method: str
    path: str
    query_string: str = ""
    headers: Headers = Headers()
    body: bytes = b""
    root_path: str = ""
    form: tuple[FormPart, ...] | None = None
    body_limit: int | None = None
    native: Any = dataclasses.field(default=None, compare=False, repr=False)

    def json(self) -> Any:
        """The body as JSON (RFC 8259). Raises ValueError where it is not."""
        return loads(self.body)

    def replace(self, **changes: Any) -> Self:
        """A copy with some members changed."""
        return dataclasses.replace(self, **changes)


def split_raw_target(raw: bytes | str | None, path: bytes, mount: bytes) -> tuple[str, str]:
    """The path of a request and its mount, percent-encoded, as `Request` wants them.

    ``raw`` is the request's target as the server received it, where it says so, ``path``
    the whole decoded path and ``mount`` the part of it at its beginning that is the
    mount. The raw target is believed only if it decodes to that path: something in
    between may have rewritten the one and not the other.
    """
    if raw is not None:
        text = raw if isinstance(raw, str) else raw.decode("latin-1")
        target = quote(_ORIGIN.sub("", text.partition("?")[0]).encode("latin-1", "replace"), safe=_SAFE + "%")
        # Servers decode what is not UTF-8 with replacement characters.
        if unquote(target) == path.decode("utf-8", "replace"):
            for end in (at for at in range(len(target) + 1) if at == len(target) or target[at] == "/"):
                if unquote_to_bytes(target[:end]) == mount:
                    return target, target[:end]
    return quote(path, safe=_SAFE), quote(mount, safe=_SAFE)


def read_body(read: Callable[[int], bytes], limit: int) -> bytes:
    """At most ``limit`` bytes from ``read``, which gives at most as many as it is asked for.

    What is too long is read on for a while all the same: a client that is still sending when
    the connection closes never sees the answer.
    """
    body = read(limit)
    left = limit
    while len(body) == limit and left > 0 and (piece := read(min(left, _PIECE))):
        left -= len(piece)
    return body


_PIECE = 64 * 1024

_SAFE = "/!$&'()*+,;=:@-._~"
_ORIGIN = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*")


_CONNECTED = b": connected\n\n"


@dataclasses.dataclass(frozen=True, slots=True)
class EventStream:
    """A body of server-sent events, described by what it is read from.

    Iterate it on a thread (WSGI) or asynchronously (ASGI): either form yields all the
    bytes that are ready, joined, as soon as there are any, and ends with the stream. On a
    thread the first piece comes at once, if need be a comment that says nothing. Whoever is
    given one must iterate it to its end or close it; closing twice is fine.
    """

    source: StreamSource

    def __iter__(self) -> SyncStreamIterator:
        return SyncStreamIterator(self.source, _CONNECTED)

    def __aiter__(self) -> AsyncStreamIterator:
        return AsyncStreamIterator(self.source)

    def close(self) -> None:
        """Tells the source that nobody reads it any more."""
        self.source.close()


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_HOP_BY_HOP = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_BODILESS_STATUSES = frozenset((204, 304))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes out: ``body`` is bytes or an `EventStream`."""

    status: int = 200
    headers: Headers = Headers()
    body: bytes | EventStream = b""

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError for what no server could send: hooks make responses, too."""
        if not isinstance(self.status, int) or not 100 <= self.status <= 599:
            raise ValueError(f"Response(status={self.status!r}): give a number from 100 to 599")
        if not isinstance(self.body, (bytes, EventStream)):
            raise TypeError(f"Response(body=...): give bytes or an EventStream, not {type(self.body).__name__}")
        if not isinstance(self.headers, Headers):
            raise TypeError(f"Response(headers=...): give Headers(...), not {type(self.headers).__name__}")
        for name, value in self.headers.items():
            if not (isinstance(name, str) and _TOKEN.fullmatch(name)):
                raise ValueError(f"{name!r} is no name of a header field: give a token (RFC 9110, section 5.1)")
            if not (isinstance(value, str) and _VALUE.fullmatch(value)):
                raise ValueError(f"{name}: {value!r} is no value of a header field: give Latin-1 without line ends")

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Self:
        """An ``application/json`` answer. ``data`` is anything pydantic can serialise."""
        return cls(status=status, headers=Headers((("content-type", "application/json"), *headers)), body=to_json(data))

    def wire_headers(self) -> list[tuple[str, str]]:
        """The header fields to send: lower-case, with a length where it is known.

        Hop-by-hop fields are the server's business and are left out (PEP 3333 forbids
        them to applications, RFC 9113, section 8.2.2 to HTTP/2).
        """
        fields = [(name.lower(), value) for name, value in self.headers.items()]
        fields = [field for field in fields if field[0] not in _HOP_BY_HOP]
        if isinstance(self.body, bytes) and self.status not in _BODILESS_STATUSES:
            fields.append(("content-length", str(len(self.body))))
        return fields

    def replace(self, **changes: Any) -> Self:
        """A copy with some members changed."""
        return dataclasses.replace(self, **changes)

    def close(self) -> None:
        """Releases a streamed body that will not be sent."""
        if isinstance(self.body, EventStream):
            self.body.close()
