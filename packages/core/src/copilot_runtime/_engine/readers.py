"""Readers: cursors in what a thread has to show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .._concurrency.waiters import Notify
from .._events import KEEP_ALIVE, error_frame, is_reapers, repair_frames
from .endings import SERVER_SHUTDOWN, SLOW_READER, lost_ending
from .run_log import RunLog

MAX_CHUNK_FRAMES = 512
MAX_CHUNK_BYTES = 256 * 1024
"""Limits of one chunk, except for a single frame that is larger: a long replay must not become one huge string."""

_CUT_FRAME = error_frame(SERVER_SHUTDOWN)
_EVICTED_FRAME = error_frame(SLOW_READER)


class ReaderCallbacks(NamedTuple):
    """Called with a reader when it is opened, and once when it is closed."""

    opened: Callable[[BaseReader], None]
    closed: Callable[[BaseReader], None]


class BaseReader:
    """Base of stream readers: keep-alive timing and close callbacks."""

    __slots__ = ("_callbacks", "_is_cut", "_keep_alive_due", "_notify", "last_sent")

    def __init__(self, callbacks: ReaderCallbacks) -> None:
        self.last_sent = time.monotonic()
        self._keep_alive_due = False
        self._is_cut = False
        self._notify: Notify | None = None
        self._callbacks: ReaderCallbacks | None = callbacks
        callbacks.opened(self)

    def close(self) -> None:
        """Closes the reader; may be called more than once."""
        callbacks, self._callbacks = self._callbacks, None
        self._notify = None
        if callbacks is not None:
            callbacks.closed(self)

    def request_keep_alive(self) -> None:
        """Has the reader send a comment: its stream has been silent for too long."""
        if self._keep_alive_due:
            return  # the client still has not read what was sent last
        self._keep_alive_due = True
        if self._notify is not None:
            self._notify()

    def cut(self) -> None:
        """Ends the stream with an error as soon as nothing is ready, unless its run ends first."""
        self._is_cut = True
        if self._notify is not None:
            self._notify()

    def _mark_sent(self) -> None:
        self.last_sent = time.monotonic()
        self._keep_alive_due = False

    def _keep_alive(self) -> bytes:
        """Returns what a reader sends that has nothing else to send."""
        if not self._keep_alive_due:
            return b""
        self._mark_sent()
        return KEEP_ALIVE


class RunReader(BaseReader):
    """Reads first the frames of stored runs, and then an active run.

    Args:
        log: the log of the active run, if any.
        seen: how many of its frames to skip, because the reader has received them.
        history: frames of stored runs.
        skip_duplicates: whether to leave out events of the active run that repeat the history.
        repair_history: whether clients may reject some of ``history``.
        callbacks: called when the reader is opened and closed.
    """

    __slots__ = ("_history", "_history_seen", "_is_resumed", "_log", "_repair_history", "_seen", "_skip_duplicates")

    def __init__(
        self,
        *,
        log: RunLog | None,
        seen: int = 0,
        history: Sequence[bytes] = (),
        skip_duplicates: bool = False,
        repair_history: bool = False,
        callbacks: ReaderCallbacks,
    ) -> None:
        self._history = history
        self._history_seen = 0
        self._log = log
        self._seen = seen
        self._is_resumed = seen > 0
        self._skip_duplicates = skip_duplicates
        self._repair_history = repair_history
        super().__init__(callbacks)

    def read_available(self) -> bytes | None:
        while self._history_seen < len(self._history):
            frames = _next_chunk(self._history, self._history_seen)
            self._history_seen += len(frames)
            if self._history_seen == len(self._history):
                self._history, self._history_seen = (), 0
            if self._repair_history:
                frames = repair_frames(frames)
            if frames:
                self._mark_sent()
                return b"".join(frames)
        log = self._log
        while log is not None and not log.evicted:
            ended = log.ended  # before the frames: what was added earlier is then seen
            if self._is_resumed and (ended or len(log.frames) >= self._seen):
                self._is_resumed = False
                if len(log.frames) < self._seen or is_reapers(log.frames[self._seen - 1]):
                    # A crash took what the reader has received, and another process has ended the run.
                    self._log = None
                    return lost_ending(log.frames[-1] if log.frames else b"")
            if len(log.frames) <= self._seen:
                if not ended and self._is_cut:
                    self._log = None
                    return _CUT_FRAME
                return None if ended else self._keep_alive()
            frames = _next_chunk(log.frames, self._seen)
            first, self._seen = self._seen + 1, self._seen + len(frames)
            if self._skip_duplicates and log.duplicates:
                frames = [frame for number, frame in enumerate(frames, first) if number not in log.duplicates]
            if log.is_foreign:
                frames = repair_frames(frames)
            if frames:
                self._mark_sent()
                return frames[0] if len(frames) == 1 else b"".join(frames)
        if log is None:
            return None
        # It was evicted: a stream that just ends would look like success.
        self._log = None
        return _EVICTED_FRAME

    def add_waiter(self, notify: Notify) -> bool:
        self._notify = notify
        if self._keep_alive_due or self._is_cut or self._log is None:
            return False
        return self._log.add_waiter(self._seen, notify)

    def close(self) -> None:
        log, notify = self._log, self._notify
        if log is not None and notify is not None:
            log.discard_waiter(notify)
        self._log, self._history = None, ()
        super().close()


def _next_chunk(frames: Sequence[bytes], start: int) -> Sequence[bytes]:
    chunk = frames[start : start + MAX_CHUNK_FRAMES]
    size = sum(map(len, chunk))
    while size > MAX_CHUNK_BYTES and len(chunk) > 1:
        chunk = chunk[: (len(chunk) + 1) // 2]
        size = sum(map(len, chunk))
    return chunk
