"""A run's frames in this process, and the readers that read them from where they stand."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from .._concurrency.waiters import Notify, Waiters
from ..stores.protocol import RunKey

MAX_TAIL_BYTES = 64 * 1024
"""How much of a log is kept joined, too, for as long as nothing is added."""

_NO_DUPLICATES: Set[int] = frozenset()
"""One for all logs, since most have none, and CPython makes a new set of 216 bytes for each ``frozenset()``."""


class Tail(NamedTuple):
    """The frames from ``start`` to ``end``, joined: a chunk for readers that have read all before."""

    start: int
    end: int
    joined: bytes


class RunLog(Waiters):
    """Grows at its end and is read from any offset, on any thread, without a lock. Its waiters wait for changes."""

    __slots__ = (
        "agent_id",
        "duplicates",
        "ended",
        "frames",
        "is_foreign",
        "is_starting",
        "readers",
        "run",
        "run_id",
        "tail",
    )

    def __init__(self, run: RunKey | None, run_id: str, agent_id: str, *, is_starting: bool = False) -> None:
        self._waiting, self._listening = None, ()
        self.run = run
        """None for a run on no thread."""
        self.run_id = run_id
        self.agent_id = agent_id
        self.frames: list[bytes] = []
        self.duplicates = _NO_DUPLICATES
        """Numbers of events that a late joiner must not receive, because they repeat messages of the history."""
        self.is_foreign = False
        """Whether frames may come from another process, which may run another version."""
        self.is_starting = is_starting
        """Whether the run may have frames before it waits for the first time: readers are notified when it has not."""
        self.ended = False
        self.readers: set[object] = set()
        self.tail: Tail | None = None
        """What was added last, if it was joined already."""

    def extend(self, frames: Sequence[bytes], joined: bytes = b"") -> None:
        """Adds frames, of which ``joined`` is all if they have been joined already, and notifies waiting readers."""
        if joined and len(joined) <= MAX_TAIL_BYTES:
            start = len(self.frames)
            self.frames += frames
            self.tail = Tail(start, start + len(frames), joined)
        else:
            self.frames += frames
            self.tail = None
        self.notify()

    def mark_started(self) -> None:
        """Notifies waiting readers that whatever comes next may take its time."""
        if self.is_starting:
            self.is_starting = False
            self.notify()

    def end(self) -> None:
        """Marks the log as complete and notifies waiting readers."""
        self.ended = True
        self.is_starting = False
        self.tail = None
        self.notify()

    def add_waiter(self, seen: int, notify: Notify) -> bool:
        """Has ``notify`` called at the next change.

        Returns False if there are more than ``seen`` frames already, or the log has ended: then it may never be called.
        """
        if len(self.frames) > seen or self.ended:
            return False
        self.add(notify)
        return not (len(self.frames) > seen or self.ended)

    def add_end_waiter(self, notify: Notify) -> bool:
        """Has ``notify`` called at the next change. Returns False if the log has ended."""
        if self.ended:
            return False
        self.add(notify)
        return not self.ended
