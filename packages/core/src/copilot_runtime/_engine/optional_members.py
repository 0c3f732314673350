"""What a store may have beyond the protocol, and that a subclass or a wrapper of it may have made wrong."""

from __future__ import annotations

from collections.abc import Set
from typing import cast

from ..stores.protocol import CombiningStore, RunStore, WatchingStore


def has_member(store: RunStore, name: str, depends_on: Set[str]) -> bool:
    """Returns whether a store has an optional member that fits its methods.

    It does not if a subclass, a wrapper or the object itself has its own version of one of the methods ``depends_on``,
    and none of the member: what it adds to these methods would be left out.
    """
    names = {name, *depends_on}
    members = [getattr(owner, "__dict__", {}).keys() for owner in (store, *type(store).__mro__)]
    return name in next((found for found in members if found & names), ())


def find_combining(store: RunStore) -> CombiningStore | None:
    """Returns the store if it is one that reads a thread and its messages together."""
    is_combining = has_member(store, "read_with_messages", {"read", "messages"})
    return cast(CombiningStore, store) if is_combining else None


def find_watching(store: RunStore) -> WatchingStore | None:
    """Returns the store if it calls back when other processes have changed a run.

    Whatever a subclass or a wrapper changes of its other methods, other processes change the same rows.
    """
    return cast(WatchingStore, store) if callable(getattr(store, "watch", None)) else None
