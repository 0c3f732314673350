"""Whose threads a full memory store deletes first.

Owners share each limit equally: as long as one holds more than its share, no other one loses a thread that is within
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ._memory_threads import Owner, Thread, first_other


class Limit(NamedTuple):
    """A limit of a store; infinite if it has none."""

    maximum: float
    total: Callable[[], int]
    """Returns how much of it is in use."""
    measure: Callable[[Owner], int]
    """Returns how much of it an owner uses."""

    def is_exceeded(self) -> bool:
        """Returns whether more is in use."""
        return self.total() > self.maximum


class Owners:
    """The owners of a store's threads."""

    def __init__(self) -> None:
        self._owners: dict[str, Owner] = {}
        self._heaviest: Owner | None = None
        """The owner that had most when all were compared last, which is not often."""

    def add(self, thread: Thread) -> None:
        """Adds a thread with an active run."""
        name = thread.key.owner
        owner = self._owners.get(name)
        if owner is None:
            owner = self._owners[name] = Owner()
        thread.owner = owner
        owner.threads[thread] = None
        owner.size += thread.size

    def remove(self, thread: Thread) -> None:
        """Removes a thread."""
        owner = thread.owner
        owner.size -= thread.size
        del owner.threads[thread]
        owner.idle.pop(thread, None)
        if not owner.threads:
            del self._owners[thread.key.owner]

    def threads(self, owner: str) -> Iterator[Thread]:
        """Yields an owner's threads."""
        found = self._owners.get(owner)
        yield from () if found is None else found.threads

    def is_above_share(self, owner: Owner, limit: Limit) -> bool:
        """Returns whether an owner has more of a limit than each would have if all had the same."""
        return limit.measure(owner) * len(self._owners) > limit.maximum

    def idle_thread_above_share(self, limit: Limit, current: Thread | None) -> Thread | None:
        """Returns the thread to delete first of owners that have more than their share."""
        found = self._idle_above_share(self._heaviest, limit, current)
        if found is None:
            able = [owner for owner in self._owners.values() if self._idle_above_share(owner, limit, current)]
            self._heaviest = max(able, key=limit.measure, default=None)
            found = self._idle_above_share(self._heaviest, limit, current)
        return found

    def _idle_above_share(self, owner: Owner | None, limit: Limit, current: Thread | None) -> Thread | None:
        if owner is None or not self.is_above_share(owner, limit):
            return None
        return first_other(owner.idle, current)
