"""When the threads of a SQLite store were last read, which is written together with something else."""

from __future__ import annotations

from ..protocol import ThreadKey
from .connections import ConnectionPair
from .room import StoreConnection

MAX_UNWRITTEN = 100
"""For how many threads it is kept when they were read. As long as nothing can be written, as on a full disk, each read
tries to write all of that."""


class LastUses:
    """Notes when threads are read, and has it written without making the readers wait.

    Args:
        connections: The connections of the store.
    """

    def __init__(self, connections: ConnectionPair) -> None:
        self._connections = connections
        self._unwritten: dict[ThreadKey, float] = {}
        self._in_transaction: dict[ThreadKey, float] = {}

    def note(self, thread: ThreadKey, now: float) -> None:
        """Notes that a thread is used now."""
        self._unwritten.pop(thread, None)  # so that the one that was read last is the last one
        self._unwritten[thread] = now
        for oldest in list(self._unwritten)[:-MAX_UNWRITTEN]:
            self._unwritten.pop(oldest, None)
        self._connections.write_soon(self._write, self._committed)

    def _write(self, db: StoreConnection) -> None:
        self._in_transaction = self._unwritten.copy()
        db.executemany(
            "UPDATE threads SET used_at = ? WHERE owner = ? AND thread_id = ?",
            [(used_at, *thread) for thread, used_at in self._in_transaction.items()],
        )

    def _committed(self) -> None:
        written, self._in_transaction = self._in_transaction, {}
        for thread, used_at in written.items():
            if self._unwritten.get(thread) == used_at:  # and not again since then
                del self._unwritten[thread]

    def after_fork(self) -> None:
        """Forgets what the parent process is to write."""
        self._unwritten, self._in_transaction = {}, {}
