"""The input of a run as JSON on the wire, which is kept as bytes and parsed when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, Self

from pydantic_core import to_json

from .._events import InputEcho, encode_echo
from .._strict_json import loads

KEPT_BYTES = 64 * 1024
"""A parsed body of this size or less is kept until the end of the run: parsing a larger one again takes time as well,
but its objects would take up to 25 times the memory of its bytes for as long."""

_find_id = itemgetter("id")


class JSONBody(Mapping[str, Any]):
    """The members of a JSON body, parsed on first use.

    Args:
        data: the body, which is valid JSON.
        members: the parsed body, if it has been parsed already.
        drop_nulls: whether members that are null count as missing.
        can_be_echoed: whether RUN_STARTED may have the data as its ``input``: it is on one line, and clients accept it.
        stands_for_messages: whether the data may be kept in place of its messages: it is not much larger.
    """

    __slots__ = ("_drop_nulls", "_members", "can_be_echoed", "data", "stands_for_messages")

    def __init__(
        self,
        data: bytes,
        members: dict[str, Any] | None = None,
        *,
        drop_nulls: bool = False,
        can_be_echoed: bool = False,
        stands_for_messages: bool = False,
    ) -> None:
        self.data: bytes = data
        self.can_be_echoed: bool = can_be_echoed
        self.stands_for_messages: bool = stands_for_messages
        self._members = members
        self._drop_nulls = drop_nulls

    @classmethod
    def encode(cls, members: dict[str, Any]) -> Self:
        """Returns a body with these members."""
        return cls(to_json(members), members)

    @property
    def members(self) -> dict[str, Any]:
        """The members, as a dictionary."""
        members = self._members
        if members is None:
            members = loads(self.data, check_overflow=False)
            members = self._members = without_nulls(members) if self._drop_nulls else members
        return members  # not what is there now: another thread may have had them forgotten

    def echo(self) -> InputEcho:
        """Returns the input as RUN_STARTED has it."""
        members = self.members
        self.forget()  # since nothing needs them again before the end of the run
        if self.can_be_echoed:
            # Without its constructor, which takes twice as long.
            return tuple.__new__(InputEcho, (self.data, tuple(map(_find_id, members["messages"]))))
        return encode_echo(members)

    def forget(self) -> None:
        """Frees the members of a body that is large, or has little but messages: they are parsed again if needed."""
        if self.stands_for_messages or len(self.data) > KEPT_BYTES:
            self._members = None

    def __getitem__(self, name: str) -> Any:
        return self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    """Returns the members of a JSON object that are not null."""
    if None not in members.values():
        return members
    return {name: value for name, value in members.items() if value is not None}
