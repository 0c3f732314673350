"""Header fields of a server that passes them on as bytes, as ASGI servers do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._slot_setters import slot_setters
from .headers import Headers
from .kept_results import KeptResults, kept_by_names


def decode_headers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Returns the header fields of a request, in Latin-1 (RFC 9110, section 5.5).

    A browser sends some twenty, of which the runtime looks at three: each is decoded when it is looked at.
    """
    fields = tuple(fields)
    by_name = dict(fields)
    names = _plain_names[tuple(by_name)]
    if names is not None and len(by_name) == len(fields):
        return _EncodedHeaders(by_name, names)
    return Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields])


def _decode_names(names: tuple[bytes, ...]) -> tuple[str, ...] | None:
    """Returns the names of fields, if all are in lower case and ASCII."""
    joined = b"".join(names)
    return tuple([name.decode() for name in names]) if joined.isascii() and joined == joined.lower() else None


_plain_names = kept_by_names(_decode_names)


def _encode_name(name: str) -> bytes:
    return name.lower().encode("utf-8", "surrogatepass")


_encoded_names = KeptResults(_encode_name, size=len)
"""What `get` is called with, as it is in the fields."""


class _EncodedHeaders(Headers):
    """Header fields of different names, which are in lower case and ASCII.

    Args:
        fields: the fields.
        names: their names.
    """

    __slots__ = ("_fields", "_names")

    _index: dict[str, str]
    _fields: dict[bytes, bytes]
    _names: tuple[str, ...]

    def __init__(self, fields: dict[bytes, bytes], names: tuple[str, ...]) -> None:
        _set_fields(self, fields)
        _set_names(self, names)

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet, and is rarely needed: the fields as text, by name and as pairs."""
        value: Any
        if name == "_index":
            value = {key.decode(): value.decode("latin-1") for key, value in self._fields.items()}
        elif name == "_items":
            value = tuple(self._by_name().items())
        else:
            return super().__getattribute__(name)  # which raises, with the names of the attribute and of the class
        object.__setattr__(self, name, value)
        return value

    def _by_name(self) -> dict[str, str]:
        return self._index

    def get(self, name: str, default: Any = None) -> Any:
        value = self._fields.get(_encoded_names[name])
        return default if value is None else value.decode("latin-1")

    def names(self) -> tuple[str, ...]:
        return self._names

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __getitem__(self, name: str) -> str:
        value: str | None = self.get(name)
        if value is None:
            raise KeyError(name.lower())
        return value


_set_fields, _set_names = slot_setters(_EncodedHeaders)
