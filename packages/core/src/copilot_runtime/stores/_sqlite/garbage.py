"""Deletes threads and frames: at once for whoever reads them, and from the file in small pieces.

A long transaction would keep all other requests waiting, and SQLite gives up on those that wait for too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .room import StoreConnection
from .sizes import thread_bytes
from .totals import THREAD_BYTES

PIECE_ROWS = 256
PIECE_BYTES = 1024 * 1024
"""The most rows, and about the most bytes, that one transaction deletes, unless one row alone is larger."""

Db = StoreConnection


def delete_threads(db: Db, threads: Iterable[int]) -> None:
    """Deletes threads with everything that belongs to them. The rest of their rows is left to `collect`."""
    for thread in threads:
        db.room.has_garbage = True
        db.execute("INSERT INTO garbage (frames_id) SELECT frames_id FROM live WHERE thread = ?", (thread,))
        db.execute("DELETE FROM live WHERE thread = ?", (thread,))
        deleted = db.execute(
            f"DELETE FROM threads WHERE id = ? RETURNING CAST(owner AS BLOB), {THREAD_BYTES}", (thread,)
        ).fetchall()
        for owner, size in deleted:
            db.totals.add(owner, -size, threads=-1)
        db.execute("INSERT INTO garbage (thread) VALUES (?)", (thread,))


def clear_active_thread(db: Db, thread: int) -> None:
    """Replaces a thread that has an active run with a new one, on which that run continues."""
    # As bytes, since a text that is damaged cannot be read.
    owner, thread_id, used_at, ordinal = db.execute(
        "SELECT CAST(owner AS BLOB), CAST(thread_id AS BLOB), used_at, ordinal FROM threads WHERE id = ?", (thread,)
    ).fetchone()
    db.execute("UPDATE live SET thread = -thread WHERE thread = ?", (thread,))
    delete_threads(db, (thread,))
    [(row_id, size)] = db.execute(
        "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes) SELECT CAST(? AS TEXT), CAST(? AS TEXT), ?, ?,"
        f" ? + frames_bytes FROM live WHERE thread = ? RETURNING id, {THREAD_BYTES}",
        (owner, thread_id, used_at, ordinal, thread_bytes(len(owner), len(thread_id)), -thread),
    ).fetchall()
    db.totals.add(owner, size, threads=1)
    db.execute("UPDATE live SET thread = ?, counted_bytes = frames_bytes WHERE thread = ?", (row_id, -thread))


def delete_frames(db: Db, frames_id: int) -> None:
    """Deletes the frames of a run of which nothing is kept. Their rows are left to `collect`."""
    db.room.has_garbage = True
    db.execute("INSERT INTO garbage (frames_id) VALUES (?)", (frames_id,))


def delete_run(db: Db, thread: int, ordinal: int) -> None:
    """Deletes the oldest run of a thread. The rest of its frames is left to `collect`."""
    _drop_raw_frames(db, thread, ordinal)
    db.execute("UPDATE threads SET runs = runs - 1, first_run = ? WHERE id = ?", (ordinal + 1, thread))
    deleted = db.execute(
        "DELETE FROM runs WHERE thread = ? AND ordinal = ?"
        " RETURNING CAST(bytes AS INTEGER) + CAST(frames_bytes AS INTEGER)",
        (thread, ordinal),
    ).fetchall()
    db.totals.add_to_thread(db, thread, -sum([size for (size,) in deleted]))


def delete_raw_frames(db: Db, thread: int, ordinal: int) -> None:
    """Deletes the raw frames of a run that has ended. Their rows are left to `collect`."""
    _drop_raw_frames(db, thread, ordinal)
    stored = db.execute(
        "SELECT CAST(frames_bytes AS INTEGER) FROM runs WHERE thread = ? AND ordinal = ?", (thread, ordinal)
    ).fetchall()
    db.totals.add_to_thread(db, thread, -sum([size for (size,) in stored]))
    db.execute("UPDATE runs SET raw_until = 0, frames_bytes = 0 WHERE thread = ? AND ordinal = ?", (thread, ordinal))


def _drop_raw_frames(db: Db, thread: int, ordinal: int) -> None:
    db.room.has_garbage = True
    db.execute(
        "INSERT INTO garbage (frames_id) SELECT frames_id FROM runs WHERE thread = ? AND ordinal = ? AND raw_until > 0",
        (thread, ordinal),
    )


def collect(db: Db, max_bytes: int = PIECE_BYTES) -> bool:
    """Deletes some of the rows that are not visible any more. Returns whether any are left.

    Args:
        db: The connection.
        max_bytes: About how many bytes to delete.
    """
    if not db.room.has_garbage:
        return False
    budget = _Budget(max_bytes)
    while not budget.is_spent:
        row = db.execute(
            "SELECT id, CAST(thread AS INTEGER), CAST(frames_id AS INTEGER) FROM garbage ORDER BY id LIMIT 1"
        ).fetchone()
        if row is None:
            db.room.has_garbage = False
            return False
        entry, thread, frames_id = row
        if thread is None:
            is_gone = _collect_frames(db, frames_id, budget)
        else:
            is_gone = (
                _collect_runs(db, thread, budget)
                and _collect_messages(db, thread, budget)
                and _collect_ids(db, thread, budget)
            )
        if is_gone:
            db.execute("DELETE FROM garbage WHERE id = ?", (entry,))
            budget.take([0])
    return db.execute("SELECT 1 FROM garbage LIMIT 1").fetchone() is not None


class _Budget:
    """How much a transaction may still delete."""

    def __init__(self, max_bytes: int) -> None:
        self.rows = PIECE_ROWS
        self.bytes = max_bytes

    @property
    def is_spent(self) -> bool:
        return self.rows <= 0 or self.bytes <= 0

    def take(self, lengths: Sequence[int]) -> int:
        """Returns how many of these rows it covers, and spends that."""
        count = 0
        for length in lengths:
            if self.is_spent:
                break
            self.rows -= 1
            self.bytes -= length
            count += 1
        return count


# Whatever the rows contain, they are deleted: only lengths and numbers are read, and keys stay within SQLite.


def _collect_frames(db: Db, frames_id: int, budget: _Budget) -> bool:
    """Deletes the frames of a run as far as the budget goes. Returns whether none are left."""
    return _collect_rows(db, "frames", "frames_id", frames_id, "first", "length(frames)", budget)


def _collect_runs(db: Db, thread: int, budget: _Budget) -> bool:
    """Deletes the runs of a thread as far as the budget goes. Returns whether none are left."""
    while not budget.is_spent:
        row = db.execute(
            "SELECT CAST(frames_id AS INTEGER), length(records) FROM runs WHERE thread = ? ORDER BY ordinal LIMIT 1",
            (thread,),
        ).fetchone()
        if row is None:
            return True
        frames_id, length = row
        if _collect_frames(db, frames_id, budget):
            db.execute(
                "DELETE FROM runs WHERE thread = ? AND ordinal ="
                " (SELECT ordinal FROM runs WHERE thread = ? ORDER BY ordinal LIMIT 1)",
                (thread, thread),
            )
            budget.take([length or 0])
    return False


def _collect_messages(db: Db, thread: int, budget: _Budget) -> bool:
    """Deletes the messages of a thread as far as the budget goes. Returns whether none are left."""
    return _collect_rows(db, "messages", "thread", thread, "id", "length(message)", budget)


def _collect_ids(db: Db, thread: int, budget: _Budget) -> bool:
    """Deletes the message ids of a thread as far as the budget goes. Returns whether none are left."""
    return _collect_rows(db, "message_ids", "thread", thread, "last", "length(ids)", budget)


def _collect_rows(db: Db, table: str, owner: str, value: int, key: str, length: str, budget: _Budget) -> bool:
    """Deletes the rows of ``table`` whose ``owner`` is ``value``, in the order of ``key``, as far as the budget goes.

    Returns whether none are left.
    """
    # The lengths are known without reading the content.
    rows = db.execute(
        f"SELECT {length} FROM {table} WHERE {owner} = ? ORDER BY {key} LIMIT ?", (value, budget.rows + 1)
    ).fetchall()
    count = budget.take([length or 0 for (length,) in rows])
    db.execute(
        f"DELETE FROM {table} WHERE {owner} = ? AND {key} <="
        f" (SELECT {key} FROM {table} WHERE {owner} = ? ORDER BY {key} LIMIT 1 OFFSET ?)",
        (value, value, count - 1),
    )
    return count == len(rows)
