"""Whose threads a full SQLite store deletes first, as `_memory_table` decides it for memory.

Owners share each limit equally: as long as one holds more than its share, no other one loses a thread that is within
its own. Threads are identified by their row ids, and their owners by these, since the text of an owner may be damaged.
"""

from __future__ import annotations

from typing import Literal

from .room import StoreConnection

Db = StoreConnection

Measure = Literal["threads", "bytes"]
"""A column of the table of owners: what they share."""

IDLE = "used_at <> 0 AND NOT EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id)"
"""Whether a thread may be deleted, as SQL."""

_OWNER_OF = "(SELECT owner FROM threads WHERE id = ?)"


def is_above_share(db: Db, thread: int, measure: Measure, limit: int) -> bool:
    """Returns whether a thread's owner has more of a limit than each would have if all had the same."""
    db.totals.write(db)
    row = db.execute(
        f"SELECT {measure} * (SELECT value FROM counters WHERE name = 'owners') > ? FROM owners"
        f" WHERE owner = {_OWNER_OF}",
        (limit, thread),
    ).fetchone()
    return row is not None and bool(row[0])


def own_idle_threads(db: Db, thread: int, count: int) -> list[int]:
    """Returns the other threads of a thread's owner that have no active run, least recently used first."""
    rows = db.execute(
        f"SELECT id FROM threads WHERE owner = {_OWNER_OF} AND id <> ? AND {IDLE} ORDER BY used_at LIMIT ?",
        (thread, thread, count),
    )
    return [other for (other,) in rows]


def next_victim(db: Db, thread: int, measure: Measure, limit: int) -> int | None:
    """Returns the thread to delete next, other than ``thread``; None if all have active runs."""
    row = db.execute(f"SELECT id FROM threads WHERE id <> ? AND {IDLE} ORDER BY used_at LIMIT 1", (thread,)).fetchone()
    if row is None:
        return None
    oldest: int = row[0]
    if is_above_share(db, oldest, measure, limit):
        return oldest
    return _idle_thread_above_share(db, thread, measure, limit) or oldest


def _idle_thread_above_share(db: Db, thread: int, measure: Measure, limit: int) -> int | None:
    """Returns the least recently used thread of the owner who has most, if that is more than its share."""
    db.totals.write(db)
    owners = db.execute(
        f"SELECT id FROM owners WHERE {measure} > ? / (SELECT value FROM counters WHERE name = 'owners')"
        f" ORDER BY {measure} DESC",
        (limit,),
    )
    for (owner,) in owners:  # usually the first one has such a thread
        row = db.execute(
            "SELECT id FROM threads WHERE owner = (SELECT owner FROM owners WHERE id = ?) AND id <> ?"
            f" AND {IDLE} ORDER BY used_at LIMIT 1",
            (owner, thread),
        ).fetchone()
        if row is not None:
            found: int = row[0]
            return found
    return None
