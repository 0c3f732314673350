"""The beginning and the end of a run, as changes of the rows of a SQLite store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from typing import NamedTuple, cast

from ..._events import frames_of
from .. import protocol as p
from .._ordinals import first_ordinal
from .._sql.encoding import checksum, format_json, format_list, integer
from . import rows
from .garbage import collect, delete_frames, delete_threads
from .message_ids import ID_COLUMNS, IdColumns, format_run, select_known, store_ids
from .retention import Retention
from .room import StoreConnection
from .sizes import run_bytes, text_bytes, thread_bytes
from .totals import THREAD_BYTES, thread_bytes_of

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
    ordinal, size = first_ordinal(), thread_bytes(*key)
    added = db.execute(
        "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes) VALUES (?,?,0,?,?) ON CONFLICT DO NOTHING",
        (*key, ordinal, size),
    )
    if not added.rowcount:
        return None
    db.totals.add(key.owner, size, threads=1)
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


_OF_THREAD = ", ".join(
    f"(SELECT {column} FROM threads WHERE id = thread)"
    for column in (rows.RUNS, THREAD_BYTES, "recent_ids", "length(CAST(message_ids AS BLOB))", "messages_run")
)
"""What the end of a run needs of its thread."""


class Growth(NamedTuple):
    """A thread of which a run has ended, for `Retention.evict`."""

    thread: int
    runs: int
    added: int


class PreparedEnd:
    """The end of a run, serialised before the transaction, during which no other process can write."""

    def __init__(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        self._lease, self._frames, self._completion = lease, frames, completion
        self._records = b"".join(frames_of(completion.records))
        self._duplicates = format_list(completion.duplicates)
        self._messages = {message["id"]: format_json(message) for message in completion.messages}
        self._message_ids = format_json(list(self._messages)) if self._has_messages() else None
        self._ids = format_run(completion.event_messages, completion.input_messages, lease.run.ordinal)
        self._record_bytes = run_bytes(self._records, self._duplicates, lease.run_id)
        self._last = rows.Piece.from_frames(frames)
        self.size = len(self._last.data) + len(self._records) + sum(map(len, self._messages.values()))
        """About how many bytes are written."""

    def _has_messages(self) -> bool:
        """Whether the run has any messages. One without leaves those that its thread has."""
        if self._messages and b"MESSAGES_SNAPSHOT" not in self._records:  # which may be empty
            return True
        completion = self._completion
        return bool(p.messages_after_run(completion.messages, completion.records, completion.last_agent_event))

    def write(self, db: Db, retention: Retention, now: float) -> Growth:
        """Ends the run. Raises LeaseLost if the lease does not hold any more."""
        row = db.execute(
            "DELETE FROM live WHERE token = ? RETURNING thread, agent_id, frames_id, frames, frames_bytes,"
            f" counted_bytes, started_at, {_OF_THREAD}",
            (self._lease.token,),
        ).fetchone()
        if row is None:
            raise p.LeaseLost
        thread, agent_id, frames_id, count, stored_bytes, counted_bytes, started_at, *of_thread = row
        runs, size, recent_ids, list_bytes, messages_run = of_thread
        completion = self._completion
        if not completion.persist:
            delete_frames(db, frames_id)
            db.totals.add_to_thread(db, thread, -counted_bytes)
            db.execute("UPDATE threads SET used_at = ? WHERE id = ?", (now, thread))
            if not runs and not completion.keep_ordinal:
                delete_threads(db, (thread,))
            collect(db)
            return Growth(thread, runs, 0)
        retention.make_room(db, self.size)
        missing = p.missing_frames(self._frames, completion.frame_count, count)
        appended = self._last if missing is self._frames else rows.Piece.from_frames(missing)
        count += appended.frames
        rows.insert_frames(db, frames_id, count, appended)
        ordinal = self._lease.run.ordinal
        db.execute(
            "INSERT INTO runs (thread, ordinal, run_id, agent_id, frames_id, frames, frames_bytes, raw_until,"
            " records, checksum, duplicates, has_run_error, recorded_by, bytes, started_at, ended_at,"
            " was_stopped) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                thread,
                ordinal,
                self._lease.run_id,
                agent_id,
                frames_id,
                count,
                stored_bytes + appended.stored_bytes,
                now + p.RAW_RETENTION_SECONDS,
                rows.blob_value(self._records),
                checksum(self._records, ordinal),
                self._duplicates,
                int(completion.has_run_error),
                completion.recorded_by,
                self._record_bytes,
                started_at,
                now,
                int(completion.was_stopped),
            ),
        )
        added = stored_bytes - counted_bytes + appended.stored_bytes + self._record_bytes
        new_ids = itertools.chain(completion.event_messages, completion.input_messages)
        recent_ids, ids_until, added_ids = store_ids(db, thread, ordinal, recent_ids, self._ids, new_ids)
        added += added_ids
        message_ids = self._message_ids
        # Columns of the thread. None leaves what it has, as does a run without any messages.
        new_messages: tuple[str | int | None, ...] = (None, None, None)
        if message_ids is not None:
            added += rows.store_messages(db, thread, self._messages, replaces=runs > 0)
            added += text_bytes(message_ids) - list_bytes
            new_messages = message_ids, ordinal, completion.last_agent_event
        elif messages_run:
            added += rows.complete_messages(db, thread)
        new_size = thread_bytes_of(size + added)
        # No row is returned for each run: the thread would wait for an event loop that is busy.
        updated = db.execute(
            "UPDATE threads SET runs = runs + 1, agent_id = ?, updated_at = ?, used_at = ?,"
            " recent_ids = ?, ids_until = coalesce(?, ids_until),"
            " created_at = CASE created_at WHEN 0 THEN ? ELSE created_at END,"
            " message_ids = coalesce(?, message_ids), messages_run = coalesce(?, messages_run),"
            " last_agent_event = coalesce(?, last_agent_event), bytes = ? WHERE id = ?",
            (agent_id, now, now, recent_ids, ids_until, now, *new_messages, new_size, thread),
        ).rowcount
        if not updated:
            raise ValueError("an active run without a thread")
        db.totals.add(self._lease.run.thread.owner, new_size - size)
        return Growth(thread, runs + 1, added)
