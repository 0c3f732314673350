"""What one who connects to a thread is sent of the runs that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._events import Cursor, resume_index
from ..stores.protocol import StoredRun, ThreadSnapshot


class Replay(NamedTuple):
    """Frames to send at once, and from which event on the live run follows.

    ``joining`` is whether the live run's repetitions of the history are to be left out.
    """

    history: Sequence[bytes]
    live_offset: int
    skip_duplicates: bool


def replay(view: ThreadSnapshot, cursor: Cursor | None) -> Replay:
    """All of a thread, or exactly what follows ``cursor`` where that can be told."""
    live = view.live
    if cursor is not None and live is not None and live.run.ordinal == cursor.ordinal:
        return Replay((), cursor.number, False)
    first = None if cursor is None else _rest(view.runs, cursor)
    if first is None:
        return Replay([record.frame for run in view.runs for record in run.records], 0, True)
    later = [record.frame for run in view.runs if run.ordinal > first.ordinal for record in run.records]
    return Replay([*first.frames, *later], 0, True)


class _Remainder(NamedTuple):
    ordinal: int
    frames: Sequence[bytes]


def _rest(runs: Sequence[StoredRun], cursor: Cursor) -> _Remainder | None:
    run = next((run for run in runs if run.ordinal == cursor.ordinal), None)
    if run is None:
        return None
    last = max((record.number for record in run.records), default=0)
    if cursor.number > last:
        # It names an event that a crash took: how the run ended is the least to say.
        return _Remainder(run.ordinal, [record.frame for record in run.records[-1:]])
    if run.raw is not None:
        return _Remainder(run.ordinal, run.raw[cursor.number :])
    at = resume_index(run.records, cursor.number)
    return None if at is None else _Remainder(run.ordinal, [record.frame for record in run.records[at:]])
