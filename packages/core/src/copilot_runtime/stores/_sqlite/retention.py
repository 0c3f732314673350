"""Retention: what a SQLite store deletes, and in which order. Threads are identified by their row ids."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

from .._limits import StoreLimits
from ..portable import check_room
from ..protocol import RAW_RETENTION_SECONDS
from .garbage import PIECE_BYTES, collect, delete_raw_frames, delete_run, delete_threads
from .message_ids import delete_old_ids
from .room import StoreConnection
from .shares import IDLE, Measure, is_above_share, next_victim, own_idle_threads
from .sizes import PAGE_BYTES

BATCH_SIZE = 200
"""The most threads, or runs, to delete in one transaction, so that other writers do not wait long for its end."""

FEW_THREADS = 4
"""How many threads that may have to be deleted are looked up at once."""

MIN_FILE_BYTES = 1024 * 1024
"""What the file may have in any case: its tables and indexes take some pages even if they are empty."""

MAX_FILE_RATIO = 1.25
"""How much larger than ``max_bytes`` the used part of the file may be, whatever the sizes of the threads add up to."""

Db = StoreConnection


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retention(StoreLimits):
    """The limits of a SQLite store, and how they are kept."""

    store: ClassVar[str] = "SqliteStore"

    def sweep(self, db: Db, now: float) -> bool:
        """Deletes expired raw frames and threads. Returns whether more of them are left."""
        # An expiry that is further away than any can be: the clock was set back.
        expired_runs = [
            run
            for condition, limit in (("raw_until <= ?", now), ("raw_until > ?", now + _LATEST_EXPIRY))
            for run in db.execute(
                # The last condition is that of the index, without which all runs would be read.
                f"SELECT thread, ordinal FROM runs WHERE {condition} AND raw_until > 0 ORDER BY raw_until LIMIT ?",
                (limit, BATCH_SIZE),
            ).fetchall()
        ]
        for thread, ordinal in expired_runs:
            delete_raw_frames(db, thread, ordinal)
        # The same is true of uses: threads that were used since then would be deleted before the others.
        db.execute(
            "UPDATE threads SET used_at = ?"
            " WHERE id IN (SELECT id FROM threads WHERE used_at > ? AND used_at <> 0 LIMIT ?)",
            (now, now, BATCH_SIZE),
        )
        expired_threads: list[int] = []
        if self.max_age_seconds:
            expired_threads = _used_until(db, now - self.max_age_seconds)
            delete_threads(db, expired_threads)
        return max(len(expired_runs), len(expired_threads)) >= BATCH_SIZE

    def make_room(self, db: Db, *sizes: int) -> None:
        """Deletes rows that are not visible any more, to make room for writes of these sizes in bytes.

        Twice as many, since what is deleted otherwise could grow with every write, but no more than a piece for each:
        before a large write, others are to be deleted in transactions of their own.
        """
        for size in sizes:
            if not collect(db, min(PIECE_BYTES, PIECE_BYTES // 4 + 2 * size)):
                break

    def must_count(self, db: Db, added: int) -> bool:
        """Returns whether all that active runs have added is to be counted, since the file is larger than it should be.

        What is not counted of each of them is little, but there may be thousands.

        Args:
            db: The connection.
            added: About how many bytes of the file were added.
        """
        has_room = not self.max_bytes or db.room.take(size=added)
        return not has_room and _uses_more_than(db, (self.max_bytes + self._file_limit) / 2)

    def check_room(self, db: Db, threads: int, size: int) -> None:
        """Raises NoRoomError if the limits do not leave room for more threads and bytes."""
        totals = _totals(db)
        check_room("max_threads", self.max_threads, totals["threads"] + threads)
        check_room("max_bytes", self.max_bytes, totals["bytes"] + size)
        if self.max_bytes and _uses_more_than(db, self._file_limit - size):
            check_room("max_bytes", self.max_bytes, math.ceil((_used_bytes(db) + size) / MAX_FILE_RATIO))

    def evict(self, db: Db, thread: int, runs: int, added: int) -> bool:
        """Enforces the limits after ``thread`` has grown. Returns whether that has deleted other threads.

        Deletes, as far as necessary: the oldest runs of the thread beyond the limit for one thread; if its owner has
        more than its share, other threads of the owner, the raw frames of the thread's runs, and its oldest runs;
        threads of others; and again the raw frames and the oldest runs of the thread. Its last run is kept, because
        readers in other processes may not have seen its end.

        Args:
            db: The connection.
            thread: The thread.
            runs: How many runs the thread has.
            added: About how many bytes of the file were added.
        """
        if 0 < self.max_runs_per_thread < runs:
            for ordinal in _ordinals(db, thread, skip_last=self.max_runs_per_thread):
                delete_run(db, thread, ordinal)
        if db.room.take(size=added) or not self._exceeds_any(db):
            return False
        if _is_deleted(db, thread):  # for one that has grown in the same transaction, and is to be kept
            return False
        evicted = 0
        if self._exceeds_threads(db):
            evicted = self._evict_threads(db, thread, "threads", self.max_threads, BATCH_SIZE)
        if self._exceeds_bytes(db):
            # The file may be too large although the sizes of the threads add up to less.
            limit = min(self.max_bytes, _totals(db)["bytes"])
            evicted += self._evict_threads(db, thread, "bytes", limit, BATCH_SIZE - evicted)
            self._trim(db, thread, lambda: self._exceeds_bytes(db))
        return evicted > 0

    def _evict_threads(self, db: Db, thread: int, measure: Measure, limit: int, count: int) -> int:
        """Deletes up to ``count`` threads other than ``thread``, and returns how many."""

        def is_owners_fault() -> bool:
            return is_above_share(db, thread, measure, limit) and self._exceeds(db, measure)

        evicted = 0
        while evicted < count and is_owners_fault():
            # A few at a time, since usually one is enough.
            victims = own_idle_threads(db, thread, min(FEW_THREADS, count - evicted))
            for other in victims:
                delete_threads(db, (other,))
                evicted += 1
                if not is_owners_fault():
                    break
            if not victims:
                break
        if measure == "bytes" and evicted < count:
            self._trim(db, thread, is_owners_fault)
        while evicted < count and self._exceeds(db, measure):
            victim = next_victim(db, thread, measure, limit)
            if victim is None:
                break
            delete_threads(db, (victim,))
            evicted += 1
        return evicted

    def _trim(self, db: Db, thread: int, is_needed: Callable[[], bool]) -> None:
        """Deletes the raw frames of a thread's runs and then its oldest runs, as far as necessary."""
        ordinals = _ordinals(db, thread, skip_last=1)
        for delete in (delete_raw_frames, delete_run):
            for ordinal in ordinals:
                if not is_needed():
                    return
                delete(db, thread, ordinal)
        db.totals.add_to_thread(db, thread, -delete_old_ids(db, thread))

    def _exceeds_any(self, db: Db) -> bool:
        """Whether a limit may be exceeded. Notes how far away they are if none is."""
        room: dict[str, float] = {}
        if self.max_threads or self.max_bytes:
            totals = _totals(db)
            if self.max_threads:
                room["threads"] = self.max_threads - totals["threads"]
            if self.max_bytes:
                room["size"] = self.max_bytes - totals["bytes"]
                left_in_file = self._file_limit - _file_bytes(db)
                # How much of it is unused need not be read as long as all of it is within the limit.
                if left_in_file < 0:
                    left_in_file = self._file_limit - _used_bytes(db)
                # Half of it, since the sizes are estimates.
                room["size"] = min(room["size"], left_in_file / 2)
        if any(left < 0 for left in room.values()):
            return True
        db.room.found(**room)
        return False

    def _exceeds(self, db: Db, measure: Measure) -> bool:
        return self._exceeds_threads(db) if measure == "threads" else self._exceeds_bytes(db)

    def _exceeds_threads(self, db: Db) -> bool:
        return 0 < self.max_threads < _totals(db)["threads"]

    def _exceeds_bytes(self, db: Db) -> bool:
        if not self.max_bytes:
            return False
        # A total that the file contradicts is damaged: nothing is deleted for it.
        return self.max_bytes < _totals(db)["bytes"] < 2 * _used_bytes(db) or self._exceeds_file(db)

    def _exceeds_file(self, db: Db) -> bool:
        """Whether the file itself is too large, and not because of rows that are about to be deleted."""
        limit = self._file_limit
        return _uses_more_than(db, limit) and not collect(db) and _uses_more_than(db, limit)

    @property
    def _file_limit(self) -> float:
        return max(MIN_FILE_BYTES, MAX_FILE_RATIO * self.max_bytes)


_LATEST_EXPIRY = 2 * RAW_RETENTION_SECONDS


def _uses_more_than(db: Db, limit: float) -> bool:
    """Returns whether the used part of the file has more than ``limit`` bytes."""
    # Without reading how much is unused where all of the file is within the limit.
    return _file_bytes(db) > limit and _used_bytes(db) > limit


def _used_bytes(db: Db) -> int:
    [(free,)] = db.execute("PRAGMA freelist_count")
    return _file_bytes(db) - int(free) * PAGE_BYTES


def _file_bytes(db: Db) -> int:
    [(pages,)] = db.execute("PRAGMA page_count")
    return int(pages) * PAGE_BYTES


def _totals(db: Db) -> dict[Measure, int]:
    """Returns how many threads the file has, and how many bytes."""
    db.totals.write(db)
    threads, size = db.execute(
        "SELECT (SELECT CAST(value AS INTEGER) FROM counters WHERE name = 'threads'),"
        " (SELECT CAST(value AS INTEGER) FROM counters WHERE name = 'bytes')"
    ).fetchone()
    return {"threads": threads, "bytes": size}


def _is_deleted(db: Db, thread: int) -> bool:
    return db.execute("SELECT 1 FROM threads WHERE id = ?", (thread,)).fetchone() is None


def _used_until(db: Db, latest: float) -> list[int]:
    """Returns up to `BATCH_SIZE` threads that have not been used since then, least recently used first."""
    rows = db.execute(
        f"SELECT id FROM threads WHERE used_at <= ? AND {IDLE} ORDER BY used_at LIMIT ?", (latest, BATCH_SIZE)
    )
    return [thread for (thread,) in rows]


def _ordinals(db: Db, thread: int, *, skip_last: int) -> list[int]:
    """Returns the ordinals of a thread's oldest runs, without the ``skip_last`` newest ones."""
    rows = db.execute(
        "SELECT ordinal FROM runs WHERE thread = ? ORDER BY ordinal LIMIT min(?, max(0,"
        " coalesce((SELECT runs FROM threads WHERE id = ?), 0) - ?))",
        (thread, BATCH_SIZE, thread, skip_last),
    ).fetchall()
    return [ordinal for (ordinal,) in rows]
