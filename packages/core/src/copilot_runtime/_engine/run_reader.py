"""Reads an active run: a cursor in its log."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TypeVar

from .._concurrency.waiters import Notify
from .._events import Burst, Piece, error_frame, join_pieces, repair_frames, split_pieces
from .base_reader import FRAME_END, BaseReader, ReaderCallbacks
from .endings import SERVER_SHUTDOWN, SLOW_READER
from .run_log import MAX_CHUNK_BYTES, MAX_CHUNK_PIECES, RunLog

_CUT_FRAME = error_frame(SERVER_SHUTDOWN)
_EVICTED_FRAME = error_frame(SLOW_READER)


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
            return self._end_with(FRAME_END + _EVICTED_FRAME)
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
