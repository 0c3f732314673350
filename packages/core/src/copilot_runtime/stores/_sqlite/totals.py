"""How many threads and bytes a SQLite store has, in all and of each owner: kept, so that they need not be counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

MAX_THREAD_BYTES = 1 << 50

THREAD_BYTES = f"min(max(CAST(bytes AS INTEGER), 0), {MAX_THREAD_BYTES})"
"""How many bytes a row of ``threads`` counts for, as SQL: a number even if the row is damaged."""


def thread_bytes_of(size: float) -> int:
    """Returns the same of a number that the row is to get."""
    return int(min(max(size, 0), MAX_THREAD_BYTES))


class Totals:
    """What a transaction has added to the totals. It is written once, for all works that share the transaction.

    Whoever adds or deletes a row of ``threads``, or changes how many bytes it has, tells it here.
    """

    __slots__ = ("_added",)

    def __init__(self) -> None:
        self._added: dict[bytes, tuple[int, int]] = {}
        """Threads and bytes, by owner: not as a text, since that may be damaged."""

    def add(self, owner: str | bytes, size: int, *, threads: int = 0) -> None:
        """Notes that an owner has more bytes and threads, or fewer."""
        key = owner.encode() if isinstance(owner, str) else owner
        threads_before, size_before = self._added.get(key, (0, 0))
        self._added[key] = threads_before + threads, size_before + size

    def add_to_thread(self, db: sqlite3.Connection, thread: int, size: float) -> None:
        """Changes how many bytes a thread has."""
        found = db.execute(
            f"SELECT CAST(owner AS BLOB), {THREAD_BYTES} FROM threads WHERE id = ?", (thread,)
        ).fetchall()
        for owner, before in found:
            after = thread_bytes_of(before + size)
            db.execute("UPDATE threads SET bytes = ? WHERE id = ?", (after, thread))
            self.add(owner, after - before)

    def write(self, db: sqlite3.Connection) -> None:
        """Writes what has been added: to be called before the totals are read, and before the commit."""
        if self._added:
            added, self._added = self._added, {}
            _write(db, added)


def _write(db: sqlite3.Connection, added: Mapping[bytes, tuple[int, int]]) -> None:
    owners = sum([_add_to_owner(db, owner, threads, size) for owner, (threads, size) in added.items()])
    threads = sum([threads for threads, _ in added.values()])
    size = sum([size for _, size in added.values()])
    db.execute(
        "UPDATE counters SET value = value + CASE name WHEN 'threads' THEN ? WHEN 'bytes' THEN ? ELSE ? END",
        (threads, size, owners),
    )


def _add_to_owner(db: sqlite3.Connection, owner: bytes, threads: int, size: int) -> int:
    """Adds to the totals of an owner. Returns how many more owners there are."""
    if not threads:  # an index has them
        db.execute("UPDATE owners SET bytes = bytes + ? WHERE owner = CAST(? AS TEXT)", (size, owner))
        return 0
    found = db.execute(
        "UPDATE owners SET threads = threads + ?, bytes = bytes + ? WHERE owner = CAST(? AS TEXT)",
        (threads, size, owner),
    ).rowcount
    if not found and threads > 0:
        db.execute("INSERT INTO owners (owner, threads, bytes) VALUES (CAST(? AS TEXT), ?, ?)", (owner, threads, size))
        return 1
    if threads < 0:
        return -db.execute("DELETE FROM owners WHERE owner = CAST(? AS TEXT) AND threads <= 0", (owner,)).rowcount
    return 0
