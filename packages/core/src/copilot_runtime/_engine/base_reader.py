"""What all readers of streams share: slices of large chunks, keep-alives, stalled writes, and how they are closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from .._concurrency.waiters import Notify
from .._events import KEEP_ALIVE
from .run_log import MAX_CHUNK_BYTES, RunLog

TICK_SECONDS = 0.25
"""How often readers are looked at while their server is sending."""

FRAME_END = b"\n\n"


class ReaderCallbacks(NamedTuple):
    """Called with a reader when it is opened, and once when it is closed."""

    opened: Callable[[BaseReader], None]
    closed: Callable[[BaseReader], None]
    history_read: Callable[[BaseReader], None] = lambda _: None
    """Called once a reader has read all that was stored."""
    watched: Callable[[BaseReader], None] = lambda _: None
    """Called once a reader waits, or may be kept waiting by its client: before that, no timer has to look at it."""


class BaseReader:
    """Base of the readers of streams: each implements `_read`, `_wait`, and how it drops what it has yet to read."""

    __slots__ = (
        "_abort",
        "_callbacks",
        "_is_broken_off",
        "_is_cut",
        "_is_evicted",
        "_keep_alive_due",
        "_notify",
        "_rest",
        "_rest_sent",
        "is_watched",
        "last_sent",
        "log",
        "loop",
        "sending_ticks",
    )

    loop: asyncio.AbstractEventLoop
    """The loop whose timers look at it; set when it is opened."""

    reads_from_begin: ClassVar[bool] = False
    """Whether it is the reader of the request that has begun its run, of which there is one."""

    def __init__(self, callbacks: ReaderCallbacks, log: RunLog | None = None) -> None:
        self.log = log
        """The log whose reader it counts as, if it reads an active run."""
        self.is_watched = False
        """Whether timers look at it."""
        self.last_sent = time.monotonic()
        self.sending_ticks = -1
        """How many ticks of a timer the server has been sending; -1 if it has nothing to send."""
        self._abort: Callable[[], object] | None = None
        """Ends a write that a client holds up. None where the adapter cannot."""
        self._rest = b""
        """A chunk of which ``_rest_sent`` bytes have been read."""
        self._rest_sent = 0
        """More than 0 while there is a rest to read, also if another thread has dropped it."""
        self._keep_alive_due = False
        self._is_broken_off = False
        """Whether the stream must not look as if it had ended: its client does not read."""
        self._is_cut = False
        self._is_evicted = False
        self._notify: Notify | None = None
        self._callbacks: ReaderCallbacks | None = callbacks
        callbacks.opened(self)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is read any more."""
        return self._callbacks is None

    @property
    def is_starting(self) -> bool:
        """Whether it is about to be known if there is anything to read at once; a waiter is notified then."""
        return False

    def read_available(self) -> bytes | None:
        """Returns up to `MAX_CHUNK_BYTES` of what is ready; ``b""`` if nothing is, and None at the end."""
        rest = self._rest  # looked at once, since another thread may drop it
        chunk = self._next_slice(rest) if rest else self._read()
        if not chunk:
            self.sending_ticks = -1
            if self._is_broken_off:
                raise ConnectionAbortedError("the client did not read its response in time")
            return chunk
        self.last_sent = time.monotonic()
        self.sending_ticks = 0
        self._keep_alive_due = False
        return self._next_slice(chunk) if len(chunk) > MAX_CHUNK_BYTES else chunk

    def read_whole(self) -> bytes | None:
        """Reads all of what is over and one chunk, as most runs are. Returns None, and reads nothing, if it is not."""
        return None

    def _read(self) -> bytes | None:
        """Returns what is ready, however large it is. A large one is not copied: all readers share it."""
        raise NotImplementedError

    def _next_slice(self, whole: bytes) -> bytes:
        start = self._rest_sent
        end = start + MAX_CHUNK_BYTES
        if end < len(whole):  # after a frame, if one ends there: who is evicted meanwhile has received whole events
            last = whole.rfind(FRAME_END, start, end)
            end = end if last < 0 else last + len(FRAME_END)
        # A copy, since a view would keep the whole in memory for as long as the write takes.
        piece = whole[start:end]
        sent = start + len(piece)
        if sent < len(whole):
            self._keep_rest(whole, sent)
        else:
            self._rest, self._rest_sent = b"", 0
        return piece

    def _keep_rest(self, whole: bytes, sent: int) -> None:
        """Has the rest of a chunk read next, of which some bytes are read now."""
        self._rest, self._rest_sent = whole, sent
        if self._is_evicted:  # by another thread, which may have dropped the rest that there was before
            self._rest = b""

    @property
    def is_at_end(self) -> bool:
        """Whether the last chunk has been read. If so, `read_available` would return None; False may be late."""
        return False

    def add_waiter(self, notify: Notify, *, is_brief: bool = False, is_lasting: bool = False) -> bool:
        """Has ``notify`` called once there is something to read. Returns False if there is already.

        ``is_brief``: the wait has a limit of its own, so that no timer has to look at the reader meanwhile.
        ``is_lasting``: it may be called at later changes, too, and is the same in all further calls.
        """
        self._notify = notify  # before the look, so that whoever changes something after it finds the callback
        if self._callbacks is None or self._rest or self._keep_alive_due or self._is_cut:
            return False
        if not self._wait(notify, is_lasting=is_lasting):
            return False
        self.sending_ticks = -1
        if not (self.is_watched or is_brief):
            self.watch()
        return True

    def _wait(self, notify: Notify, *, is_lasting: bool) -> bool:
        """Adds a callback to what the reader reads. Returns False if there is something to read."""
        return False

    def read_more(self) -> bytes | None:
        """Returns what has come to a lasting waiter that goes on waiting; None if it has to be added again.

        To be called only by who has been notified.
        """
        return None

    @property
    def is_pushed(self) -> bool:
        """Whether what a lasting waiter is called with is all that there is to send, and may be sent by who waits."""
        return False

    def mark_pushed(self, count: int) -> None:
        """Says that of what a lasting waiter was called with, all was pushed until there were ``count`` pieces."""

    def silent_since(self, now: float) -> float:
        """Returns since when nothing has been sent. To be called regularly, on its loop."""
        return self.last_sent

    def mark_sending(self) -> None:
        """Says that what `read_more` has returned, or what was pushed, is still being sent."""
        self.sending_ticks = 0

    def mark_sent(self) -> None:
        """Says that it has been sent."""
        self.sending_ticks = -1

    def watch(self) -> None:
        """Has timers look at the reader from now on: for keep-alives, and for writes that make no progress."""
        callbacks = self._callbacks
        if callbacks is not None and not self.is_watched:
            self.is_watched = True
            callbacks.watched(self)

    def close(self) -> None:
        """Closes the reader; may be called more than once."""
        callbacks, self._callbacks = self._callbacks, None
        self._drop()
        self._notify, self.sending_ticks, self._abort = None, -1, None
        if callbacks is not None:
            callbacks.closed(self)

    def _drop(self) -> None:
        """Drops what is still to be read."""
        self._rest = b""

    def _drop_and_wake(self) -> None:
        """Drops what is still to be read, and ends a wait, from any thread."""
        # In this order: a thread that is about to wait says whom to notify before it looks.
        self._drop()
        self._interrupt()

    def evict(self) -> None:
        """Drops what is still to be read, from any thread: slow readers keep too much in memory."""
        raise NotImplementedError

    def forget_ended_run(self) -> None:
        """Keeps no longer in memory what an evicted reader will not read of a run, once the run has ended."""

    def on_stalled(self, abort: Callable[[], object]) -> None:
        """Has ``abort`` called, from any thread, if what is being sent from now on is not sent in time."""
        self._abort = abort
        if self._notify is None:  # it has not waited for its run yet, so it is the server that has something to do
            self.sending_ticks = 0
        self.watch()
        if self._is_broken_off:  # already, by another thread
            self._break_off()

    def tick(self, limit: float) -> None:
        """Called regularly while the server is sending. Closes the reader after ``limit`` ticks without progress.

        Ticks are counted, and no time is measured: while the process is suspended or its loop blocked, nothing is sent.
        """
        ticks = self.sending_ticks
        if ticks < 0:  # sent since the timer looked: a reader that waits for its run must not be counted on
            return
        # No call between the look and this, at which another thread could have its turn.
        self.sending_ticks = ticks = ticks + 1
        if ticks > limit:
            self._break_off()

    def _break_off(self) -> None:
        abort = self._abort
        if abort is not None:
            self._is_broken_off = True
            self._drop_and_wake()  # the write may have ended meanwhile, and its thread wait
            self.close()
            abort()

    def request_keep_alive(self) -> None:
        """Has the reader send a comment: its stream has been silent for too long."""
        if self._keep_alive_due:
            return  # the client still has not read what was sent last
        self._keep_alive_due = True
        self._interrupt()

    def cut(self) -> None:
        """Ends the stream with an error as soon as nothing is ready, unless its run ends first."""
        self._is_cut = True
        self._interrupt()

    def _interrupt(self) -> None:
        """Ends a wait: there is something to read, but nothing of what the reader reads has changed."""
        if self._notify is not None:
            self._notify()

    def _keep_alive(self) -> bytes:
        """Returns what a reader sends that has nothing else to send."""
        return KEEP_ALIVE if self._keep_alive_due else b""
