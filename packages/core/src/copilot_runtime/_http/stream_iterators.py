"""Iterate a stream: on a worker thread, which sleeps while nothing is ready, or in a task, which is suspended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from .._concurrency.wake import Wake
from .stream_source import StreamSource

TURN_BYTES = 64 * 1024
"""How many bytes may be sent before the event loop gets a turn, even if no `send` waits for the client."""

HEADERS_SECONDS = 0.1
"""How long the headers of a response may wait for what is about to be ready: a synchronous agent may take its time, an
asynchronous one may block the event loop, and so may a store the end of a run."""

UNWATCHED_BYTES = 16 * 1024
"""How much of a stream may be sent although nothing looks whether the client reads it: what Linux's default buffer of a
connection takes at once, so that no worker thread waits for the client."""


async def wait_for_start(source: StreamSource) -> None:
    """Waits on an event loop until a source has started, for `HEADERS_SECONDS` at most.

    Nobody looks after the stream meanwhile, which costs more than the rest of a run that is over once it is stored.
    """
    loop = asyncio.get_running_loop()
    started = loop.create_future()

    def end() -> None:
        if not started.done():
            started.set_result(None)

    def notify(*_change: object) -> None:
        if asyncio._get_running_loop() is loop:
            end()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: there is no task left to resume
                loop.call_soon_threadsafe(end)

    # Asked after the waiter is there, since the source may have started before.
    if source.add_waiter(notify, is_brief=True) and source.is_starting:
        timer = loop.call_later(HEADERS_SECONDS, end)
        try:
            await started
        finally:
            timer.cancel()
    source.mark_sending()  # as if it had not waited: the next to be waited for is the server


class SyncStreamIterator:
    """Iterates a source on a worker thread, which sleeps while nothing is ready.

    Closes its source when it is garbage-collected: a framework may put another response in the place of the one that
    it belonged to. The first chunk never waits for long: it is ``greeting`` if nothing is ready and the source is not
    starting, or has been starting for `HEADERS_SECONDS`. A WSGI server holds the headers back until there is a chunk
    (PEP 3333, "Handling of Headers"), and an agent may take its time; but what an agent has ready at once leaves with
    the headers, as one chunk, which for a short run is the whole body.
    """

    __slots__ = ("_first", "_goes_on_waiting", "_greeting", "_is_begun", "_is_closed", "_notify", "_source", "_wake")

    def __init__(self, source: StreamSource, greeting: bytes = b"") -> None:
        self._source = source
        self._greeting = greeting
        self._first = b""
        """What `read_first` has read, until it is yielded."""
        self._is_begun = False
        self._goes_on_waiting = False
        """Whether the source need not be given the waiter again."""
        self._is_closed = False
        self._wake = Wake()
        # Without a reference to the iterator, which its source would keep in memory.
        self._notify: Callable[[], object] = self._wake.set

    def __iter__(self) -> SyncStreamIterator:
        return self

    def __next__(self) -> bytes:
        if not self._is_begun:
            self._is_begun = True
            first, self._first = self._first or self._read_first(), b""
            if first:
                return first
        source = self._source
        while True:
            if self._goes_on_waiting:
                source.mark_sent()
            else:
                # Before it reads, since what was ready has been yielded: there is probably nothing.
                self._goes_on_waiting = source.add_waiter(self._notify, is_lasting=True)
            if self._goes_on_waiting:
                self._wake.wait()
                chunk = source.read_more()
                if chunk is not None:
                    source.mark_sending()
                    return chunk
                self._goes_on_waiting = False
            chunk = source.read_available()
            if chunk:
                return chunk
            if chunk is None:
                self._close_source()
                raise StopIteration

    def read_first(self) -> bytes | None:
        """Reads the first chunk, which is yielded first, and returns it if it is the only one and small."""
        source = self._source
        if source.is_starting:
            self._wait_for_start(time.monotonic() + HEADERS_SECONDS)
        whole = source.read_whole()
        if whole is None:
            first = source.read_available() or self._greeting
            whole = first if source.is_at_end else None
        else:
            first = whole
        self._first = first
        if whole is None or len(whole) > UNWATCHED_BYTES:
            return None
        self._close_source()
        return whole

    def _read_first(self) -> bytes:
        source = self._source
        if source.is_starting:
            self._wait_for_start(time.monotonic() + HEADERS_SECONDS)
        return source.read_available() or self._greeting

    def _wait_for_start(self, deadline: float) -> None:
        source = self._source
        # Asked after the waiter is there, since the source may have started before.
        while source.add_waiter(self._notify, is_brief=True) and source.is_starting:
            if not self._wake.wait(timeout=max(0.0, deadline - time.monotonic())) or not source.is_starting:
                return

    def close(self) -> None:
        """Closes the source and ends a wait in another OS thread."""
        self._close_source()
        self._notify()

    def _close_source(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._source.close()

    def __del__(self) -> None:
        self._close_source()


class AsyncStreamIterator:
    """Iterates a source in a task, which is suspended while nothing is ready.

    May be created anywhere; its loop is that of the first wait. Closes its source when it is garbage-collected.
    """

    __slots__ = ("_future", "_is_closed", "_is_notifying", "_loop", "_size", "_source", "_without_turn")

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._is_closed = False
        self._is_notifying = False
        """Whether another thread has the loop notify it, which looks at the source only then."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None
        """What the task waits for; None once it has been woken."""
        self._size: int | None = None
        """How many bytes were read last: all that was ready, so that there is probably nothing more."""
        self._without_turn = 0
        """How many bytes were read since the loop had a turn here."""

    def __aiter__(self) -> AsyncStreamIterator:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._size is not None and (waiting := self.wait(self._size)) is not None:
                await waiting
            chunk = self._source.read_available()
            if chunk is None:
                self._source.close()
                raise StopAsyncIteration
            self._size = len(chunk)
            if chunk:
                return chunk

    def wait(self, size: int, *, is_lasting: bool = False) -> Awaitable[None] | None:
        """Returns what to wait for before the source is read again; None for nothing.

        For an adapter that reads the source itself, since a coroutine for each chunk has its cost.

        Args:
            size: how many bytes were read last.
            is_lasting: whether the source may notify at any later change, too. For who is certain to close the source:
                until then, what it reads keeps this iterator in memory.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if self._source.add_waiter(self._notify, is_lasting=is_lasting):
            self._without_turn = 0
            # Not earlier: another thread that notifies has the loop resolve it, which needs a turn for that.
            future = self._future = loop.create_future()
            return future
        self._without_turn += size
        if self._without_turn < TURN_BYTES:
            return None
        # A `send` to a client that has disconnected may return at once and raise nothing: the loop has to notice.
        self._without_turn = 0
        return asyncio.sleep(0)

    def _notify(self, chunk: bytes | None = None, count: int = 0) -> None:
        """Called by the source, in any thread."""
        if asyncio._get_running_loop() is self._loop:
            self._wake()
        else:
            self._notify_threadsafe()

    def _notify_threadsafe(self) -> None:
        loop = self._loop
        if loop is not None and not self._is_notifying:  # a thread may notify at each of thousands of events
            self._is_notifying = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: there is no task left to resume
                loop.call_soon_threadsafe(self._notify_on_loop)

    def _notify_on_loop(self) -> None:
        self._is_notifying = False
        self._notify()

    def _wake(self) -> None:
        """Ends the wait, on its loop."""
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_result(None)

    def close(self) -> None:
        """Closes the source and ends a wait, from any thread."""
        self._is_closed = True
        self._source.close()
        self._notify()

    def __del__(self) -> None:
        if not self._is_closed:
            self._source.close()
