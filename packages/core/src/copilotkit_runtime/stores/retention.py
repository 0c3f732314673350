"""What a SQLite store keeps, and what goes first."""

from __future__ import annotations

import dataclasses
import sqlite3


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
    def counts_use(self) -> bool:
        """Whether it matters when a thread was last used."""
        return bool(self.max_threads or self.max_age_seconds or self.max_bytes)

    def too_old(self, db: sqlite3.Connection, now: float) -> list[int]:
        """Threads that nobody has used for too long."""
        if not self.max_age_seconds:
            return []
        return _ids(db, "used_at <= ?", (now - self.max_age_seconds,), -1)

    def drop_runs(self, db: sqlite3.Connection, thread: int) -> None:
        """Drops a thread's oldest runs beyond their number."""
        if not self.max_runs_per_thread:
            return
        old = db.execute(
            "SELECT ordinal FROM runs WHERE thread = ? ORDER BY ordinal DESC LIMIT -1 OFFSET ?",
            (thread, self.max_runs_per_thread),
        ).fetchall()
        for (ordinal,) in old:
            _drop_run(db, thread, ordinal)

    def too_many(self, db: sqlite3.Connection, current: int) -> list[int]:
        """The least recently used threads beyond the number and the bytes that there may be, never ``current``."""
        gone: list[int] = []
        if self.max_threads:
            count = db.execute("SELECT count(*) FROM threads").fetchone()[0]
            if count > self.max_threads:
                gone += _ids(db, "id <> ?", (current,), count - self.max_threads)
        if self.max_bytes:
            sizes = dict(db.execute(_SIZES).fetchall())
            total = sum(size for thread, size in sizes.items() if thread not in gone)
            for thread in _ids(db, "id <> ?", (current,), -1):
                if total <= self.max_bytes:
                    break
                if thread not in gone:
                    gone.append(thread)
                    total -= sizes.get(thread, 0)
        return gone

    def shrink(self, db: sqlite3.Connection, thread: int) -> None:
        """Drops a thread's older runs, first as they were sent and then oldest first, while there is too much.

        Its last run stays as it was sent: readers in other processes may not have seen its end.
        """
        if not self.max_bytes:
            return
        total = sum(size for _, size in db.execute(_SIZES))
        if total <= self.max_bytes:
            return
        older = db.execute(
            "SELECT ordinal, length(records), coalesce((SELECT sum(length(frames.frames)) FROM frames"
            " WHERE frames.thread = runs.thread AND frames.ordinal = runs.ordinal), 0) FROM runs"
            " WHERE thread = ?1 AND ordinal < (SELECT max(ordinal) FROM runs WHERE thread = ?1) ORDER BY ordinal",
            (thread,),
        ).fetchall()
        for ordinal, _, raw in older:
            db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, ordinal))
            db.execute("UPDATE runs SET raw_until = 0 WHERE thread = ? AND ordinal = ?", (thread, ordinal))
            total -= raw
        for ordinal, size, _ in older:
            if total <= self.max_bytes:
                break
            _drop_run(db, thread, ordinal)
            total -= size


def _drop_run(db: sqlite3.Connection, thread: int, ordinal: int) -> None:
    db.execute("DELETE FROM runs WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    db.execute("UPDATE threads SET runs = runs - 1 WHERE id = ?", (thread,))


def _ids(db: sqlite3.Connection, where: str, values: tuple[object, ...], limit: int) -> list[int]:
    rows = db.execute(
        f"SELECT id FROM threads WHERE {where} AND NOT EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id)"
        " ORDER BY used_at LIMIT ?",
        (*values, limit),
    )
    return [thread for (thread,) in rows]


_SIZES = """
SELECT id,
    coalesce((SELECT sum(length(records)) FROM runs WHERE runs.thread = threads.id), 0)
    + coalesce((SELECT sum(length(frames)) FROM frames WHERE frames.thread = threads.id), 0)
    + coalesce((SELECT sum(length(message)) FROM messages WHERE messages.thread = threads.id), 0)
FROM threads
"""
