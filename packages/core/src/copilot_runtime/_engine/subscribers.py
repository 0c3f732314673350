"""Open streams: the `max_streams` limit, keep-alives, disconnects, stalled writes, and eviction of slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from .._concurrency import driver, loops
from .._concurrency.periodic import PeriodicTask
from .._concurrency.process_local import process_rlock
from .._concurrency.waiters import Waiters
from .._http.streaming import EventStream, StreamSource
from ..stores.protocol import StoredRun
from .held_bytes import HeldBytes
from .readers import TICK_SECONDS, BaseReader, BodyReader, ReaderCallbacks
from .run_log import RunLog

UNCOUNTED_BYTES = 16 * 1024
"""An ended run of this size or less takes no more than the connection of its reader does."""

LoopFilter = Callable[[asyncio.AbstractEventLoop], bool]
"""Whether what belongs to a loop is meant."""


class TooManyStreams(Exception):
    """As many streams are open as `max_streams` allows."""


class StreamLimiter:
    """Counts open streams, from any thread. A ``limit`` of None is no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._count = 0
        # Reentrant: an abandoned stream is closed wherever the garbage collector happens to run.
        self._lock = process_rlock()

    def acquire(self) -> None:
        """Counts one more stream. Raises TooManyStreams."""
        if self._limit is None:
            return
        with self._lock.get():
            if self._count >= self._limit:
                raise TooManyStreams
            self._count += 1

    def release(self) -> None:
        """Counts one stream less."""
        if self._limit is None:
            return
        with self._lock.get():
            self._count -= 1

    def after_fork(self) -> None:
        """Starts at zero in a child process."""
        self._count, self._lock = 0, process_rlock()


class KeepAlive:
    """Has silent readers send a comment, with one timer per loop.

    ``seconds`` is how long a stream may be silent; 0 switches it off.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Checked every tenth of the interval, so that no stream is silent for much longer.
        self._timer: PeriodicTask[BaseReader] | None = PeriodicTask(seconds / 10, self._tick) if seconds > 0 else None

    def add(self, reader: BaseReader, loop: asyncio.AbstractEventLoop) -> None:
        """Keeps a reader's stream alive until `discard`."""
        if self._timer is not None:
            self._timer.add(reader, loop)

    def discard(self, reader: BaseReader, loop: asyncio.AbstractEventLoop) -> None:
        """Forgets a reader."""
        if self._timer is not None:
            self._timer.discard(reader, loop)

    def after_fork(self) -> None:
        """Forgets the parent process's readers."""
        if self._timer is not None:
            self._timer.clear()

    def _tick(self, readers: Sequence[BaseReader]) -> None:
        before = time.monotonic() - self.seconds
        for reader in readers:
            if reader.last_sent <= before:
                reader.request_keep_alive()


class Subscribers:
    """The readers of this process.

    Args:
        max_streams: how many streams may be open at the same time; None for no limit.
        keep_alive_seconds: how long a stream may be silent; 0 for any time.
        send_timeout_seconds: how long a write may make no progress; None for any time.
        on_abandoned: called with the log of a run when its last reader has left.
        while_open: called every `TICK_SECONDS` on each loop that has readers.
    """

    def __init__(
        self,
        *,
        max_streams: int | None,
        keep_alive_seconds: float,
        send_timeout_seconds: float | None,
        on_abandoned: Callable[[RunLog], None],
        while_open: Callable[[], None],
    ) -> None:
        self._limiter = StreamLimiter(max_streams)
        self._keep_alive = KeepAlive(keep_alive_seconds)
        self._on_abandoned = on_abandoned
        self._open: dict[BaseReader, asyncio.AbstractEventLoop] = {}
        self._open_timer: PeriodicTask[BaseReader] = PeriodicTask(TICK_SECONDS, self._tick)
        self._send_ticks = math.inf if send_timeout_seconds is None else send_timeout_seconds / TICK_SECONDS
        self._while_open = while_open
        self._closed = Waiters()
        self._held = HeldBytes()

    @property
    def has_open(self) -> bool:
        """Whether any stream is open."""
        return bool(self._open)

    @contextlib.contextmanager
    def open_stream(self) -> Iterator[Callable[[StreamSource], EventStream]]:
        """Takes one of `max_streams`, and releases it if the block opens no stream. Raises TooManyStreams."""
        try:
            self._limiter.acquire()
        except TooManyStreams:
            self._close_without_loop()
            self._limiter.acquire()
        opened: list[EventStream] = []

        def open_source(source: StreamSource) -> EventStream:
            opened.append(EventStream(source))
            return opened[0]

        try:
            yield open_source
        finally:
            if not opened:
                self._limiter.release()

    def callbacks_for(self, log: RunLog | None = None) -> ReaderCallbacks:
        """Returns the callbacks of a reader, of a run's log or of stored runs alone."""
        loop = loops.target_loop()
        held = self._held

        def opened(reader: BaseReader) -> None:
            self._open[reader] = loop
            self._open_timer.add(reader, loop)
            self._keep_alive.add(reader, loop)
            if log is not None:
                log.readers.add(reader)

        def closed(reader: BaseReader) -> None:
            self._limiter.release()
            self._open.pop(reader, None)
            self._open_timer.discard(reader, loop)
            self._keep_alive.discard(reader, loop)
            held.release(reader)
            self._closed.notify()
            if log is not None:
                log.readers.discard(reader)
                self.reader_left(log)

        return ReaderCallbacks(opened, closed, held.release)

    def hold_history(self, reader: BaseReader, runs: Iterable[StoredRun]) -> None:
        """Counts stored runs as kept in memory by a reader until it has read its history."""
        self._held.hold(reader, ((run.records, partial(_size, run)) for run in runs))

    def open_body(self, body: bytes) -> EventStream:
        """Returns a complete body as a stream, which is none of `max_streams`."""
        loop, held, timer = loops.target_loop(), self._held, self._open_timer

        def closed(reader: BaseReader) -> None:
            timer.discard(reader, loop)
            held.release(reader)

        reader = BodyReader(body, ReaderCallbacks(lambda reader: timer.add(reader, loop), closed))
        held.hold(reader, [(body, lambda: len(body))])
        return EventStream(reader)

    def reader_left(self, log: RunLog) -> None:
        """Handles that a reader of a run, or a request that was about to read it, has left."""
        if not log.readers:
            self._on_abandoned(log)

    def run_ended(self, log: RunLog) -> None:
        """Counts an ended run as kept in memory by its readers."""
        size = sum(map(len, log.frames)) if log.readers else 0
        if size <= UNCOUNTED_BYTES:
            return
        for reader in list(log.readers):
            if isinstance(reader, BaseReader):
                self._held.hold(reader, [(log, lambda: size)])
                if reader not in log.readers:  # it may have left on its own thread meanwhile
                    self._held.release(reader)

    def _tick(self, readers: Sequence[BaseReader]) -> None:
        limit = self._send_ticks
        for reader in readers:
            if reader.sending_ticks >= 0:
                reader.tick(limit)
        self._held.evict_slow()
        self._while_open()

    def _close_without_loop(self) -> None:
        """Closes readers whose event loop was closed under them."""
        for reader, loop in list(self._open.items()):
            if loop.is_closed():
                reader.close()

    async def close_all(self, of_loop: LoopFilter, deadline: float) -> None:
        """Ends the streams of some loops that do not end by themselves.

        Waits until all have been sent, or until ``deadline`` on the monotonic clock.
        """
        readers = [reader for reader, loop in list(self._open.items()) if of_loop(loop)]
        for reader in readers:
            reader.cut()
        await driver.wait_while(lambda: not self._open.keys().isdisjoint(readers), self._closed.add, deadline)

    def after_fork(self) -> None:
        """Forgets the parent process's readers."""
        self._held.after_fork()
        self._open.clear()
        self._open_timer.clear()
        self._limiter.after_fork()
        self._keep_alive.after_fork()


def _size(run: StoredRun) -> int:
    return sum(len(record.frame) for record in run.records) + sum(map(len, run.raw or ()))
