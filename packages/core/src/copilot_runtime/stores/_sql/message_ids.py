"""The ids of the messages of long threads, so that to begin a run only the runs since the last one are read."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence, Set

MIN_RUNS = 8
"""Of how many runs a thread has to be kept. Fewer are read in less time than it takes to look after them."""

MAX_BYTES = 10_000_000
"""About how many bytes the ids take that are kept, of all threads together. Clients choose how long ids are."""

_ENTRY_BYTES = 100
"""About what an id takes beside its text."""

Row = tuple[int, Iterable[str], Iterable[str]]
"""An ordinal, the ids in the events of that run, and those in its input."""

ReadRows = Callable[[int], Sequence[Row]]
"""Returns the runs of a thread after an ordinal, in their order."""


class _Thread:
    """The ids of a thread's runs, each with the ordinal of the last run that has it."""

    __slots__ = ("in_events", "in_inputs", "ordinals", "size")

    def __init__(self) -> None:
        self.ordinals: list[int] = []
        # Never changed: their keys are passed on.
        self.in_events: dict[str, int] = {}
        self.in_inputs: dict[str, int] = {}
        self.size = 0
        """About how many bytes the ids take."""

    def add(self, rows: Sequence[Row]) -> None:
        """Adds runs that have ended since the last one."""
        if not rows:
            return
        self.ordinals += [ordinal for ordinal, _, _ in rows]
        in_events, in_inputs = self.in_events.copy(), self.in_inputs.copy()
        for ordinal, event_ids, input_ids in rows:
            in_events.update(dict.fromkeys(event_ids, ordinal))
            in_inputs.update(dict.fromkeys(input_ids, ordinal))
        self.size += _size(in_events.keys() - self.in_events.keys()) + _size(in_inputs.keys() - self.in_inputs.keys())
        self.in_events, self.in_inputs = in_events, in_inputs

    def drop(self, first: int) -> None:
        """Drops the runs before the first one that is left."""
        self.ordinals = [ordinal for ordinal in self.ordinals if ordinal >= first]
        self.in_events = self._drop(self.in_events, first)
        self.in_inputs = self._drop(self.in_inputs, first)

    def _drop(self, known: dict[str, int], first: int) -> dict[str, int]:
        dropped = [text for text, last in known.items() if last < first]
        self.size -= _size(dropped)
        left = known.copy()
        for text in dropped:
            del left[text]
        return left


def _size(ids: Collection[str]) -> int:
    return len(ids) * _ENTRY_BYTES + sum(map(sys.getsizeof, ids))


class MessageIds:
    """The ids of the threads that were written to last."""

    def __init__(self) -> None:
        self._threads: OrderedDict[Hashable, _Thread] = OrderedDict()
        """The least recently used first."""
        self._size = 0

    def clear(self) -> None:
        """Forgets all: what was read of a transaction that is rolled back never was."""
        self._threads.clear()
        self._size = 0

    def last_ordinal(self, thread: Hashable) -> int:
        """Returns the ordinal of the last run of a thread whose ids are known; 0 if none are."""
        known = self._threads.get(thread)
        return known.ordinals[-1] if known is not None else 0

    def select(
        self, thread: Hashable, runs: int, read: ReadRows, first_ordinal: Callable[[], int]
    ) -> tuple[Set[str], Set[str]]:
        """Returns the ids of the messages in the events of a thread's runs, and of those in their inputs.

        Args:
            thread: The thread.
            runs: How many runs it has.
            read: Reads the ids of runs.
            first_ordinal: Returns the ordinal of its oldest run.
        """
        known = self._threads.pop(thread, None)
        if known is not None:
            self._size -= known.size
            known.add(read(known.ordinals[-1]))
            if len(known.ordinals) != runs:  # the oldest were deleted
                known.drop(first_ordinal())
        if known is None or len(known.ordinals) != runs:
            known = _Thread()
            known.add(read(0))
        if len(known.ordinals) >= MIN_RUNS and known.size <= MAX_BYTES:
            self._threads[thread] = known
            self._size += known.size
            while self._size > MAX_BYTES:
                self._size -= self._threads.popitem(last=False)[1].size
        return known.in_events.keys(), known.in_inputs.keys()
