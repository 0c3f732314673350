"""Readers: where somebody stands in what a thread has to show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from ..events import KEEP_ALIVE
from .log import RunLog, Wake
from .rounds import Rounds

PIECE = 64
"""At most so many KiB, roughly, leave in one piece: a long replay must not become one huge string."""


class KeepAlive:
    """Gives silent readers something to send, from one timer.

    ``seconds`` is how long a stream may be silent; 0 switches it off.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Looked at in tenths of the interval, so that no stream is silent for much longer.
        self._rounds: Rounds[Silent] | None = Rounds(seconds / 10, self._visit) if seconds > 0 else None

    def watch(self, reader: Silent, loop: asyncio.AbstractEventLoop) -> None:
        """Looks after a reader until `forget`."""
        if self._rounds is not None:
            self._rounds.add(reader, loop)

    def forget(self, reader: Silent, loop: asyncio.AbstractEventLoop) -> None:
        """The reader is gone."""
        if self._rounds is not None:
            self._rounds.discard(reader, loop)

    def after_fork(self) -> None:
        """This is a child process: its parent's readers are not here."""
        if self._rounds is not None:
            self._rounds.forget()

    def _visit(self, readers: Sequence[Silent]) -> None:
        before = time.monotonic() - self.seconds
        for reader in readers:
            if reader.last <= before:
                reader.beat()


class Silent:
    """A reader's part in keep-alives: when it last sent something, and what it owes."""

    __slots__ = ("_due", "_wake", "last")

    def __init__(self) -> None:
        self.last = time.monotonic()
        self._due = False
        self._wake: Wake | None = None

    def beat(self) -> None:
        """The stream has been silent for too long."""
        self._due = True
        if self._wake is not None:
            self._wake()

    def _keep_alive(self) -> bytes:
        """What a reader with nothing else to give gives."""
        if not self._due:
            return b""
        self._due = False
        self.last = time.monotonic()
        return KEEP_ALIVE


class RunReader(Silent):
    """First some frames of runs that have ended, then a run that goes on, from ``seen`` frames on.

    ``joining`` leaves out the events that repeat the history. ``closed`` is called once.
    """

    __slots__ = ("_closed", "_history", "_joining", "_log", "_seen")

    def __init__(
        self,
        *,
        log: RunLog | None,
        seen: int = 0,
        history: Sequence[bytes] = (),
        joining: bool = False,
        closed: Callable[[RunReader], None],
    ) -> None:
        super().__init__()
        self._history = history
        self._log = log
        self._seen = seen
        self._joining = joining
        self._closed: Callable[[RunReader], None] | None = closed

    def take(self) -> bytes | None:
        if self._history:
            return self._take_history()
        log = self._log
        if log is None or log.evicted:
            return None
        ended = log.ended  # before the frames: what was added earlier is then seen
        frames, seen = log.frames, self._seen
        if len(frames) > seen:
            fresh = frames[seen : seen + PIECE * 8]
            self._seen = seen + len(fresh)
            if self._joining and log.repeats:
                fresh = [frame for number, frame in enumerate(fresh, seen + 1) if number not in log.repeats]
            if fresh:
                self.last = time.monotonic()
                self._due = False
                return fresh[0] if len(fresh) == 1 else b"".join(fresh)
            return self.take()
        return None if ended else self._keep_alive()

    def park(self, wake: Wake) -> bool:
        self._wake = wake
        if self._due or self._log is None:
            return False
        return self._log.park(self._seen, wake)

    def close(self) -> None:
        closed, self._closed = self._closed, None
        self._log, self._history, self._wake = None, (), None
        if closed is not None:
            closed(self)

    def _take_history(self) -> bytes:
        piece, self._history = self._history[: PIECE * 8], self._history[PIECE * 8 :]
        self.last = time.monotonic()
        return b"".join(piece)
