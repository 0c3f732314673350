"""Whose threads a full memory store deletes first.

Owners share each limit equally: as long as one holds more than its share, no other one loses a thread that is within
its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import protocol as p
from ._memory_threads import Thread


class Owner:
    """What one owner has in the store."""

    __slots__ = ("idle", "size", "threads")

    def __init__(self) -> None:
        self.size = 0
        """The bytes that its threads take."""
        self.threads: dict[p.ThreadKey, Thread] = {}
        self.idle: OrderedDict[p.ThreadKey, Thread] = OrderedDict()
        """Those without an active run, the least recently used first."""

    @property
    def thread_count(self) -> int:
        """The number of its threads."""
        return len(self.threads)

    def idle_thread(self, current: Thread | None) -> Thread | None:
        """Returns the least recently used thread without an active run other than ``current``."""
        return next((thread for thread in self.idle.values() if thread is not current), None)


class Limit(NamedTuple):
    """A limit of a store; 0 means no limit."""

    maximum: int
    total: Callable[[], int]
    """Returns how much of it is in use."""
    measure: Callable[[Owner], int]
    """Returns how much of it an owner uses."""

    def is_exceeded(self) -> bool:
        """Returns whether more is in use."""
        return 0 < self.maximum < self.total()


class Limits(NamedTuple):
    """The limits that owners share."""

    threads: Limit
    bytes: Limit


class Owners:
    """The owners of a store's threads."""

    def __init__(self) -> None:
        self._owners: dict[str, Owner] = {}
        self._heaviest: str | None = None
        """The owner that had most when all were compared last, which is not often."""

    def add(self, thread: Thread) -> None:
        """Adds a thread with an active run."""
        owner = self._owners.get(thread.key.owner)
        if owner is None:
            owner = self._owners[thread.key.owner] = Owner()
        owner.threads[thread.key] = thread
        owner.size += thread.size

    def remove(self, thread: Thread) -> None:
        """Removes a thread."""
        owner = self._owners[thread.key.owner]
        owner.size -= thread.size
        del owner.threads[thread.key]
        owner.idle.pop(thread.key, None)
        if not owner.threads:
            del self._owners[thread.key.owner]

    def set_active(self, thread: Thread) -> None:
        """Marks a thread as one with an active run."""
        self._owners[thread.key.owner].idle.pop(thread.key, None)

    def set_idle(self, thread: Thread) -> None:
        """Marks a thread as one without an active run, and as the one that was used last."""
        idle = self._owners[thread.key.owner].idle
        idle[thread.key] = thread
        idle.move_to_end(thread.key)

    def resize(self, thread: Thread, size: int) -> None:
        """Adds to the size of a thread's owner."""
        self._owners[thread.key.owner].size += size

    def threads(self, owner: str) -> Iterator[Thread]:
        """Yields an owner's threads."""
        found = self._owners.get(owner)
        yield from () if found is None else found.threads.values()

    def is_above_share(self, owner: str, limit: Limit) -> bool:
        """Returns whether an owner has more of a limit than each would have if all had the same."""
        found = self._owners.get(owner)
        return found is not None and limit.measure(found) * len(self._owners) > limit.maximum

    def idle_thread(self, owner: str, current: Thread | None) -> Thread | None:
        """Returns an owner's least recently used thread without an active run other than ``current``."""
        found = self._owners.get(owner)
        return None if found is None else found.idle_thread(current)

    def idle_thread_above_share(self, limit: Limit, current: Thread | None) -> Thread | None:
        """Returns the thread to delete first of owners that have more than their share."""
        found = self._idle_above_share(self._heaviest, limit, current)
        if found is None:
            able = [name for name in self._owners if self._idle_above_share(name, limit, current) is not None]
            self._heaviest = max(able, key=lambda name: limit.measure(self._owners[name]), default=None)
            found = self._idle_above_share(self._heaviest, limit, current)
        return found

    def _idle_above_share(self, owner: str | None, limit: Limit, current: Thread | None) -> Thread | None:
        if owner is None or not self.is_above_share(owner, limit):
            return None
        return self.idle_thread(owner, current)
