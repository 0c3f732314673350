"""Retention: what a SQLite store deletes, and in which order. Threads are identified by their row ids."""

from __future__ import annotations

import dataclasses
import sqlite3

from ..._validation import check_number

BATCH_SIZE = 200
"""The most threads to delete in one transaction, so that other writers do not wait long for its end."""

Db = sqlite3.Connection


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The limits of a store; 0 means no limit. Raises ValueError for a negative one."""

    max_threads: int = 0
    max_runs_per_thread: int = 0
    max_age_seconds: float = 0
    max_bytes: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            is_integer = field.name != "max_age_seconds"
            check_number(f"SqliteStore: {field.name}", getattr(self, field.name), integer=is_integer)

    @property
    def tracks_usage(self) -> bool:
        """Whether any limit depends on when a thread was last used."""
        return bool(self.max_threads or self.max_age_seconds or self.max_bytes)

    def sweep(self, db: Db, now: float) -> bool:
        """Deletes expired raw frames and threads. Returns False if more expired threads are left."""
        db.execute(
            "DELETE FROM frames WHERE (thread, ordinal) IN"
            " (SELECT thread, ordinal FROM runs WHERE raw_until > 0 AND raw_until <= ?)",
            (now,),
        )
        db.execute("UPDATE runs SET raw_until = 0 WHERE raw_until > 0 AND raw_until <= ?", (now,))
        if not self.max_age_seconds:
            return True
        expired = _least_recently_used(db, "used_at <= ?", now - self.max_age_seconds)
        for thread in expired:
            delete_thread(db, thread)
        return len(expired) < BATCH_SIZE

    def evict(self, db: Db, thread: int) -> None:
        """Enforces the limits after ``thread`` has grown.

        Deletes, as far as necessary: the oldest runs of the thread beyond the limit for one thread; other threads,
        least recently used first; the raw frames of the thread's runs; its oldest runs. Its last run is kept,
        because readers in other processes may not have seen its end.
        """
        if self.max_runs_per_thread:
            for ordinal in _ordinals(db, thread, skip_last=self.max_runs_per_thread):
                _delete_run(db, thread, ordinal)
        if not self._exceeds_limits(db):
            return
        for other in _least_recently_used(db, "id <> ?", thread):
            delete_thread(db, other)
            if not self._exceeds_limits(db):
                return
        ordinals = _ordinals(db, thread, skip_last=1)
        for delete in (_delete_raw_frames, _delete_run):
            for ordinal in ordinals:
                if not self._exceeds_bytes(db):
                    return
                delete(db, thread, ordinal)

    def _exceeds_limits(self, db: Db) -> bool:
        return 0 < self.max_threads < _total(db, "threads") or self._exceeds_bytes(db)

    def _exceeds_bytes(self, db: Db) -> bool:
        return 0 < self.max_bytes < _total(db, "bytes")


def delete_thread(db: Db, thread: int) -> None:
    """Deletes a thread with everything that belongs to it."""
    # If the thread is created again, its event ids must differ from those of before.
    db.execute(
        "UPDATE counters SET value = max(value, (SELECT ordinal FROM threads WHERE id = ?)) WHERE name = 'ordinal'",
        (thread,),
    )
    db.execute("DELETE FROM threads WHERE id = ?", (thread,))


def _total(db: Db, name: str) -> int:
    """Returns a total, which the triggers of the schema keep: of "threads" or "bytes"."""
    value: int = db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()[0]
    return value


def _least_recently_used(db: Db, where: str, value: float) -> list[int]:
    """Returns up to `BATCH_SIZE` threads without an active run, least recently used first."""
    rows = db.execute(
        f"SELECT id FROM threads WHERE {where} AND NOT EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id)"
        " ORDER BY used_at LIMIT ?",
        (value, BATCH_SIZE),
    )
    return [thread for (thread,) in rows]


def _ordinals(db: Db, thread: int, *, skip_last: int) -> list[int]:
    """Returns the ordinals of a thread's runs, oldest first, without the ``skip_last`` newest ones."""
    rows = db.execute(
        "SELECT ordinal FROM runs WHERE thread = ? ORDER BY ordinal DESC LIMIT -1 OFFSET ?", (thread, skip_last)
    ).fetchall()
    return [ordinal for (ordinal,) in reversed(rows)]


def _delete_raw_frames(db: Db, thread: int, ordinal: int) -> None:
    db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("UPDATE runs SET raw_until = 0 WHERE thread = ? AND ordinal = ?", (thread, ordinal))


def _delete_run(db: Db, thread: int, ordinal: int) -> None:
    db.execute("DELETE FROM runs WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("UPDATE threads SET runs = runs - 1 WHERE id = ?", (thread,))
