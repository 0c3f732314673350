"""The messages of a run's input, as what a run is completed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

Message = Mapping[str, Any]


class InputMessages(Sequence[Message]):
    """The messages in a run input, in wire form, which are parsed when they are looked at.

    Args:
        run_input: the input.
        data: the same as JSON, for who keeps the messages as JSON: to encode them again would take as long as to parse
            them. None if it is much larger than its messages.
    """

    __slots__ = ("_input", "data")

    def __init__(self, run_input: Mapping[str, Any], data: bytes | None) -> None:
        self._input = run_input
        self.data = data

    def __len__(self) -> int:
        return len(self._input["messages"])

    def __iter__(self) -> Iterator[Message]:
        return iter(self._input["messages"])

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...

    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        found: Message | Sequence[Message] = self._input["messages"][index]
        return found
