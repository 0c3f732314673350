"""The active runs of this process over one store object, which several runtimes may use."""

from __future__ import annotations

import weakref

from ..stores.protocol import RunKey, RunStore
from .run import Run


class LocalRuns(dict[RunKey, Run]):
    """Active runs by their keys, which are added once the store has begun them.

    Attributes:
        has_all: whether these are the runs of all engines over the store object.
        last_missed: another object each time that somebody had something to tell a run that was not here.
    """

    __slots__ = ("has_all", "last_missed")

    def __init__(self, *, has_all: bool) -> None:
        super().__init__()
        self.has_all = has_all
        self.last_missed: object = None

    def find(self, key: RunKey) -> Run | None:
        """Returns the run with a key, to tell it something. Whoever adds it afterwards sees `last_missed`."""
        run = self.get(key)
        if run is None:
            self.last_missed = object()
            run = self.get(key)  # it may have been added just before that
        return run


_runs: weakref.WeakKeyDictionary[RunStore, LocalRuns] = weakref.WeakKeyDictionary()


def local_runs(store: RunStore) -> LocalRuns:
    """Returns the active runs of all engines over a store object, which the engines add and remove."""
    try:
        return _runs.setdefault(store, LocalRuns(has_all=True))
    except TypeError:  # a store of the user's that has no hash, or takes no weak references
        return LocalRuns(has_all=False)
