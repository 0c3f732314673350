"""Readers: cursors in what a thread has to show."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, TypeVar

from .._concurrency.waiters import Notify
from .._events import (
    KEEP_ALIVE,
    Burst,
    Piece,
    error_frame,
    join_pieces,
    repair_frames,
    split_pieces,
)
from .endings import SERVER_SHUTDOWN, SLOW_READER
from .run_log import MAX_CHUNK_BYTES, MAX_CHUNK_PIECES, RunLog

TICK_SECONDS = 0.25
"""How often readers are looked at while their server is sending."""

_FRAME_END = b"\n\n"
_CUT_FRAME = error_frame(SERVER_SHUTDOWN)
_EVICTED_FRAME = error_frame(SLOW_READER)


class ReaderCallbacks(NamedTuple):
    """Called with a reader when it is opened, and once when it is closed."""

    opened: Callable[[BaseReader], None]
    closed: Callable[[BaseReader], None]
    history_read: Callable[[BaseReader], None] = lambda _: None
    """Called once a reader has read all that was stored."""
    watched: Callable[[BaseReader], None] = lambda _: None
    """Called once a reader waits, or may be kept waiting by its client: before that, no timer has to look at it."""


class BaseReader:
    """Base of stream readers: slices of what is large, keep-alive timing, stalled writes and close callbacks."""

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
            last = whole.rfind(_FRAME_END, start, end)
            end = end if last < 0 else last + len(_FRAME_END)
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


class BodyReader(BaseReader):
    """Reads a body that is complete, such as a large JSON response."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes, callbacks: ReaderCallbacks) -> None:
        self._body = body
        super().__init__(callbacks)

    def _read(self) -> bytes | None:
        body, self._body = self._body, b""
        return body or None

    @property
    def is_at_end(self) -> bool:
        return not self._body and not self._rest and not self._is_broken_off

    def evict(self) -> None:
        # A body of known length cannot end with an error, only break off.
        if self._body or self._rest:
            self._is_evicted = self._is_broken_off = True  # first, or it might look complete to the thread that reads
            self._drop()
            self._break_off()

    def _drop(self) -> None:
        self._body, self._rest = b"", b""


class RunReader(BaseReader):
    """Reads an active run from its begin.

    Args:
        log: the log of the run; None if a subclass reads something else.
        callbacks: called when the reader is opened and closed.
    """

    __slots__ = (
        "_at",
        "_end",
        "_followed",
        "_is_following",
        "_is_listening",
        "_is_over",
        "_log",
        "_looked_at",
    )

    reads_from_begin = True

    def __init__(self, log: RunLog | None, callbacks: ReaderCallbacks) -> None:
        self._log = log
        self._at = 0
        """How many pieces of the log it has looked at."""
        self._end: float = 0
        """How many there were to look at in a log that it no longer counts as a reader of."""
        self._is_following = True
        """Whether all that is left to read is the log, and its frames are to be sent as they are."""
        self._is_listening = False
        """Whether the log calls back at each change."""
        self._followed: RunLog | None = None
        """The log, once a lasting waiter has waited, and while nothing but what is added to it is to be read."""
        self._is_over = False
        """Whether it has read an error with which the stream ends before its run."""
        self._looked_at = 0
        """How many pieces the log had when it was last asked whether anything is sent."""
        BaseReader.__init__(self, callbacks, log)  # by name, since `super` takes longer, for each run

    @property
    def is_starting(self) -> bool:
        log = self._log
        return log is not None and log.is_starting

    def read_available(self) -> bytes | None:
        """Returns what any reader does. In one piece for most runs: all that has come, or a paced run's next event."""
        log, at = self._log, self._at
        if self._is_following and log is not None and not (self._rest_sent or log.is_foreign):
            pieces, chunk = log.pieces, b""
            count = len(pieces)
            if count == at + 1:
                piece = pieces[at]
                chunk = piece.data if type(piece) is Burst else piece
            elif not at and 0 < count <= MAX_CHUNK_PIECES:  # a run that has just begun, and may be over
                pieces = pieces[:count]
                if sum(map(len, pieces)) <= MAX_CHUNK_BYTES:
                    chunk = join_pieces(pieces)
            if 0 < len(chunk) <= MAX_CHUNK_BYTES:
                self._at = count
                self.last_sent = time.monotonic()
                self.sending_ticks = 0
                self._keep_alive_due = False
                return chunk
        return super().read_available()

    def read_whole(self) -> bytes | None:
        log = self._log
        if log is None or not log.ended or self._at or log.is_foreign or not self._is_following:
            return None
        pieces = log.pieces
        count = len(pieces)
        if not 0 < count <= MAX_CHUNK_PIECES or sum(map(len, pieces)) > MAX_CHUNK_BYTES:
            return None
        self._at = count
        self.last_sent = time.monotonic()
        self.sending_ticks = 0
        return join_pieces(pieces)

    def add_waiter(self, notify: Notify, *, is_brief: bool = False, is_lasting: bool = False) -> bool:
        """Does what any reader does. In one piece for who has been notified, and goes on waiting."""
        log = self._followed
        if log is not None and is_lasting and len(log.pieces) == self._at and not (self._rest_sent or log.ended):
            self.sending_ticks = -1
            return True
        # Before the look, so that whoever has something else read after it takes this away.
        self._followed = self._log if is_lasting and self._is_following else None
        self._looked_at = self._at
        if super().add_waiter(notify, is_brief=is_brief, is_lasting=is_lasting):
            return True
        self._followed = None
        return False

    def read_more(self) -> bytes | None:
        log = self._followed
        if log is None or log.ended or log.is_foreign:
            return None
        pieces, at = log.pieces, self._at
        count = len(pieces)
        if count == at + 1:
            piece = pieces[at]
            chunk = piece.data if type(piece) is Burst else piece
        else:
            new = next_chunk(pieces, at)
            if not new or at + len(new) < count:
                return None
            chunk, count = join_pieces(new), at + len(new)
        if len(chunk) > MAX_CHUNK_BYTES:
            return None
        self._at = count
        self.last_sent = time.monotonic()
        return chunk

    @property
    def is_pushed(self) -> bool:
        return self._followed is not None

    def mark_pushed(self, count: int) -> None:
        self._at = count
        self.last_sent = time.monotonic()

    def silent_since(self, now: float) -> float:
        # What is pushed leaves no time here, which would take longer for each event than to look now and then.
        log = self._followed
        if log is not None and not log.is_foreign and (count := len(log.pieces)) != self._looked_at:
            self._looked_at, self.last_sent = count, now
        return self.last_sent

    def _read(self) -> bytes | None:
        chunk = b"" if self._is_evicted else self._read_log()
        if chunk or not self._is_evicted:  # perhaps meanwhile
            return chunk
        if self._rest_sent:  # what has been read of a frame is ended, so that the error is an event of its own
            return self._end_with(_FRAME_END + _EVICTED_FRAME)
        # A stream that just ends would look like success; an error after the end of a run is none of the protocol.
        return None if self._is_over or self._has_read_all() else self._end_with(_EVICTED_FRAME)

    def _read_log(self) -> bytes | None:
        log = self._log
        while log is not None:
            ended = log.ended  # before the frames: what was added earlier is then seen
            pieces = next_chunk(log.pieces, self._at)
            if not pieces:
                return self._read_nothing(ended=ended)
            self._at += len(pieces)
            if not log.is_foreign:
                return join_pieces(pieces)
            if frames := repair_frames(split_pieces(pieces)):
                return join_pieces(frames)
        return None

    def _read_nothing(self, *, ended: bool) -> bytes | None:
        """Returns what there is to send although all of the log has been read."""
        if not ended and self._is_cut:
            return None if self._has_read_all() else self._end_with(_CUT_FRAME)
        return None if ended else self._keep_alive()

    def _end_with(self, frame: bytes) -> bytes:
        """Returns a frame as the last one, whatever another thread does meanwhile."""
        self._is_over, self._rest_sent = True, 0
        self._drop()
        return frame

    @property
    def is_at_end(self) -> bool:
        log = self._log
        if log is not None and not log.ended:
            return False
        return (self._is_over or self._has_read_all()) and not (self._rest_sent or self._is_broken_off)

    def _wait(self, notify: Notify, *, is_lasting: bool) -> bool:
        log = self._log
        if log is None:
            return False
        if not is_lasting:
            return log.add_waiter(self._at, notify)
        if not self._is_listening:
            self._is_listening = True
            log.listen(notify)
        return not (len(log.pieces) > self._at or log.ended)

    def _interrupt(self) -> None:
        self._followed = None
        super()._interrupt()

    def evict(self) -> None:
        # How the stream ends is left to the thread that reads: no other knows what that is about to return.
        self._is_evicted = True  # before the drop: see `_keep_rest`
        self._drop_and_wake()
        self.forget_ended_run()

    def forget_ended_run(self) -> None:
        log = self.log
        if self._is_evicted and log is not None and log.ended:
            self._end = self._end_of(log)  # first: the thread that reads looks at it once there is no log
            self.log = None
            log.discard_reader(self)

    def _end_of(self, log: RunLog) -> float:
        """Returns how many pieces of a log there are to look at."""
        # The run may have ended, and not yet the log.
        return len(log.pieces) if log.ended or log.has_last_frame else math.inf

    def _has_read_all(self) -> bool:
        """Whether nothing is left but a rest. To be called by the thread that reads."""
        log = self.log  # also if it is evicted: the run may end as it is, and the end have been read
        return self._at >= (self._end if log is None else self._end_of(log))

    def _drop(self) -> None:
        log, notify = self._log, self._notify
        if log is not None and notify is not None:
            log.discard(notify)
        self._log, self._followed, self._rest = None, None, b""


T = TypeVar("T", bytes, Piece)


def next_chunk(pieces: Sequence[T], start: int) -> Sequence[T]:
    """Returns the next pieces for one chunk: as many as its limits allow, but at least one."""
    chunk = pieces[start : start + MAX_CHUNK_PIECES]
    if len(chunk) == 1:
        return chunk
    size = sum(map(len, chunk))
    while size > MAX_CHUNK_BYTES and len(chunk) > 1:
        chunk = chunk[: (len(chunk) + 1) // 2]
        size = sum(map(len, chunk))
    return chunk
