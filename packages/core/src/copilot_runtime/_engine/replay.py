"""Which frames a client receives that connects to a thread, after a cursor or from the beginning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from .._events import CompactedFrame, Cursor, resume_index, without_past_errors
from ..stores.protocol import StoredRun, ThreadSnapshot


class Replay(NamedTuple):
    """Frames to send at once, and how many events of the active run to skip.

    ``skip_duplicates`` is whether to leave out events of the active run that repeat the history.
    """

    history: Sequence[bytes]
    live_offset: int
    skip_duplicates: bool


def replay(thread: ThreadSnapshot, cursor: Cursor | None) -> Replay:
    """Returns all of a thread, or exactly what follows ``cursor`` if that is known.

    A RUN_ERROR is included only as the last event of the thread.
    """
    live = thread.live
    if cursor is not None and live is not None and live.run.ordinal == cursor.ordinal:
        return Replay((), cursor.number, False)
    runs = [
        _without_past_errors(run, is_last=live is None and run is thread.runs[-1]) if run.has_run_error else run
        for run in thread.runs
    ]
    remainder = None if cursor is None else _remainder(runs, cursor)
    if remainder is None:
        return Replay([record.frame for run in runs for record in run.records if record.frame], 0, True)
    later = [record.frame for run in runs if run.ordinal > remainder.ordinal for record in run.records if record.frame]
    return Replay([*filter(None, remainder.frames), *later], 0, True)


def _without_past_errors(run: StoredRun, *, is_last: bool) -> StoredRun:
    frames = without_past_errors([record.frame for record in run.records], is_last=is_last)
    records = [CompactedFrame(record.number, frame) for record, frame in zip(run.records, frames, strict=True)]
    raw = None if run.raw is None else without_past_errors(run.raw, is_last=is_last)
    return dataclasses.replace(run, records=records, raw=raw)


class _Remainder(NamedTuple):
    """What follows a cursor in its own run."""

    ordinal: int
    frames: Sequence[bytes]


def _remainder(runs: Sequence[StoredRun], cursor: Cursor) -> _Remainder | None:
    run = next((run for run in runs if run.ordinal == cursor.ordinal), None)
    if run is None:
        return None
    last = max((record.number for record in run.records), default=0)
    if cursor.number > last:
        # The cursor is an event that a crash took: the reader at least has to learn how the run ended.
        return _Remainder(run.ordinal, [record.frame for record in run.records[-1:]])
    if run.raw is not None:
        return _Remainder(run.ordinal, run.raw[cursor.number :])
    index = resume_index(run.records, cursor.number)
    return None if index is None else _Remainder(run.ordinal, [record.frame for record in run.records[index:]])
