"""The threads of a memory store by key, by owner and by use, and what a full store deletes first.

Owners share each limit equally: as long as one holds more than its share, no other one loses a thread that is within
its own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from . import protocol as p
from ._memory_threads import Owner, StoredRun, Thread


class ThreadTable:
    """The threads of a store, up to its limits, each of which is infinite if there is none.

    Args:
        max_threads: How many threads to keep.
        max_bytes: How many bytes they may take.
        max_age: How many seconds to keep one without use.
    """

    def __init__(self, max_threads: float, max_bytes: float, max_age: float) -> None:
        self.max_threads = max_threads
        self.max_bytes = max_bytes
        self.by_key: dict[p.ThreadKey, Thread] = {}
        """All threads, in the order of their tokens."""
        self.owners: dict[str, Owner] = {}
        """Those who have threads."""
        self.idle: OrderedDict[Thread, None] = OrderedDict()
        """Those without an active run, the least recently used first."""
        self.raw: OrderedDict[StoredRun, Thread] = OrderedDict()
        """The runs with raw frames, in the order in which these expire."""
        self.size = 0
        """The bytes that all threads take."""
        self.next_sweep = math.inf
        """Before this time by the monotonic clock, nothing expires."""
        self.has_evicted = False
        """Whether any thread has been deleted to keep the limits."""
        self._max_age = max_age
        self._thread_limit = _ThreadLimit(self)
        self._byte_limit = _ByteLimit(self)
        self._heaviest: Owner | None = None
        """The owner that had most when all were compared last, which is not often."""

    def add(self, thread: Thread) -> None:
        """Adds a thread, which is in use."""
        key, size = thread.key, thread.size
        self.by_key[key] = thread
        owner = self.owners.get(key.owner)
        if owner is None:
            owner = self.owners[key.owner] = Owner()
        thread.owner = owner
        owner.threads[thread] = None
        owner.size += size
        self.size += size

    def remove(self, thread: Thread) -> None:
        """Removes a thread."""
        key, owner, size = thread.key, thread.owner, thread.size
        del self.by_key[key], owner.threads[thread]
        if thread.live is None:
            del self.idle[thread], owner.idle[thread]
        owner.size -= size
        self.size -= size
        if not owner.threads:
            del self.owners[key.owner]
        for run in reversed(thread.runs):
            if run.raw is None:  # so the frames of those before it have expired as well
                break
            del self.raw[run]

    def count(self, thread: Thread, change: int) -> None:
        """Counts that a thread takes more bytes than before, or less."""
        thread.size += change
        thread.owner.size += change
        self.size += change

    def set_active(self, thread: Thread) -> None:
        """Keeps a thread from being deleted."""
        self.idle.pop(thread, None)
        thread.owner.idle.pop(thread, None)

    def set_idle(self, thread: Thread, used_at: float) -> None:
        """Lets a thread be deleted, as the one that was used last."""
        thread.used_at = used_at
        self.idle[thread] = thread.owner.idle[thread] = None
        if (expiry := used_at + self._max_age) < self.next_sweep:
            self.next_sweep = expiry

    def of_owner(self, name: str) -> Iterable[Thread]:
        """Returns an owner's threads."""
        owner = self.owners.get(name)
        return () if owner is None else owner.threads

    def delete_oldest_run(self, thread: Thread) -> None:
        """Deletes a thread's oldest run."""
        run, change = thread.delete_oldest_run()
        self.raw.pop(run, None)
        self.count(thread, change)

    def sweep(self, now: float) -> None:
        """Deletes threads and raw frames that have expired."""
        next_sweep = math.inf
        while (oldest := first_other(self.idle, None)) is not None:
            if now - oldest.used_at < self._max_age:
                next_sweep = oldest.used_at + self._max_age
                break
            self.remove(oldest)
        while (run := next(iter(self.raw), None)) is not None:
            if run.expires_at > now:
                next_sweep = min(next_sweep, run.expires_at)
                break
            self.drop_raw_frames(run)
        self.next_sweep = next_sweep

    def drop_raw_frames(self, run: StoredRun) -> None:
        """Drops the frames of a run as they were sent."""
        self.count(self.raw.pop(run), run.drop_raw())

    def evict(self, current: Thread | None = None) -> None:
        """Enforces the limits after ``current`` has grown.

        If the owner of ``current`` has more than its share, it first loses its other threads, then raw frames, and then
        the oldest runs of ``current``. Only then do others lose threads.
        """
        if len(self.by_key) > self.max_threads:
            self._evict_for(self._thread_limit, current)
        if self.size > self.max_bytes:
            self._evict_for(self._byte_limit, current)
            self._trim(current, self._byte_limit.is_exceeded)

    def _evict_for(self, limit: _Limit, current: Thread | None) -> None:
        """Does what is to be done while a limit, which is exceeded, is."""
        if current is not None:
            owner = current.owner
            while limit.is_above_share(owner) and (thread := first_other(owner.idle, current)) is not None:
                self.remove(thread)
                self.has_evicted = True
                if not limit.is_exceeded():
                    return
            if limit is self._byte_limit:
                self._trim(current, lambda: limit.is_exceeded() and limit.is_above_share(owner), owner)
        while limit.is_exceeded() and (thread := first_other(self.idle, current)) is not None:
            if not limit.is_above_share(thread.owner):
                thread = self._idle_thread_above_share(limit, current) or thread
            self.remove(thread)
            self.has_evicted = True

    def _idle_thread_above_share(self, limit: _Limit, current: Thread | None) -> Thread | None:
        """Returns the thread to delete first of owners that have more than their share."""
        found = self._idle_above_share(self._heaviest, limit, current)
        if found is None:
            able = [owner for owner in self.owners.values() if self._idle_above_share(owner, limit, current)]
            self._heaviest = max(able, key=limit.measure, default=None)
            found = self._idle_above_share(self._heaviest, limit, current)
        return found

    def _idle_above_share(self, owner: Owner | None, limit: _Limit, current: Thread | None) -> Thread | None:
        if owner is None or not limit.is_above_share(owner):
            return None
        return first_other(owner.idle, current)

    def _trim(self, current: Thread | None, is_needed: Callable[[], bool], owner: Owner | None = None) -> None:
        """Drops raw frames, of all threads or of those of an owner, and then the oldest runs of ``current``."""
        for run, thread in list(self.raw.items()) if is_needed() else ():
            if owner in (None, thread.owner) and is_needed():
                self.drop_raw_frames(run)
        while current is not None and len(current.runs) > 1 and is_needed():
            self.delete_oldest_run(current)


def first_other(threads: Iterable[Thread], current: Thread | None) -> Thread | None:
    """Returns the first of threads that is not ``current``."""
    for thread in threads:
        if thread is not current:
            return thread
    return None


class _Limit(Protocol):
    def is_exceeded(self) -> bool:
        """Returns whether more is in use."""

    def is_above_share(self, owner: Owner) -> bool:
        """Returns whether an owner has more of it than each would have if all had the same."""

    def measure(self, owner: Owner) -> int:
        """Returns how much of it an owner uses."""


class _ThreadLimit:
    def __init__(self, table: ThreadTable) -> None:
        self._threads = table.by_key
        self._owners = table.owners
        self._maximum = table.max_threads

    def is_exceeded(self) -> bool:
        return len(self._threads) > self._maximum

    def is_above_share(self, owner: Owner) -> bool:
        return len(owner.threads) * len(self._owners) > self._maximum

    def measure(self, owner: Owner) -> int:
        return len(owner.threads)


class _ByteLimit:
    def __init__(self, table: ThreadTable) -> None:
        self._table = table

    def is_exceeded(self) -> bool:
        return self._table.size > self._table.max_bytes

    def is_above_share(self, owner: Owner) -> bool:
        return owner.size * len(self._table.owners) > self._table.max_bytes

    def measure(self, owner: Owner) -> int:
        return owner.size
