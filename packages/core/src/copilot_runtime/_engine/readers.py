"""Readers: where somebody stands in what a thread has to show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .._events import KEEP_ALIVE, RunEnding, error_frame
from .periodic import PeriodicTask
from .run_log import Notify, RunLog

MAX_CHUNK_FRAMES = 512
MAX_CHUNK_BYTES = 256 * 1024
"""No more leaves in one piece, but for a frame that is larger: a long replay must not become one huge string."""


class KeepAlive:
    """Gives silent readers something to send, from one timer.

    ``seconds`` is how long a stream may be silent; 0 switches it off.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Looked at in tenths of the interval, so that no stream is silent for much longer.
        self._rounds: PeriodicTask[BaseReader] | None = PeriodicTask(seconds / 10, self._visit) if seconds > 0 else None

    def add(self, reader: BaseReader, loop: asyncio.AbstractEventLoop) -> None:
        """Looks after a reader until `forget`."""
        if self._rounds is not None:
            self._rounds.add(reader, loop)

    def discard(self, reader: BaseReader, loop: asyncio.AbstractEventLoop) -> None:
        """The reader is gone."""
        if self._rounds is not None:
            self._rounds.discard(reader, loop)

    def after_fork(self) -> None:
        """This is a child process: its parent's readers are not here."""
        if self._rounds is not None:
            self._rounds.clear()

    def _visit(self, readers: Sequence[BaseReader]) -> None:
        before = time.monotonic() - self.seconds
        for reader in readers:
            if reader.last <= before:
                reader.request_keep_alive()


class ReaderCallbacks(NamedTuple):
    """What is called with a reader when it begins, and once when it is gone."""

    opened: Callable[[BaseReader], None]
    closed: Callable[[BaseReader], None]


class BaseReader:
    """What all readers are: silent at times, and gone at last."""

    __slots__ = ("_due", "_life", "_wake", "last")

    def __init__(self, life: ReaderCallbacks) -> None:
        self.last = time.monotonic()
        """When something was last sent."""
        self._due = False
        self._wake: Notify | None = None
        self._life: ReaderCallbacks | None = life
        life.opened(self)

    def close(self) -> None:
        """Nobody reads any more."""
        life, self._life = self._life, None
        self._wake = None
        if life is not None:
            life.closed(self)

    def _sent(self) -> None:
        self.last = time.monotonic()
        self._due = False

    def request_keep_alive(self) -> None:
        """The stream has been silent for too long."""
        if self._due:
            return  # it is still busy with what it was last given
        self._due = True
        if self._wake is not None:
            self._wake()

    def _keep_alive(self) -> bytes:
        """What a reader with nothing else to give gives."""
        if not self._due:
            return b""
        self._sent()
        return KEEP_ALIVE


_EVICTED_FRAME = error_frame(
    RunEnding(
        "The stream was closed because the client read too slowly. Reconnect to the thread to receive all events.",
        "SLOW_READER",
    ),
    None,
    0,
)


class RunReader(BaseReader):
    """First some frames of runs that have ended, then a run that goes on, from ``seen`` frames on.

    ``joining`` leaves out the events that repeat the history.
    """

    __slots__ = ("_history", "_log", "_seen", "_skip_duplicates")

    def __init__(
        self,
        *,
        log: RunLog | None,
        seen: int = 0,
        history: Sequence[bytes] = (),
        joining: bool = False,
        life: ReaderCallbacks,
    ) -> None:
        self._history = history
        self._log = log
        self._seen = seen
        self._skip_duplicates = joining
        super().__init__(life)

    def read_available(self) -> bytes | None:
        if self._history:
            piece = _next_chunk(self._history, 0)
            self._history = self._history[len(piece) :]
            self._sent()
            return b"".join(piece)
        log = self._log
        while log is not None and not log.evicted:
            ended = log.ended  # before the frames: what was added earlier is then seen
            if len(log.frames) <= self._seen:
                if ended and self._seen > len(log.frames) > 0:
                    self._seen = len(log.frames) - 1  # a cursor beyond the end gets the end
                    continue
                return None if ended else self._keep_alive()
            piece = _next_chunk(log.frames, self._seen)
            first, self._seen = self._seen + 1, self._seen + len(piece)
            if self._skip_duplicates and log.duplicates:
                piece = [frame for number, frame in enumerate(piece, first) if number not in log.duplicates]
            if piece:
                self._sent()
                return piece[0] if len(piece) == 1 else b"".join(piece)
        if log is None:
            return None
        # It was evicted: a stream that just ends would look like success.
        self._log = None
        return _EVICTED_FRAME

    def add_waiter(self, wake: Notify) -> bool:
        self._wake = wake
        if self._due or self._log is None:
            return False
        return self._log.add_waiter(self._seen, wake)

    def close(self) -> None:
        self._log, self._history = None, ()
        super().close()


def _next_chunk(frames: Sequence[bytes], start: int) -> Sequence[bytes]:
    piece = frames[start : start + MAX_CHUNK_FRAMES]
    size = sum(map(len, piece))
    while size > MAX_CHUNK_BYTES and len(piece) > 1:
        piece = piece[: (len(piece) + 1) // 2]
        size = sum(map(len, piece))
    return piece
