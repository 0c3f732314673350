"""The active runs of this process over one store object, which several runtimes may use."""

from __future__ import annotations

import weakref

from ..stores.protocol import RunKey, RunStore
from .run import Run

_runs: weakref.WeakKeyDictionary[RunStore, dict[RunKey, Run]] = weakref.WeakKeyDictionary()


def local_runs(store: RunStore) -> dict[RunKey, Run]:
    """Returns the active runs of all engines over a store object, which the engines add and remove.

    Of a store that is polled, each engine has its own: there the store itself tells a run's owner to stop.
    """
    if store.poll_seconds is not None:
        return {}
    try:
        return _runs.setdefault(store, {})
    except TypeError:  # a store of the user's that has no hash, or takes no weak references
        return {}
