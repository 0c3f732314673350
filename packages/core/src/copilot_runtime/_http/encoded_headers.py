"""Header fields of a server that passes them on as bytes, as ASGI servers do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .headers import Headers

_set = object.__setattr__


def decode_headers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Returns the header fields of a request, in Latin-1 (RFC 9110, section 5.5).

    A browser sends some twenty, of which the runtime looks at three: each is decoded when it is looked at.
    """
    fields = tuple(fields)
    by_name = dict(fields)
    names = b"".join(by_name)
    if len(by_name) == len(fields) and names.isascii() and names == names.lower():
        return _EncodedHeaders(by_name)
    return Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields])


class _EncodedHeaders(Headers):
    """Header fields of different names, which are in lower case and ASCII."""

    __slots__ = ("_fields",)

    _fields: dict[bytes, bytes]

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        _set(self, "_fields", fields)
        _set(self, "_index", None)

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet: the fields as pairs are needed for copies only."""
        if name != "_items":
            return super().__getattribute__(name)  # which raises, with the names of the attribute and of the class
        items = tuple(self._by_name().items())
        _set(self, "_items", items)
        return items

    def _by_name(self) -> dict[str, str]:
        index = self._index
        if index is None:
            index = {name.decode(): value.decode("latin-1") for name, value in self._fields.items()}
            _set(self, "_index", index)
        return index

    def get(self, name: str, default: Any = None) -> Any:
        value = self._fields.get(name.lower().encode("utf-8", "surrogatepass"))
        return default if value is None else value.decode("latin-1")

    def has_in_names(self, text: str) -> bool:
        return text.encode() in b" ".join(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __getitem__(self, name: str) -> str:
        value: str | None = self.get(name)
        if value is None:
            raise KeyError(name.lower())
        return value
