"""A run's frames in this process, which any number of readers read from where they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..stores.protocol import RunKey

Notify = Callable[[], object]


class RunLog:
    """Grows at its end, is read from anywhere, on any thread, without a lock."""

    __slots__ = ("_waiters", "agent_id", "duplicates", "ended", "evicted", "fallback_ending", "frames", "run", "run_id")

    def __init__(self, run: RunKey | None, run_id: str, agent_id: str) -> None:
        self.run = run
        self.run_id = run_id
        self.agent_id = agent_id
        self.frames: list[bytes] = []
        self.duplicates: set[int] = set()
        """Numbers of the events that one who joins is not shown."""
        self.fallback_ending: Sequence[bytes] = ()
        """How a lost run ends for its readers, should the store say no more about it."""
        self.ended = False
        self.evicted = False
        self._waiters: set[Notify] = set()

    def extend(self, frames: Sequence[bytes]) -> None:
        """Adds frames and wakes who waits for them."""
        self.frames.extend(frames)
        self._wake()

    def end(self) -> None:
        """There will be no more frames."""
        self.ended = True
        self._wake()

    def evict(self) -> None:
        """Forgets the frames of an ended run; who still reads it is told that it is gone."""
        self.evicted = True
        self.frames = []

    def add_waiter(self, seen: int, wake: Notify) -> bool:
        """Has ``wake`` called at the next change. False where there is more than ``seen`` frames already."""
        if len(self.frames) > seen or self.ended:
            return False
        self._waiters.add(wake)
        # Looked at again, since the producer may have come between: it adds first and
        # takes the list of waiters second, so one of the two has seen the other.
        return not (len(self.frames) > seen or self.ended)

    def add_end_waiter(self, wake: Notify) -> bool:
        """Has ``wake`` called at the next change. False where the run has ended."""
        if self.ended:
            return False
        self._waiters.add(wake)
        return not self.ended

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, set()
            # A copy, since one who loaded the old set may still add to it; its second look saves it.
            for wake in tuple(waiters):
                wake()
