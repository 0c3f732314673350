"""The frames of a compacted run, and the numbers in their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self, overload

COMPACTED_SUFFIX = b"c"
"""Ends the id of a compacted frame before which a reader has not received the same events as one of the run itself."""


class CompactedFrame(NamedTuple):
    """A frame of a compacted run, and the number, as in its id, of the last event that was merged into it."""

    number: int
    frame: bytes

    @classmethod
    def from_frame(cls, frame: bytes) -> Self:
        """Parses the number of a compacted frame, which is the second part of its id."""
        return cls(parse_number(frame), frame)


class CompactedFrames(Sequence[CompactedFrame]):
    """A compacted run. Its numbers are parsed once they are looked at, which a whole replay does not do.

    Args:
        frames: Its frames.
        stored: The frames that these were made of and whose numbers they have, if their own ids are not all there.
        numbers: Its numbers, if they are known.
    """

    __slots__ = ("__weakref__", "_numbers", "_stored", "frames")

    def __init__(
        self, frames: Sequence[bytes], stored: Sequence[bytes] | None = None, numbers: Sequence[int] | None = None
    ) -> None:
        self.frames: Sequence[bytes] = frames
        self._stored = frames if stored is None else stored
        self._numbers = numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompactedFrames) and self.frames == other.frames

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each frame. Raises ValueError if one has none."""
        if self._numbers is None:
            self._numbers = list(map(parse_number, self._stored))
        return self._numbers

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[CompactedFrame]:
        return map(CompactedFrame, self.numbers, self.frames)

    @overload
    def __getitem__(self, index: int) -> CompactedFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CompactedFrame]: ...

    def __getitem__(self, index: int | slice) -> CompactedFrame | Sequence[CompactedFrame]:
        if isinstance(index, slice):
            return CompactedFrames(self.frames[index], self._stored[index])
        return CompactedFrame(parse_number(self._stored[index]), self.frames[index])


def frames_of(records: Sequence[CompactedFrame]) -> Sequence[bytes]:
    """Returns the frames of a compacted run."""
    return records.frames if isinstance(records, CompactedFrames) else [record.frame for record in records]


def numbers_of(records: Sequence[CompactedFrame]) -> Sequence[int]:
    """Returns the numbers of the frames of a compacted run."""
    return records.numbers if isinstance(records, CompactedFrames) else [record.number for record in records]


def parse_number(frame: bytes) -> int:
    """Returns the number in the id of a frame, compacted or not. Raises ValueError if it has none."""
    number = frame[frame.index(b".") + 1 : frame.index(b"\n")]
    return int(number.removesuffix(COMPACTED_SUFFIX))
