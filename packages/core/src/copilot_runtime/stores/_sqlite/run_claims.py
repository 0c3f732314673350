"""Active runs that are taken from their processes, as changes of the rows of a SQLite store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any, cast

from .. import protocol as p
from .._sql.encoding import seconds, text
from . import rows
from .message_ids import select_ids
from .room import StoreConnection
from .totals import MAX_THREAD_BYTES

Db = StoreConnection

_COUNTS = ", ".join(
    f"min(max(CAST({column} AS INTEGER), 0), {MAX_THREAD_BYTES})"
    for column in ("frames_id", "frames", "frames_bytes", "counted_bytes")
)
"""Integers even if the row is damaged: the run could not be ended otherwise, and would be claimed again and again."""


def claim_run(db: Db, run: p.RunKey, now: float, lease_seconds: float, *, force: bool) -> p.ClaimedRun | None:
    """Gives an active run a new lease, and returns None if there is no such run, or its lease has not expired.

    With ``force``, it does so whether or not the lease has expired, but raises ThreadUnreadable where rows are damaged.
    """
    row = db.execute(
        "SELECT live.thread, live.run_id, live.agent_id, started_at, expires_at, lease_seconds"
        " FROM threads JOIN live ON live.thread = threads.id"
        " WHERE owner = ? AND thread_id = ? AND live.ordinal = ?",
        (*run.thread, run.ordinal),
    ).fetchone()
    if row is None:
        return None
    thread, run_id, agent_id, started_at, expires_at, old_lease_seconds = row
    if not force and not rows.has_expired(expires_at, old_lease_seconds, now):
        return None
    token = db.execute(
        "INSERT OR REPLACE INTO live (thread, ordinal, run_id, agent_id, started_at, expires_at, lease_seconds,"
        " stopping, frames_id, frames, frames_bytes, counted_bytes, duplicates, size)"
        f" SELECT thread, ordinal, run_id, agent_id, started_at, ?, ?, stopping, {_COUNTS}, duplicates, size"
        " FROM live WHERE thread = ?",
        (now + lease_seconds, lease_seconds, thread),
    ).lastrowid
    lease = p.Lease(run, text(run_id), cast(int, token))
    read = partial(rows.checked(partial(_select_stored, thread=thread)), db)
    claimed = p.ClaimedRun.from_stored(lease, text(agent_id), seconds(started_at), read)
    if claimed.damage is not None:
        if force:
            raise claimed.damage
        for column in ("recent_ids", "messages_run"):
            _make_readable(db, thread, column)
    return claimed


def _make_readable(db: Db, thread: int, column: str) -> None:
    """Makes bytes of a text that is none: no less damaged, but the end of the run reads it with the thread's row."""
    try:
        rows.checked(lambda db: db.execute(f"SELECT {column} FROM threads WHERE id = ?", (thread,)).fetchall())(db)
    except p.ThreadUnreadable:
        db.execute(f"UPDATE threads SET {column} = CAST({column} AS BLOB) WHERE id = ?", (thread,))


def _select_stored(db: Db, *, thread: int) -> tuple[Sequence[bytes], Sequence[Mapping[str, Any]], Set[str]]:
    """Returns the frames of the active run of a thread, the messages of the thread, and their ids."""
    [(frames_id, count)] = db.execute("SELECT frames_id, frames FROM live WHERE thread = ?", (thread,)).fetchall()
    frames = rows.select_frames(db, frames_id, 0)
    if len(frames) != count:
        raise ValueError("some frames of the run are missing")
    in_events, _ = select_ids(db, thread)
    return frames, rows.select_messages(db, thread), in_events.keys()
