"""The beginnings of runs, as changes of the rows of a SQLite store."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple, cast

from .. import protocol as p
from .._ordinals import first_ordinal
from .._sql.encoding import integer
from . import rows
from .message_ids import ID_COLUMNS, IdColumns, select_known
from .room import StoreConnection
from .sizes import text_bytes, thread_bytes

Db = StoreConnection

_NO_IDS: frozenset[str] = frozenset()


def begin_run(db: Db, run: p.NewRun, now: float, lease_seconds: float) -> p.RunStarted | p.ThreadBusy:
    """Begins a run unless its thread has an active one."""
    begun = _add_thread(db, run.thread) or _take_thread(db, run.thread)
    if begun is None:
        active = rows.select_active_run(db, run.thread, now)
        if active is None:
            raise ValueError("a thread that has an active run and has none")
        return p.ThreadBusy(active)
    thread, ordinal, *message_ids = begun
    token = db.execute(
        "INSERT INTO live (thread, ordinal, run_id, agent_id, started_at, expires_at, lease_seconds, size,"
        " frames_id) VALUES (?,?,?,?,?,?,?,?, (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'live'))",
        (thread, integer(ordinal), run.run_id, run.agent_id, now, now + lease_seconds, lease_seconds, run.size),
    ).lastrowid
    return p.RunStarted(p.Lease(p.RunKey(run.thread, ordinal), run.run_id, cast(int, token)), *message_ids)


class _Begun(NamedTuple):
    """A thread on which a run begins, the ordinal of the run, and the ids of the messages of earlier runs."""

    thread: int
    ordinal: int
    event_messages: Set[str] = _NO_IDS
    input_messages: Set[str] = _NO_IDS


def _add_thread(db: Db, key: p.ThreadKey) -> _Begun | None:
    """Adds a thread, and returns None if it exists already."""
    owner, thread_id = key
    ordinal, size = first_ordinal(), thread_bytes(text_bytes(owner), text_bytes(thread_id))
    added = db.execute(
        "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes) VALUES (?,?,0,?,?) ON CONFLICT DO NOTHING",
        (owner, thread_id, ordinal, size),
    )
    if not added.rowcount:
        return None
    db.totals.add(owner, size, threads=1)
    db.room.take(size=size, threads=1)
    return _Begun(cast(int, added.lastrowid), ordinal)


def _take_thread(db: Db, key: p.ThreadKey) -> _Begun | None:
    """Takes the next ordinal of a thread, and returns None if it has an active run."""
    row = db.execute(
        "UPDATE threads SET ordinal = ordinal + 1 WHERE owner = ? AND thread_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM live WHERE thread = threads.id)"
        f" RETURNING id, ordinal, runs, {ID_COLUMNS}",
        tuple(key),
    ).fetchone()
    if row is None:
        return None
    thread, ordinal, runs, *ids = row
    return _Begun(thread, ordinal, *(select_known(db, thread, ordinal, IdColumns._make(ids)) if runs else ()))
