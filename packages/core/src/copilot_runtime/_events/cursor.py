"""Where a reader stands: ``<run's ordinal on its thread>.<event's number in its run>``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .compaction import CompactedFrame

_ID = re.compile(r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,17})")


class Cursor(NamedTuple):
    """The last event that a reader has seen."""

    ordinal: int
    number: int

    @classmethod
    def parse(cls, text: str | None) -> Cursor | None:
        """The cursor of a frame's id; None for anything that no server of ours has made."""
        found = _ID.fullmatch(text or "")
        return cls(int(found[1]), int(found[2])) if found else None


def resume_index(records: Sequence[CompactedFrame], number: int) -> int | None:
    """From which record on a compacted run goes on after event ``number``.

    None where that cannot be told from what is left: the event was folded into another,
    or folding has put something before it that came after it.
    """
    at = next((index for index, record in enumerate(records) if record.number == number), None)
    if at is None:
        return None
    clean = all(record.number <= number for record in records[:at]) and all(
        record.number > number for record in records[at + 1 :]
    )
    return at + 1 if clean else None
