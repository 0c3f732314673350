"""What the store has of a run in this process, and the lease under which it is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from .._concurrency.process_local import process_rlock
from .._events import Piece, RunEnding, as_frames, count_frames
from ..stores.protocol import Batch, Lease
from .run_log import RunLog

_creating = process_rlock()
"""Held while what few runs need is created.

Reentrant, for what a signal handler or the garbage collector runs meanwhile."""


NOTHING_FLUSHED = (0, 0)
"""`RunWriter.flushed` of most runs: they are over before their first flush."""


class RunWriter:
    """What a run is written to the store with: the first layer of a `Run`, which sets its attributes.

    Attributes:
        lease: the right to write the run. Unset for a run on no thread, of which nothing is stored.
        log: its log.
        started_at: when it began, in seconds since the epoch.
        loop: its event loop.
        is_finished: whether it has ended in this process: what is left of it is stored with its end.
        flushed: how many pieces of the log are stored, and how many frames these have.
        size: how many bytes its frames have, which takes long to count where there are many.
        flushed_size: how many they had at the last flush.
        flush_scheduled: whether it is to be flushed soon.
        due_at: from which size on it is looked at whether it is to be flushed, or has too much in memory.
        followed_until: until when its frames are stored as they come, by the monotonic clock: another process follows
            the run.
    """

    __slots__ = (
        "_batch_end",
        "due_at",
        "existing_lock",
        "flush_scheduled",
        "flushed",
        "flushed_size",
        "followed_until",
        "is_finished",
        "lease",
        "log",
        "loop",
        "size",
        "started_at",
    )

    lease: Lease
    log: RunLog
    started_at: float
    loop: asyncio.AbstractEventLoop
    is_finished: bool
    flushed: tuple[int, int]
    size: int
    flushed_size: int
    flush_scheduled: bool
    due_at: int
    followed_until: float

    _batch_end: tuple[int, int]
    """`flushed` once the last batch is stored; unset before the first."""

    existing_lock: threading.Lock | None
    """`flush_lock`, if anybody has needed it; None for most runs: they are over before their first flush."""

    def stop_threadsafe(self, ending: RunEnding) -> None:
        """Asks the agent to end, from any thread, unless the run has ended."""
        raise NotImplementedError

    def mark_lost_threadsafe(self) -> None:
        """Ends the run, in a later turn of its loop: another process has ended it or taken over its thread."""
        raise NotImplementedError

    @property
    def unflushed_bytes(self) -> int:
        """How much was recorded since the last flush."""
        return self.size - self.flushed_size

    @property
    def flush_lock(self) -> threading.Lock:
        """Held while frames of the run are being stored, or they could be stored twice."""
        lock = self.existing_lock
        if lock is None:
            with _creating.get():
                lock = self.existing_lock = self.existing_lock or threading.Lock()
        return lock

    def begin_flush(self) -> None:
        """Has what is recorded from now on flushed later; to be called before the frames are looked at."""
        # In this order, for `Run._look_at_size` on another thread.
        self.flush_scheduled = False
        self.due_at = 0

    def last_frames(self, pieces: Sequence[Piece], frame_count: int | None) -> Sequence[bytes]:
        """Returns the frames that the store does not have of a closed run, which ends with ``pieces``.

        ``frame_count`` is how many frames the run has; None if unknown.
        """
        (flushed_pieces, flushed_frames), shown = self.flushed, self.log.pieces
        missing = [*shown[flushed_pieces:], *pieces] if shown else pieces
        return as_frames(missing, count_frames(missing) if frame_count is None else frame_count - flushed_frames)

    def batch(self, *, may_be_empty: bool = False) -> Batch | None:
        """Returns what a flush has to store; to be called with the flush lock held.

        None for a closed run, whose end brings the frames along that the store lacks, and where it lacks none unless
        ``may_be_empty``.
        """
        (start, count), log = self.flushed, self.log
        pieces = log.pieces[start:]
        if self.is_finished or not (pieces or may_be_empty):
            return None
        self.flushed_size = self.size
        frames = log.frames_of(pieces)
        count += len(frames)
        self._batch_end = start + len(pieces), count
        return Batch(self.lease, frames, log.duplicates, count)

    def mark_flushed(self) -> None:
        """Records that the last batch was stored; to be called with the flush lock held since then."""
        self.flushed = self._batch_end
