"""A reader's position in a thread: ``<ordinal of the run on its thread>.<number of the event in its run>``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from .compacted_frames import COMPACTED_SUFFIX, CompactedFrame, numbers_of
from .event_appender import FIRST_REAPER_NUMBER

JOINED_SUFFIX = b"j"
"""Ends the id of a frame of a run with duplicates, as a reader receives it that does not receive those."""

_ID = re.compile(r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,17})([a-z]?)")
_FRAME_NUMBER = re.compile(rb"id: [0-9]+\.([0-9]+)\n")


class CursorKind(IntEnum):
    """What a reader has received of the run that its cursor names."""

    RUN = 0
    """Everything up to that event."""
    COMPACTED = 1
    """The compacted run up to there, which are not the same events."""
    JOINED = 2
    """Everything up to that event, apart from duplicates."""


_KINDS = {
    "": CursorKind.RUN,
    COMPACTED_SUFFIX.decode(): CursorKind.COMPACTED,
    JOINED_SUFFIX.decode(): CursorKind.JOINED,
}


class Cursor(NamedTuple):
    """The last event that a reader has received. ``ordinal`` and ``number`` count from 1."""

    ordinal: int
    number: int
    kind: CursorKind = CursorKind.RUN

    @classmethod
    def parse(cls, text: str | None) -> Cursor | None:
        """Parses the id of a frame. Returns None for anything that this runtime does not send as an id."""
        match = _ID.fullmatch(text or "")
        kind = None if match is None else _KINDS.get(match[3])
        return None if match is None or kind is None else cls(int(match[1]), int(match[2]), kind)

    @property
    def position(self) -> int:
        """The place of its frame in the run, from 1 on."""
        return self.number % FIRST_REAPER_NUMBER


def joined_id(frame: bytes) -> tuple[bytes, int]:
    """Returns the id of a frame as a reader receives it that does not receive duplicates, and where the rest begins."""
    if not frame.startswith(b"id: "):
        return b"", 0
    end = frame.index(b"\n")
    return frame[:end] + JOINED_SUFFIX, end


def is_reapers(frame: bytes) -> bool:
    """Returns whether a frame was sent by a reaper, and not by the owner of its run."""
    match = _FRAME_NUMBER.match(frame)
    return match is not None and int(match[1]) >= FIRST_REAPER_NUMBER


def is_lost(records: Sequence[CompactedFrame], number: int) -> bool:
    """Returns whether a run does not have an event that was sent: a crash took it, and those after it."""
    end = FIRST_REAPER_NUMBER if number < FIRST_REAPER_NUMBER else math.inf
    # From the end, where most runs have it.
    return not any(number <= record.number < end for record in reversed(records))


def resume_index(records: Sequence[CompactedFrame], cursor: Cursor) -> int | None:
    """Returns the index of the first record to send to a reader that has received the event of ``cursor``.

    None if the compacted run cannot be resumed there: the event was merged into another one, the reader has received
    the run itself, and compaction has placed a later event before it, or it lacks the duplicates of the run.
    """
    if cursor.kind is CursorKind.JOINED:
        return None
    numbers = numbers_of(records)
    if cursor.number not in numbers:
        return None
    after = numbers.index(cursor.number) + 1
    if cursor.kind is CursorKind.COMPACTED:
        return after
    in_order = max(numbers[:after]) == cursor.number and min(numbers[after:], default=math.inf) > cursor.number
    return after if in_order else None
