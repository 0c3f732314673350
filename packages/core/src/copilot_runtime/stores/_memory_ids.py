"""The ids of the messages of a thread in the memory store: kept once, however many runs look at them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from ._known_ids import KnownIds

_TEXT_BYTES = 49
_WIDE_BYTES = 2  # a character of most alphabets
_ENTRY_BYTES = 60  # of an id in a dictionary, about
THREAD_IDS_BYTES = 1100  # of `ThreadIds` without any


def text_size(text: str) -> int:
    """Returns the bytes that an id or a name takes.

    It is the same for equal texts, whereas ``sys.getsizeof`` grows once a string was encoded: a thread that is renamed
    must lose exactly what its former name has added.
    """
    return _TEXT_BYTES + len(text) * (1 if text.isascii() else _WIDE_BYTES)


def ids_size(ids: Collection[str]) -> int:
    """Returns the bytes that ids take, in one step if all are ASCII, as nearly all are."""
    joined = "".join(ids)
    if joined.isascii():
        return (_TEXT_BYTES + _ENTRY_BYTES) * len(ids) + len(joined)
    return _ENTRY_BYTES * len(ids) + sum(map(text_size, ids))


IdsByRun = Mapping[int, Sequence[str]]
"""Ids by the ordinal of their run."""


class MessageIds:
    """The ids in the events, or in the inputs, of a thread's runs.

    Args:
        last_runs: The ordinal of the last run that has each, in the order of these ordinals.
    """

    __slots__ = ("_last_runs", "known")

    def __init__(self, last_runs: dict[str, int]) -> None:
        self._last_runs = last_runs
        self.known = KnownIds(last_runs)
        """Those of this moment."""

    @property
    def size(self) -> int:
        """The bytes that they take."""
        return ids_size(self._last_runs)

    def copy(self) -> MessageIds:
        """Returns what does not change with these."""
        return MessageIds(self._last_runs.copy())

    def by_run(self) -> IdsByRun:
        """Returns the ids that each run is the last to have."""
        by_run: defaultdict[int, list[str]] = defaultdict(list)
        for text, ordinal in self._last_runs.items():
            by_run[ordinal].append(text)
        return by_run

    def add(self, ids: Set[str], ordinal: int) -> int:
        """Adds those of a run that has ended. Returns how many more bytes they take."""
        if not ids:
            return 0
        last_runs = self._last_runs
        ids = frozenset(ids)
        added = ids.difference(last_runs)
        self.known = self.known.begin_next(added, ids)
        for text in ids:
            if text in last_runs:
                del last_runs[text]  # since it moves to the end
            last_runs[text] = ordinal
        return ids_size(added)

    def remove_until(self, ordinal: int) -> int:
        """Removes those of the runs up to one. Returns the bytes that they took. Looks at no others than the rest."""
        last_runs = self._last_runs
        old = set(itertools.takewhile(lambda text: last_runs[text] <= ordinal, last_runs))
        if not old:
            return 0
        self.known = self.known.begin_next(frozenset(), old)
        for text in old:
            del last_runs[text]
        return ids_size(old)


class ThreadIds(NamedTuple):
    """The message ids of a thread's runs."""

    events: MessageIds
    inputs: MessageIds

    @property
    def size(self) -> int:
        """The bytes that they take."""
        return THREAD_IDS_BYTES + self.events.size + self.inputs.size

    def add(self, event_ids: Set[str], input_ids: Set[str], ordinal: int) -> int:
        """Adds those of a run that has ended. Returns how many more bytes they take."""
        return self.events.add(event_ids, ordinal) + self.inputs.add(input_ids, ordinal)

    def remove_until(self, ordinal: int) -> int:
        """Removes those of the runs up to one. Returns the bytes that they took."""
        return self.events.remove_until(ordinal) + self.inputs.remove_until(ordinal)

    def copy(self) -> ThreadIds:
        """Returns what does not change with these."""
        return ThreadIds(self.events.copy(), self.inputs.copy())

    def by_run(self) -> tuple[IdsByRun, IdsByRun]:
        """Returns the ids in events and in inputs that each run, by its ordinal, is the last to have."""
        return self.events.by_run(), self.inputs.by_run()


_END = "\0"
"""After each id in the texts of `RunIds`: hardly any id has one."""


class RunIds(NamedTuple):
    """The message ids of the only run of a thread that has any: as most threads have one run, most need no more.

    Those in its events are one text, and so are those in its inputs, with `_END` after each. By themselves, the ids of
    a long input would lie scattered among what else was parsed of it, and keep that memory from being used again.
    """

    events: str
    inputs: str
    ordinal: int

    @property
    def size(self) -> int:
        """The bytes that they take."""
        return self.events.__sizeof__() + self.inputs.__sizeof__()

    def copy(self) -> RunIds:
        """Returns these, which do not change."""
        return self

    def by_run(self) -> tuple[IdsByRun, IdsByRun]:
        """Returns the ids by the ordinal of the run."""
        return {self.ordinal: _split(self.events)}, {self.ordinal: _split(self.inputs)}

    def to_thread_ids(self) -> ThreadIds:
        """Returns the same to which those of further runs can be added."""
        return _thread_ids(_split(self.events), _split(self.inputs), self.ordinal)


def ids_of_run(events: Collection[str], inputs: Collection[str], ordinal: int) -> RunIds | ThreadIds:
    """Returns the message ids in the events and inputs of a run, as its thread keeps them."""
    in_events, in_inputs = _END.join((*events, "")), _END.join((*inputs, ""))
    if in_events.count(_END) != len(events) or in_inputs.count(_END) != len(inputs):
        return _thread_ids(events, inputs, ordinal)
    # Without its constructor, which takes twice as long.
    return tuple.__new__(RunIds, (in_events, in_inputs, ordinal))


def _split(ids: str) -> list[str]:
    return ids.split(_END)[:-1]


def _thread_ids(events: Iterable[str], inputs: Iterable[str], ordinal: int) -> ThreadIds:
    return ThreadIds(MessageIds(dict.fromkeys(events, ordinal)), MessageIds(dict.fromkeys(inputs, ordinal)))
