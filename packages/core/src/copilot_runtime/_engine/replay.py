"""Which frames a client receives that connects to a thread, after a cursor or from the beginning."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .._events import (
    CompactedFrames,
    Cursor,
    CursorKind,
    error_frame,
    frames_of,
    is_lost,
    resume_index,
    without_past_errors,
)
from ..stores.protocol import StoredRun, ThreadSnapshot
from .endings import LOST, lost_ending


class Replay(NamedTuple):
    """Frames to send at once, and how many events of the active run to skip.

    ``skip_duplicates`` is whether to leave out events of the active run that repeat the history, ``needs_repair``
    whether clients may reject some of the frames, and ``joined`` how many of the frames, the first ones, are those of
    a run without its duplicates.
    """

    history: Sequence[bytes]
    live_offset: int
    skip_duplicates: bool
    needs_repair: bool = False
    joined: int = 0


def replay(thread: ThreadSnapshot, cursor: Cursor | None) -> Replay:
    """Returns all of a thread, or exactly what follows ``cursor`` if that is known.

    A RUN_ERROR is included only as the last event of the thread.
    """
    live = thread.live
    if (
        cursor is not None
        and live is not None
        and live.run.ordinal == cursor.ordinal
        and cursor.kind is not CursorKind.COMPACTED
    ):
        return Replay((), cursor.number, cursor.kind is CursorKind.JOINED)
    lost_ending = _lost_ending(thread, cursor)
    last = None if live is not None or lost_ending or not thread.runs else thread.runs[-1]
    runs = [_without_past_errors(run, is_last=run is last) if run.has_run_error else run for run in thread.runs]
    needs_repair = not all(run.is_checked for run in runs)
    remainder = None if cursor is None else _remainder(runs, cursor, is_live=live is not None)
    if remainder is None:
        return Replay([*_frames(runs), *lost_ending], 0, True, needs_repair)
    later = _frames(run for run in runs if run.ordinal > remainder.ordinal)
    rest = list(filter(None, remainder.frames))
    return Replay([*rest, *later], 0, True, needs_repair, len(rest) if remainder.is_joined else 0)


def _frames(runs: Iterable[StoredRun]) -> Iterator[bytes]:
    """Yields the frames to send, without calling anything in Python for each."""
    return filter(None, itertools.chain.from_iterable(frames_of(run.records) for run in runs))


def _without_past_errors(run: StoredRun, *, is_last: bool) -> StoredRun:
    stored = frames_of(run.records)
    records = CompactedFrames(without_past_errors(stored, is_last=is_last), stored)
    raw = None if run.raw is None else without_past_errors(run.raw, is_last=is_last)
    return dataclasses.replace(run, records=records, raw=raw)


def _lost_ending(thread: ThreadSnapshot, cursor: Cursor | None) -> Sequence[bytes]:
    """Returns the end of a run of which a reader has received events, and nothing was stored."""
    last_stored = thread.runs[-1].ordinal if thread.runs else 0
    if cursor is not None and thread.live is None and last_stored < cursor.ordinal <= thread.last_ordinal:
        return (error_frame(LOST),)
    return ()


class _Remainder(NamedTuple):
    """What follows a cursor in its own run."""

    ordinal: int
    frames: Sequence[bytes]
    is_joined: bool = False
    """Whether there are duplicates, which ``frames`` does not have."""


def _remainder(runs: Sequence[StoredRun], cursor: Cursor, *, is_live: bool) -> _Remainder | None:
    run = next((run for run in runs if run.ordinal == cursor.ordinal), None)
    if run is None:
        return None
    if is_lost(run.records, cursor.number):
        if is_live or run is not runs[-1]:
            return None  # clients up to 1.69 would accept nothing after the error
        return _Remainder(run.ordinal, [lost_ending(record.frame) for record in run.records[-1:]])
    if run.raw is not None and cursor.kind is not CursorKind.COMPACTED:
        rest = run.raw[cursor.position :]
        if cursor.kind is CursorKind.RUN or not run.duplicates:
            return _Remainder(run.ordinal, rest)
        numbered = enumerate(rest, cursor.position + 1)
        return _Remainder(run.ordinal, [frame for number, frame in numbered if number not in run.duplicates], True)
    index = resume_index(run.records, cursor)
    return None if index is None else _Remainder(run.ordinal, frames_of(run.records[index:]))
