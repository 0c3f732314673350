"""The ids of a thread's messages at one moment, without a copy of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set


def current_ids(ids: Set[str]) -> Set[str]:
    """Returns ids that a store has passed on in a form in which many are looked up faster, without calls of Python.

    It may change with the thread, so it is of use only while that has the run to which they were passed.
    """
    return ids.current() if isinstance(ids, KnownIds) else ids


class KnownIds(Set[str]):
    """The ids that a thread has at one moment.

    All moments of a thread share one dictionary, which has the ids of the last one; an earlier one knows by what the
    next one differs. So nothing is copied when a run ends, and nothing changes for those who look at earlier ids, which
    hardly anybody does: a thread has one run at a time. An earlier moment keeps what has changed since, so it should
    not be held for longer than it is of use.

    Args:
        ids: The dictionary.
    """

    __slots__ = ("_added", "_ids", "_next", "_removed")

    def __init__(self, ids: dict[str, int]) -> None:
        self._ids = ids
        self._next: KnownIds | None = None
        self._added: Set[str]
        """The ids that the next moment has and this one does not."""
        self._removed: Set[str]
        """Those that this moment has and the next one does not, perhaps with others that either has."""

    def begin_next(self, added: Set[str], removed: Set[str]) -> KnownIds:
        """Returns the next moment, at which the dictionary may be changed.

        Args:
            added: The ids that will be added.
            removed: Those that will be removed, and those that will not be there for a while meanwhile, perhaps with
                others of ``added``.
        """
        self._added, self._removed = added, removed
        self._next = KnownIds(self._ids)
        return self._next

    # Others may change the dictionary meanwhile. So what it has is looked up first, and then what has changed: to undo
    # a change that is not there yet does nothing.

    def __contains__(self, text: object) -> bool:
        is_known = text in self._ids
        moment = self
        while (later := moment._next) is not None:
            if text in moment._added:
                return False
            if text in moment._removed:
                return True
            moment = later
        return is_known

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        count = len(self._ids)
        return count if self._next is None else len(self._all())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._all()!r})"

    @classmethod
    def _from_iterable(cls, texts: Iterable[str]) -> Set[str]:  # type: ignore[override]
        return set(texts)  # of operators: the result belongs to no thread

    def current(self) -> Set[str]:
        """Returns the same ids as a set of Python's own, which may change with the thread."""
        ids = self._ids.keys()
        return ids if self._next is None else self._all()

    def _all(self) -> set[str]:
        found = set(self._ids)
        moment, changes = self, []
        while (later := moment._next) is not None:
            changes.append((moment._added, moment._removed))
            moment = later
        for added, removed in reversed(changes):
            found |= removed
            found -= added
        return found
