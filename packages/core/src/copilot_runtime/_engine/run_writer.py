"""What the store has of a run, and the lease under which it is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from .._events import RunEnding
from ..stores.protocol import Batch, Lease
from .run_log import RunLog


class RunWriter:
    """The lease and the flush state of one run. Its log's frames up to ``flushed_count`` are stored.

    Args:
        lease: the right to write the run.
        log: the run's log.
        loop: the event loop of the run.
        stop: stops the run with an ending, from any thread.
        report_lost: reports, from any thread, that another process has ended the run or taken over its thread; the
            run hears of it in a later turn of its loop.
    """

    __slots__ = (
        "flush_lock",
        "flush_scheduled",
        "flushed_count",
        "is_closed",
        "lease",
        "log",
        "loop",
        "report_lost",
        "stop",
        "unflushed_bytes",
    )

    def __init__(
        self,
        lease: Lease,
        log: RunLog,
        loop: asyncio.AbstractEventLoop,
        *,
        stop: Callable[[RunEnding], None],
        report_lost: Callable[[], None],
    ) -> None:
        self.lease = lease
        self.log = log
        self.loop = loop
        self.flushed_count = 0
        self.unflushed_bytes = 0
        self.flush_lock = threading.Lock()
        """Held while frames of the run are being stored, or they could be stored twice."""
        self.flush_scheduled = False
        self.is_closed = False
        """Whether the run has ended in this process: what is left of it is stored with its end."""
        self.stop = stop
        self.report_lost = report_lost

    def unflushed_frames(self) -> Sequence[bytes]:
        """Returns the frames that the store does not have; to be called with the flush lock held."""
        return self.log.frames[self.flushed_count :]

    def batch(self) -> Batch:
        """Returns what a flush has to store; to be called with the flush lock held."""
        self.unflushed_bytes = 0
        return Batch(self.lease, self.unflushed_frames(), self.log.duplicates)
