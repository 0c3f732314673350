"""Open streams: the `max_streams` limit, keep-alives, disconnects, stalled writes, and eviction of slow readers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from .._concurrency import driver, loops
from .._concurrency.periodic import PeriodicTask
from .._concurrency.process_local import process_rlock
from .._concurrency.waiters import Waiters
from .._events import frames_of
from .._http.stream_source import StreamSource
from .._http.streaming import EventStream
from ..stores.protocol import StoredRun
from .base_reader import TICK_SECONDS, BaseReader, ReaderCallbacks
from .body_reader import BodyReader
from .held_bytes import HeldBytes
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


class StreamSlot:
    """The place of one stream under `max_streams`: a context that releases it unless a stream was opened in it.

    Called with the source of the stream, it returns the stream.
    """

    __slots__ = ("_is_open", "_limiter")

    def __init__(self, limiter: StreamLimiter) -> None:
        self._limiter = limiter
        self._is_open = False

    def __call__(self, source: StreamSource) -> EventStream:
        self._is_open = True
        return EventStream(source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_open:
            self._limiter.release()


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
        now = time.monotonic()
        before = now - self.seconds
        for reader in readers:
            if reader.silent_since(now) <= before:
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
        self.has_limit = max_streams is not None
        """Whether streams have to be opened in a slot."""
        self._unlimited = None if max_streams is not None else StreamSlot(self._limiter)
        """One for all streams: without a limit there is nothing to release."""
        self._keep_alive = KeepAlive(keep_alive_seconds)
        self._on_abandoned = on_abandoned
        self._open: set[BaseReader] = set()
        self._watched: PeriodicTask[BaseReader] = PeriodicTask(TICK_SECONDS, self._tick)
        """Those that wait, or may be kept waiting. A stream whose run never waits is over before it is one of them."""
        self._send_ticks = math.inf if send_timeout_seconds is None else send_timeout_seconds / TICK_SECONDS
        self._while_open = while_open
        self._closed = Waiters()
        self._close_is_awaited = False
        """Whether anybody has waited for streams to be closed."""
        self._held = HeldBytes()
        self.callbacks = ReaderCallbacks(self._reader_opened, self._reader_closed, self._history_read, self._watch)
        """Those of the readers of streams."""
        self._body_callbacks = ReaderCallbacks(_set_loop, self._forget, watched=self._watch)

    @property
    def has_open(self) -> bool:
        """Whether any stream is open."""
        return bool(self._open)

    @property
    def open_count(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def open_stream(self) -> StreamSlot:
        """Takes one of `max_streams`. Raises TooManyStreams."""
        if self._unlimited is not None:
            return self._unlimited
        try:
            self._limiter.acquire()
        except TooManyStreams:
            self._close_without_loop()
            self._limiter.acquire()
        return StreamSlot(self._limiter)

    def hold_history(self, reader: BaseReader, runs: Iterable[StoredRun]) -> None:
        """Counts stored runs as kept in memory by a reader until it has read its history."""
        self._held.hold(reader, ((run.records, partial(_size, run)) for run in runs))
        reader.watch()

    def hold_frames(self, reader: BaseReader, frames: Sequence[bytes]) -> None:
        """Counts frames that are not stored as kept in memory by a reader until it has read its history."""
        self._held.hold(reader, [(frames, lambda: sum(map(len, frames)))])
        reader.watch()

    def open_body(self, body: bytes) -> EventStream:
        """Returns a complete body as a stream, which is none of `max_streams`."""
        reader = BodyReader(body, self._body_callbacks)
        self._held.hold(reader, [(body, lambda: len(body))])
        reader.watch()
        return EventStream(reader)

    def reader_left(self, log: RunLog) -> None:
        """Handles that a reader of a run, or a request that was about to read it, has left."""
        if not log.readers:
            self._on_abandoned(log)

    def run_ended(self, log: RunLog, size: int) -> None:
        """Counts an ended run, whose frames have ``size`` bytes, as kept in memory by its readers."""
        if size <= UNCOUNTED_BYTES:
            return
        for reader in log.readers:
            if isinstance(reader, BaseReader):
                self._hold_log(reader, log, size)

    def _hold_log(self, reader: BaseReader, log: RunLog, size: int) -> None:
        self._held.hold(reader, [(log, lambda: size)])
        reader.watch()
        reader.forget_ended_run()
        if reader.is_closed or reader.log is not log:  # on another thread, meanwhile
            self._held.release(reader)

    # --- called by readers ---

    def _reader_opened(self, reader: BaseReader) -> None:
        reader.loop = loops.target_loop()
        self._open.add(reader)
        log = reader.log
        if log is not None:
            if reader.reads_from_begin and log.first_reader is None:
                log.first_reader = reader
            else:
                log.add_reader(reader)

    def _history_read(self, reader: BaseReader) -> None:
        self._held.release(reader)
        log = reader.log
        if log is not None and log.ended:  # meanwhile: what it holds of the run, which it has yet to read, is kept
            size = sum(map(len, log.pieces))
            if size > UNCOUNTED_BYTES:
                self._hold_log(reader, log, size)

    def _watch(self, reader: BaseReader) -> None:
        self._watched.add(reader, reader.loop)
        self._keep_alive.add(reader, reader.loop)
        if reader.is_closed:  # on its own thread, meanwhile
            self._forget(reader)

    def _forget(self, reader: BaseReader) -> None:
        if reader.is_watched:
            self._watched.discard(reader, reader.loop)
            self._keep_alive.discard(reader, reader.loop)
        self._held.release(reader)

    def _reader_closed(self, reader: BaseReader) -> None:
        try:
            self._open.remove(reader)
        except KeyError:  # it is one of the parent process, which closes in the child as it is collected
            pass
        else:
            if self.has_limit:
                self._limiter.release()
        if reader.is_watched:  # before that, nothing has been counted for it
            self._forget(reader)
        if self._close_is_awaited:
            self._closed.notify()
        log, reader.log = reader.log, None
        if log is not None:
            log.discard_reader(reader)
            if not log.ended:
                self.reader_left(log)

    # --- timers and ends ---

    def _tick(self, readers: Sequence[BaseReader]) -> None:
        limit = self._send_ticks
        for reader in readers:
            if reader.sending_ticks >= 0:
                reader.tick(limit)
        self._held.evict_slow()
        self._while_open()

    def _close_without_loop(self) -> None:
        """Closes readers whose event loop was closed under them."""
        for reader in list(self._open):
            if reader.loop.is_closed():
                reader.close()

    async def close_all(self, of_loop: LoopFilter, deadline: float) -> None:
        """Ends the streams of some loops that do not end by themselves.

        Waits until all have been sent, or until ``deadline`` on the monotonic clock.
        """
        self._close_is_awaited = True
        readers = [reader for reader in list(self._open) if of_loop(reader.loop)]
        for reader in readers:
            reader.cut()
        await driver.wait_while(lambda: not self._open.isdisjoint(readers), self._closed.add, deadline)

    def after_fork(self) -> None:
        """Forgets the parent process's readers."""
        self._held.after_fork()
        self._open.clear()
        self._watched.clear()
        self._limiter.after_fork()
        self._keep_alive.after_fork()


def _set_loop(reader: BaseReader) -> None:
    reader.loop = loops.target_loop()


def _size(run: StoredRun) -> int:
    return sum(map(len, frames_of(run.records))) + sum(map(len, run.raw or ()))
