"""The ids of the messages of long threads, so that to begin a run only those are read that are new since the last."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Set

MAX_BYTES = 10_000_000
"""About how many bytes the ids take that are kept, of all threads together. Clients choose how long ids are."""

_ENTRY_BYTES = 100
"""About what an id takes beside its text."""

Ids = tuple[dict[str, int], dict[str, int]]
"""The ids in the events of a thread's runs, and those in their inputs, each with the ordinal of the last run that has
it."""


def ids_of_runs(runs: Iterable[tuple[int, Iterable[str], Iterable[str]]]) -> Ids:
    """Returns the ids of runs, oldest first, from the ordinal and the ids of each."""
    in_events: dict[str, int] = {}
    in_inputs: dict[str, int] = {}
    for ordinal, event_ids, input_ids in runs:
        in_events.update(dict.fromkeys(event_ids, ordinal))
        in_inputs.update(dict.fromkeys(input_ids, ordinal))
    return in_events, in_inputs


def ids_since(ids: Ids, first: int) -> Ids:
    """Returns the ids without those of which only runs before an ordinal have any."""
    return (_since(ids[0], first), _since(ids[1], first)) if first else ids


def _since(ids: dict[str, int], first: int) -> dict[str, int]:
    if all(last >= first for last in ids.values()):
        return ids
    return {text: last for text, last in ids.items() if last >= first}


def ids_by_run(ids: dict[str, int]) -> dict[int, list[str]]:
    """Returns the ids that each run, by its ordinal, is the last to have."""
    by_run: dict[int, list[str]] = {}
    for text, last in ids.items():
        by_run.setdefault(last, []).append(text)
    return by_run


class _Thread:
    """The ids of a thread's runs."""

    __slots__ = ("first", "ids", "last", "size")

    def __init__(self) -> None:
        self.ids: Ids = {}, {}
        """Never changed: their keys are passed on."""
        self.first = 0
        """Of this ordinal, or a later one, is the oldest run whose ids are known."""
        self.last = 0
        """The ids of the runs up to this ordinal are known."""
        self.size = 0
        """About how many bytes the ids take."""

    def add(self, new: Ids) -> None:
        """Adds those of runs that have ended since the last one."""
        for known, more in zip(self.ids, new, strict=True):
            self.size += _size(more.keys() - known.keys() if known else more)
        self.ids = _merge(self.ids[0], new[0]), _merge(self.ids[1], new[1])

    def drop(self, first: int) -> None:
        """Drops the runs before the first one that is left."""
        if self.first < first:
            left = ids_since(self.ids, first)
            for known, rest in zip(self.ids, left, strict=True):
                if rest is not known:
                    self.size -= _size(known.keys() - rest.keys())
            self.ids, self.first = left, first


def _merge(known: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    return {**known, **new} if known and new else new or known


def _size(ids: Collection[str]) -> int:
    return len(ids) * _ENTRY_BYTES + sum(map(sys.getsizeof, ids))


class MessageIds:
    """The ids of the threads that were written to last."""

    def __init__(self) -> None:
        self._threads: OrderedDict[Hashable, _Thread] = OrderedDict()
        """The least recently used first."""
        self._size = 0

    def last_ordinal(self, thread: Hashable) -> int:
        """Returns the ordinal up to which the ids of a thread's runs are known; 0 if none are."""
        known = self._threads.get(thread)
        return known.last if known is not None else 0

    def select(self, thread: Hashable, first: int, last: int, read: Callable[[int], Ids]) -> tuple[Set[str], Set[str]]:
        """Returns the ids of the messages in the events of a thread's runs, and of those in their inputs.

        Args:
            thread: The thread.
            first: An ordinal: the runs before it are deleted.
            last: The ordinal up to which the thread may have runs.
            read: Returns the ids of the runs after an ordinal.
        """
        known = self._threads.pop(thread, None)
        if known is not None:
            self._size -= known.size
        if known is None or known.last > last:  # such as on a server that has lost its last transactions
            known = _Thread()
        known.add(read(known.last))
        known.drop(first)
        known.last = last
        if known.size <= MAX_BYTES:
            self._threads[thread] = known
            self._size += known.size
            while self._size > MAX_BYTES:
                self._size -= self._threads.popitem(last=False)[1].size
        return known.ids[0].keys(), known.ids[1].keys()
