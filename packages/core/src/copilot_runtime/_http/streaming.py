"""Bodies that are sent while they are produced, and their iterators for threads and for event loops."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from .._concurrency.wake import Wake

CONNECTED = b": connected\n\n"
"""A comment (WHATWG HTML, section 9.2.6): sent at once where nothing else is ready, so that the headers leave."""

TURN_BYTES = 64 * 1024
"""How many bytes may be sent before the event loop gets a turn, even if no `send` waits for the client."""

HEADERS_SECONDS = 0.1
"""How long the headers of a response may wait for what is about to be ready: a synchronous agent may take its time, an
asynchronous one may block the event loop, and so may a store the end of a run."""


UNWATCHED_BYTES = 16 * 1024
"""How much of a stream may be sent although nothing looks whether the client reads it: what Linux's default buffer of a
connection takes at once, so that no worker thread waits for the client."""


class StreamSource(Protocol):
    """What a stream is read from. Safe to use from any thread, by one reader at a time."""

    @property
    def is_at_end(self) -> bool:
        """Whether `read_available` has returned the last bytes; may be False although it has."""

    @property
    def is_starting(self) -> bool:
        """Whether it is about to be known if anything is ready at once. Waiters are notified when it is."""

    def read_available(self) -> bytes | None:
        """Returns bytes that are ready, joined; ``b""`` if none are, and None at the end."""

    def read_whole(self) -> bytes | None:
        """Reads all of a stream that is over and is one chunk. Returns None, having read nothing, if it may not be."""

    def add_waiter(self, notify: Callable[[], object], *, is_brief: bool = False, is_lasting: bool = False) -> bool:
        """Has ``notify`` called once there is something to read.

        Returns False if there is something already: then ``notify`` may never be called. ``is_brief`` is whether the
        wait has a limit of its own, so that nothing needs to look after the stream meanwhile. ``is_lasting`` is whether
        ``notify`` may be called at any later change, too: it is added once then, and is the same in all further calls.
        It is called with what has come, as one chunk, and with how many pieces have come in all, or without arguments
        if that is not all, or not to be sent as it is.
        """

    @property
    def is_pushed(self) -> bool:
        """Whether a lasting waiter may send what it is called with itself, on its event loop, until it has to wait."""

    def mark_pushed(self, count: int) -> None:
        """Says that it has done so until ``count`` pieces had come. To be called before the source is read again."""

    def read_more(self) -> bytes | None:
        """Returns what has come to a lasting waiter that need not be added again: it goes on waiting for what follows.

        None if it has to be added again after `read_available`. To be called only when the waiter has been notified.
        """

    def mark_sending(self) -> None:
        """Says that what `read_more` has returned, or was pushed, is still being sent: see `on_stalled`."""

    def mark_sent(self) -> None:
        """Says that it has been sent."""

    def on_stalled(self, abort: Callable[[], object]) -> None:
        """Has ``abort`` called, from any thread, if what is being sent from now on is not sent in time.

        The source has been closed already then. Sending is looked at regularly from now on, which has its cost.
        """

    def cut(self) -> None:
        """Ends the stream with an error as soon as nothing is ready: the server cannot send it any longer."""

    def close(self) -> None:
        """Called when the stream is no longer read; may be called more than once."""


@dataclasses.dataclass(frozen=True, slots=True)
class EventStream:
    """A body of server-sent events, described by what it is read from.

    Iterate it on a worker thread (WSGI) or asynchronously (ASGI): either iterator yields the bytes that are ready,
    joined, as soon as there are any, in several chunks if they are many, and ends with the stream. On a worker thread
    the first chunk comes at once, if need be a comment without content. Iterate a stream to its end or close it;
    closing it twice is fine.
    """

    source: StreamSource
    whole: bytes | None = dataclasses.field(default=None, repr=False)
    """The whole body, if it is known: that of a stream which was over when it began."""
    _begun: SyncStreamIterator | None = dataclasses.field(default=None, repr=False, compare=False)
    """The iterator that has read the first chunk already."""

    @property
    def length(self) -> int | None:
        """How many bytes the whole body has, if it is known."""
        return None if self.whole is None else len(self.whole)

    def __iter__(self) -> SyncStreamIterator:
        return self._begun or SyncStreamIterator(self.source, CONNECTED)

    def begin(self) -> EventStream:
        """Waits on a worker thread for the first chunk, and returns a stream that begins with it.

        If it is the only one and small, as that of a short run usually is, it is the ``whole`` stream, and its source
        is closed: the server need not send the end of the stream, and no timer has to look after it.
        """
        chunks = iter(self)
        return EventStream(self.source, chunks.read_first(), chunks)

    def __aiter__(self) -> AsyncStreamIterator:
        return AsyncStreamIterator(self.source)

    def cut(self) -> None:
        """Ends the stream with an error as soon as nothing is ready: the server cannot send it any longer."""
        self.source.cut()

    def on_stalled(self, abort: Callable[[], object]) -> None:
        """Sets what breaks the response off, from any thread, if nothing can be sent for ``send_timeout_seconds``.

        To be called when the response is about to be sent, or once sending it waits for anything. The source is closed
        before ``abort`` is called. Without it, a client that does not read holds its stream for as long as the server
        lets it.
        """
        self.source.on_stalled(abort)

    def close(self) -> None:
        """Closes the source: the stream is no longer read."""
        self.source.close()


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
