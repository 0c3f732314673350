"""What all writes of a store have in common: their transactions, room for them, and a warning of what they delete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from . import rows
from .connections import ConnectionPair
from .garbage import PIECE_BYTES, collect
from .retention import Retention
from .rows import Db

logger = logging.getLogger("copilot_runtime.stores.sqlite")

T = TypeVar("T")
U = TypeVar("U")


class Writer:
    """Writes to a file.

    Args:
        connections: The connections to it.
        retention: Keeps the limits of the store.
    """

    def __init__(self, connections: ConnectionPair, retention: Retention) -> None:
        self._connections = connections
        self._retention = retention
        self._has_evicted = False

    def write(self, work: Callable[[Db], T]) -> T:
        """Calls a function in a transaction."""
        return self._connections.write(rows.checked(work))

    def write_each(self, work: Callable[[Db, Sequence[U]], list[T]], items: Sequence[U]) -> list[T | Exception]:
        """Calls a function with several items, in a transaction, and returns its list of results.

        Should it raise, it is called for each item alone, and the list has the exceptions of those where it raises.
        """

        def work_on(some: Sequence[U]) -> Callable[[Db], list[T]]:
            return rows.checked(lambda db: work(db, some))

        return cast(
            "list[T | Exception]",
            self._connections.write(work_on(items), lambda: [work_on([item]) for item in items], len(items)),
        )

    def make_room_for(self, size: int) -> None:
        """Deletes, before a large write, what its own transaction would be too long for."""
        for _ in range(2 * size // PIECE_BYTES):
            if not self.write(collect):
                break

    def warn_evicted(self) -> None:
        """Logs, once, that threads are deleted to keep the limits."""
        if not self._has_evicted:
            self._has_evicted = True
            self._retention.log_eviction(logger, self._connections.path)
