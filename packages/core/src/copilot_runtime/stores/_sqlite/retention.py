"""What a SQLite store keeps, and what goes first."""

from __future__ import annotations

import dataclasses
import sqlite3

BATCH_SIZE = 200
"""How many threads go in one transaction at most: others wait for its end."""

Db = sqlite3.Connection


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Bounds; 0 means none. Raises ValueError for a negative one."""

    max_threads: int = 0
    max_runs_per_thread: int = 0
    max_age_seconds: float = 0
    max_bytes: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)!r}: give a number from 0 (no bound) on")

    @property
    def tracks_usage(self) -> bool:
        """Whether it matters when a thread was last used."""
        return bool(self.max_threads or self.max_age_seconds or self.max_bytes)

    def sweep(self, db: Db, now: float) -> bool:
        """Drops what has grown too old: frames as they were sent, and threads. False where more threads are."""
        db.execute(
            "DELETE FROM frames WHERE (thread, ordinal) IN"
            " (SELECT thread, ordinal FROM runs WHERE raw_until > 0 AND raw_until <= ?)",
            (now,),
        )
        db.execute("UPDATE runs SET raw_until = 0 WHERE raw_until > 0 AND raw_until <= ?", (now,))
        if not self.max_age_seconds:
            return True
        old = _least_recently_used(db, "used_at <= ?", now - self.max_age_seconds)
        for thread in old:
            delete_thread(db, thread)
        return len(old) < BATCH_SIZE

    def evict(self, db: Db, thread: int) -> None:
        """Drops what is too much, on behalf of a thread that has grown.

        Of the thread itself its oldest runs go, if there are too many; then other threads, those
        first that are used least; then the frames of its runs as they were sent, and its oldest
        runs. Its last run stays: readers in other processes may not have seen its end.
        """
        for ordinal in _runs(db, thread, self.max_runs_per_thread) if self.max_runs_per_thread else ():
            _drop_run(db, thread, ordinal)
        if not self._is_full(db):
            return
        for other in _least_recently_used(db, "id <> ?", thread):
            delete_thread(db, other)
            if not self._is_full(db):
                return
        older = _runs(db, thread, 1)
        for drop in (_drop_raw, _drop_run):
            for ordinal in older:
                if not self._has_too_much(db):
                    return
                drop(db, thread, ordinal)

    def _is_full(self, db: Db) -> bool:
        return 0 < self.max_threads < _count(db, "threads") or self._has_too_much(db)

    def _has_too_much(self, db: Db) -> bool:
        return 0 < self.max_bytes < _count(db, "bytes")


def delete_thread(db: Db, thread: int) -> None:
    """Drops a thread and everything about it."""
    # Ids of a thread's former life must not fit its next one.
    db.execute(
        "UPDATE counters SET value = max(value, (SELECT ordinal FROM threads WHERE id = ?)) WHERE name = 'ordinal'",
        (thread,),
    )
    db.execute("DELETE FROM threads WHERE id = ?", (thread,))


def _count(db: Db, name: str) -> int:
    """How many threads or bytes there are; the schema's triggers count."""
    count: int = db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()[0]
    return count


def _least_recently_used(db: Db, where: str, value: float) -> list[int]:
    """Threads on which nothing goes on, those first that are used least, and not too many."""
    rows = db.execute(
        f"SELECT id FROM threads WHERE {where} AND NOT EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id)"
        " ORDER BY used_at LIMIT ?",
        (value, BATCH_SIZE),
    )
    return [thread for (thread,) in rows]


def _runs(db: Db, thread: int, but: int) -> list[int]:
    """The ordinals of a thread's runs, oldest first, without the last ``but`` ones."""
    rows = db.execute(
        "SELECT ordinal FROM runs WHERE thread = ? ORDER BY ordinal DESC LIMIT -1 OFFSET ?", (thread, but)
    ).fetchall()
    return [ordinal for (ordinal,) in reversed(rows)]


def _drop_raw(db: Db, thread: int, ordinal: int) -> None:
    db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("UPDATE runs SET raw_until = 0 WHERE thread = ? AND ordinal = ?", (thread, ordinal))


def _drop_run(db: Db, thread: int, ordinal: int) -> None:
    db.execute("DELETE FROM runs WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("UPDATE threads SET runs = runs - 1 WHERE id = ?", (thread,))
