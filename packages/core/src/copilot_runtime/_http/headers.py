"""Header fields: an immutable mapping, their grammar, and what belongs to a connection."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from typing import Any

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110, section 5.6.2)."""

HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""Latin-1 without control characters (RFC 9110, section 5.5)."""

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields about one connection (RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1, which PEP 3333 refers to)."""

_SERVER_FIELDS = HOP_BY_HOP | {"content-length"}
"""Fields that the server sends itself, whatever a response has."""


def media_type(content_type: str | None) -> str:
    """Returns the media type of a content type, in lower case and without parameters; ``""`` for None."""
    return (content_type or "").partition(";")[0].strip().lower()


class Headers(Mapping[str, str]):
    """Header fields in order, found without regard to case (RFC 9110, section 5.1). Immutable and hashable.

    A mapping: iteration, `keys` and `items` have each field once, by its lower-case name, with the values of
    repeated fields joined. `multi_items` returns the fields as they came.

    Args:
        items: pairs, or a mapping. Names keep the spelling they came with.
    """

    __slots__ = ("_encoded", "_index", "_items", "_sent", "_unchecked")

    _items: tuple[tuple[str, str], ...]
    _index: dict[str, str] | None
    # Unset until they are needed, which for most headers of requests is never:
    _unchecked: tuple[tuple[str, str], ...]
    """The fields that `check_sendable` has not looked at yet, if not all: copies do not have the others checked."""
    _sent: tuple[tuple[str, str], ...]
    _encoded: tuple[tuple[bytes, bytes], ...]

    def __init__(self, items: HeadersLike = ()) -> None:
        pairs: Iterable[tuple[str, str]]
        if type(items) is list or type(items) is tuple:  # as of a server, since to recognise a mapping takes a while
            pairs = items
        elif isinstance(items, Headers):
            pairs = items._items
        else:
            pairs = items.items() if isinstance(items, Mapping) else items
        object.__setattr__(self, "_items", tuple(pairs))
        object.__setattr__(self, "_index", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Headers are immutable: set(), add() and remove() return changed copies")

    def _by_name(self) -> dict[str, str]:
        if self._index is None:
            index = dict(self._items)
            names = "".join(index)
            if names != names.lower():  # servers that know ASGI or HTTP/2 pass them on in lower case
                index = {name.lower(): value for name, value in self._items}
            if len(index) < len(self._items):
                index = _joined(self._items)
            object.__setattr__(self, "_index", index)
            return index
        return self._index

    def check_sendable(self) -> None:
        """Raises ValueError for a field that no server could send. Checked once, since they are immutable."""
        unchecked = self._unchecked_items()
        if not unchecked:
            return
        for name, value in unchecked:
            if not (isinstance(name, str) and HEADER_NAME.fullmatch(name)):
                raise ValueError(f"{name!r} is not the name of a header field: use a token (RFC 9110, section 5.1)")
            if not (isinstance(value, str) and HEADER_VALUE.fullmatch(value)):
                raise ValueError(f"{name}: {value!r} is not the value of a header field: use Latin-1 without line ends")
        object.__setattr__(self, "_unchecked", ())

    def _unchecked_items(self) -> tuple[tuple[str, str], ...]:
        return getattr(self, "_unchecked", self._items)

    def multi_items(self) -> tuple[tuple[str, str], ...]:
        """Returns the fields as they came: pairs in order, in their own spelling, repetitions included."""
        return self._items

    def sent_items(self) -> tuple[tuple[str, str], ...]:
        """Returns the fields to send: lower-case, without those of the server. Made once for each object."""
        if not hasattr(self, "_sent"):
            lowered = ((name.lower(), value) for name, value in self._items)
            object.__setattr__(self, "_sent", tuple(field for field in lowered if field[0] not in _SERVER_FIELDS))
        return self._sent

    def encoded_items(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the fields to send as bytes (RFC 9110, section 5.5). Made once for each object."""
        if not hasattr(self, "_encoded"):
            encoded = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.sent_items())
            object.__setattr__(self, "_encoded", encoded)
        return self._encoded

    def set(self, name: str, value: str) -> Headers:
        """Returns a copy in which ``name`` has just this value."""
        return self.set_all(((name, value),))

    def set_all(self, fields: Sequence[tuple[str, str]]) -> Headers:
        """Returns a copy in which each of these fields, of different names, has just its value."""
        replaced = {name.lower() for name, _ in fields}
        kept = (item for item in self._items if item[0].lower() not in replaced)
        return self._copy((*kept, *fields), fields)

    def add(self, *items: tuple[str, str]) -> Headers:
        """Returns a copy with further fields at the end."""
        return self._copy((*self._items, *items), items)

    def remove(self, *names: str) -> Headers:
        """Returns a copy without these fields."""
        removed = {name.lower() for name in names}
        return self._copy(tuple(item for item in self._items if item[0].lower() not in removed), ())

    def _copy(self, items: tuple[tuple[str, str], ...], added: Sequence[tuple[str, str]]) -> Headers:
        """Returns other fields, of which those that are not ``added`` are these."""
        copy = Headers(items)
        if not self._unchecked_items():
            object.__setattr__(copy, "_unchecked", tuple(added))
        return copy

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the value of a field, or ``default``."""
        return self._by_name().get(name.lower(), default)

    def items(self) -> ItemsView[str, str]:
        """Returns a view of the fields, each once, by its lower-case name."""
        return self._by_name().items()

    def names(self) -> tuple[str, ...]:
        """Returns the names of the fields, each once, in lower case."""
        return tuple(self._by_name())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_name()

    def __getitem__(self, name: str) -> str:
        return self._by_name()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name())

    def __len__(self) -> int:
        return len(self._by_name())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._by_name() == other._by_name()
        if not isinstance(other, Mapping) or not all(isinstance(part, str) for item in other.items() for part in item):
            return False
        return self._by_name() == Headers(other)._by_name()

    def __hash__(self) -> int:
        return hash(frozenset(self._by_name().items()))

    def __repr__(self) -> str:
        return f"Headers({list(self._items)!r})"


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns fields of which some are repeated by their lower-case names."""
    values: dict[str, list[str]] = {}
    for name, value in items:
        values.setdefault(name.lower(), []).append(value)
    # RFC 9110, 5.3 joins lists with commas; RFC 6265, 5.4 cookies with semicolons.
    return {key: ("; " if key == "cookie" else ", ").join(found) for key, found in values.items()}


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]
