"""What the store has of a run, and the lease under which it is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Protocol

from .._concurrency.process_local import process_rlock
from .._events import Piece, RunEnding, as_frames, count_frames
from ..stores.protocol import Batch, Lease
from .run_log import RunLog

_creating = process_rlock()
"""Held while what few runs need is created.

Reentrant, for what a signal handler or the garbage collector runs meanwhile."""


class WrittenRun(Protocol):
    """The run of a writer. Its methods may be called from any thread."""

    def stop_threadsafe(self, ending: RunEnding, /) -> None:
        """Asks the agent to end."""

    def mark_lost_threadsafe(self) -> None:
        """Ends the run, in a later turn of its loop: another process has ended it or taken over its thread."""


class RunWriter:
    """The lease and the flush state of one run.

    Args:
        lease: the right to write the run.
        log: the run's log.
        loop: the event loop of the run.
        run: the run, to which its signals go.
        flush_bytes: how many bytes the store has to lack for a flush to be scheduled.
    """

    _batch_end: tuple[int, int]
    """How many pieces of the log, and how many frames, are stored once the last batch is; unset before the first."""

    __slots__ = (
        "_batch_end",
        "_flush_lock",
        "_run",
        "flush_bytes",
        "flush_scheduled",
        "flushed_frames",
        "flushed_pieces",
        "followed_until",
        "lease",
        "log",
        "loop",
        "unflushed_bytes",
    )

    def __init__(
        self, lease: Lease, log: RunLog, loop: asyncio.AbstractEventLoop, run: WrittenRun, flush_bytes: int = 0
    ) -> None:
        self.lease = lease
        self.log = log
        self.loop = loop
        self.flushed_pieces = 0
        """How many pieces of the log are stored."""
        self.flushed_frames = 0
        """How many frames these have."""
        self.unflushed_bytes = 0
        self.flush_bytes = flush_bytes
        self._flush_lock: threading.Lock | None = None
        """None for most runs: they are over before their first flush."""
        self.flush_scheduled = False
        self.followed_until = 0.0
        """Until when its frames are stored as they come, by the monotonic clock: another process follows the run."""
        self._run: WrittenRun | None = run
        """None once it has ended in this process."""

    def close(self) -> None:
        """Marks the run as ended in this process, and forgets it: the two would keep each other in memory."""
        self._run = None

    @property
    def is_closed(self) -> bool:
        """Whether the run has ended in this process: what is left of it is stored with its end."""
        return self._run is None

    @property
    def flush_lock(self) -> threading.Lock:
        """Held while frames of the run are being stored, or they could be stored twice."""
        lock = self._flush_lock
        if lock is None:
            with _creating.get():
                lock = self._flush_lock = self._flush_lock or threading.Lock()
        return lock

    @property
    def is_flushing(self) -> bool:
        """Whether that lock is held."""
        return self._flush_lock is not None and self._flush_lock.locked()

    def stop(self, ending: RunEnding) -> None:
        """Stops the run, from any thread, unless it has ended."""
        if (run := self._run) is not None:
            run.stop_threadsafe(ending)

    def report_lost(self) -> None:
        """Reports, from any thread, that another process has ended the run or taken over its thread."""
        if (run := self._run) is not None:
            run.mark_lost_threadsafe()

    def unflushed_pieces(self) -> Sequence[Piece]:
        """Returns the frames that the store does not have; to be called with the flush lock held."""
        return self.log.pieces[self.flushed_pieces :]

    def last_frames(self, pieces: Sequence[Piece], frame_count: int | None) -> Sequence[bytes]:
        """Returns the frames that the store does not have of a closed run, which ends with ``pieces``.

        ``frame_count`` is how many frames the run has; None if unknown.
        """
        unflushed = self.unflushed_pieces()
        missing = [*unflushed, *pieces] if unflushed else pieces
        return as_frames(missing, count_frames(missing) if frame_count is None else frame_count - self.flushed_frames)

    def batch(self, *, may_be_empty: bool = False) -> Batch | None:
        """Returns what a flush has to store; to be called with the flush lock held.

        None for a closed run, whose end brings the frames along that the store lacks, and where it lacks none unless
        ``may_be_empty``.
        """
        start, log = self.flushed_pieces, self.log
        pieces = log.pieces[start:]
        if self._run is None or not (pieces or may_be_empty):
            return None
        self.unflushed_bytes = 0
        frames = log.frames_of(pieces)
        count = self.flushed_frames + len(frames)
        self._batch_end = start + len(pieces), count
        return Batch(self.lease, frames, log.duplicates, count)

    def mark_flushed(self) -> None:
        """Records that the last batch was stored; to be called with the flush lock held since then."""
        self.flushed_pieces, self.flushed_frames = self._batch_end
