"""What a writing connection knows of the file, so that not every write looks whether a limit is reached."""

from __future__ import annotations

import math
import sqlite3

from .._sql.message_ids import MessageIds
from .totals import Totals


class Room:
    """How much more may be written before the limits have to be looked at again.

    Known from the last look, as long as only this connection has written since.
    """

    __slots__ = ("_bytes", "_data_version", "_threads", "has_garbage")

    def __init__(self) -> None:
        self._data_version: int | None = None
        self._bytes = self._threads = 0.0
        self.has_garbage = True
        """Whether there may be rows that are not visible any more."""

    def refresh(self, db: sqlite3.Connection) -> bool:
        """Forgets everything if another process has written, and returns whether it may have.

        To be called when a transaction has begun.
        """
        [(data_version,)] = db.execute("PRAGMA data_version")
        if data_version == self._data_version:
            return False
        self._data_version = data_version
        self._bytes = self._threads = 0.0
        self.has_garbage = True
        return True

    def found(self, *, size: float = math.inf, threads: float = math.inf) -> None:
        """Notes how many bytes and threads may be added."""
        self._bytes, self._threads = size, threads

    def take(self, *, size: int, threads: int = 0) -> bool:
        """Notes that bytes and threads have been added. Returns whether the limits need not be looked at."""
        self._bytes -= size
        self._threads -= threads
        return self._bytes >= 0 and self._threads >= 0


class StoreConnection(sqlite3.Connection):
    """A connection of a store, and what it knows of the file. `remember_nothing` is called when it has been opened."""

    room: Room
    message_ids: MessageIds
    totals: Totals

    def remember_nothing(self) -> None:
        """Forgets what may not be true: the connection is new, or what it has written was rolled back."""
        self.room, self.message_ids, self.totals = Room(), MessageIds(), Totals()
