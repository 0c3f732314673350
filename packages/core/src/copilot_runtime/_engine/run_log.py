"""A run's frames in this process, and the readers that read them from where they stand."""

from __future__ import annotations

from collections.abc import Sequence, Set

from .._concurrency.waiters import Notify, Waiters
from ..stores.protocol import RunKey


class RunLog:
    """Grows at its end and is read from any offset, on any thread, without a lock."""

    __slots__ = (
        "_waiters",
        "agent_id",
        "duplicates",
        "ended",
        "frames",
        "is_foreign",
        "is_starting",
        "readers",
        "run",
        "run_id",
    )

    def __init__(self, run: RunKey | None, run_id: str, agent_id: str, *, is_starting: bool = False) -> None:
        self.run = run
        """None for a run on no thread."""
        self.run_id = run_id
        self.agent_id = agent_id
        self.frames: list[bytes] = []
        self.duplicates: Set[int] = frozenset()
        """Numbers of events that a late joiner must not receive, because they repeat messages of the history."""
        self.is_foreign = False
        """Whether frames may come from another process, which may run another version."""
        self.is_starting = is_starting
        """Whether the run may have frames before it waits for the first time: readers are notified when it has not."""
        self.ended = False
        self.readers: set[object] = set()
        self._waiters = Waiters()

    def extend(self, frames: Sequence[bytes]) -> None:
        """Adds frames and notifies waiting readers."""
        self.frames.extend(frames)
        self._waiters.notify()

    def mark_started(self) -> None:
        """Notifies waiting readers that whatever comes next may take its time."""
        if self.is_starting:
            self.is_starting = False
            self._waiters.notify()

    def end(self) -> None:
        """Marks the log as complete and notifies waiting readers."""
        self.ended = True
        self.is_starting = False
        self._waiters.notify()

    def add_waiter(self, seen: int, notify: Notify) -> bool:
        """Has ``notify`` called at the next change.

        Returns False if there are more than ``seen`` frames already, or the log has ended: then it may never be called.
        """
        if len(self.frames) > seen or self.ended:
            return False
        self._waiters.add(notify)
        return not (len(self.frames) > seen or self.ended)

    def discard_waiter(self, notify: Notify) -> None:
        """Forgets a callback of a reader that has left: on a silent log, it would stay until the next change."""
        self._waiters.discard(notify)

    def add_end_waiter(self, notify: Notify) -> bool:
        """Has ``notify`` called at the next change. Returns False if the log has ended."""
        if self.ended:
            return False
        self._waiters.add(notify)
        return not self.ended
