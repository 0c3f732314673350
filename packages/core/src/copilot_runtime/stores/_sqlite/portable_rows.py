"""Threads of a SQLite store as they are copied to other stores, and the reverse."""

from __future__ import annotations

import time
from typing import cast

from .. import protocol as p
from .._sql.encoding import checksum, format_json, format_messages, integer, seconds, text
from .._sql.message_ids import ids_by_run, ids_of_runs
from ..portable import KeyPage, PortableRun, PortableThread, ThreadState
from . import rows
from .message_ids import insert_ids, rows_of_ids, select_ids
from .sizes import run_bytes, text_bytes, thread_bytes

Db = rows.Db


def select_keys(db: Db, cursor: str | None, limit: int) -> KeyPage:
    """Returns a page of the keys of all threads."""
    found = db.execute(
        # As bytes, since a text that is damaged would fail the whole query.
        "SELECT id, CAST(owner AS BLOB), CAST(thread_id AS BLOB) FROM threads WHERE id > ? ORDER BY id LIMIT ?",
        (0 if cursor is None else int(cursor), limit),
    ).fetchall()
    keys: list[p.ThreadKey] = []
    for _, owner, thread_id in found:
        try:
            keys.append(p.ThreadKey(owner.decode(), thread_id.decode()))
        except UnicodeDecodeError:
            pass  # counted
    next_cursor = str(found[-1][0]) if len(found) == limit else None
    return KeyPage(keys, next_cursor, unreadable=len(found) - len(keys))


def select_thread(db: Db, key: p.ThreadKey) -> PortableThread | None:
    """Returns a thread, or None if there is no such thread."""
    row = db.execute(
        f"SELECT id, ordinal, used_at, {rows.THREAD_INFO_COLUMNS} FROM threads WHERE owner = ? AND thread_id = ?",
        tuple(key),
    ).fetchone()
    if row is None:
        return None
    row_id, last_ordinal, used_at, *columns = row
    info = rows.thread_info(columns)
    in_events, in_inputs = map(ids_by_run, select_ids(db, row_id))
    runs = [
        PortableRun(
            ordinal=integer(ordinal),
            run_id=text(run_id),
            agent_id=text(agent_id),
            records=rows.select_records(db, row_id, ordinal).frames,
            event_messages=in_events.get(ordinal, ()),
            input_messages=in_inputs.get(ordinal, ()),
            has_run_error=bool(has_run_error),
            recorded_by=text(recorded_by),
            started_at=seconds(started_at),
            ended_at=seconds(ended_at),
            was_stopped=bool(was_stopped),
        )
        for ordinal, run_id, agent_id, has_run_error, recorded_by, started_at, ended_at, was_stopped in db.execute(
            "SELECT ordinal, run_id, agent_id, has_run_error, recorded_by, started_at, ended_at, was_stopped FROM runs"
            " WHERE thread = ? ORDER BY ordinal",
            (row_id,),
        ).fetchall()
    ]
    return PortableThread(
        key=key,
        last_ordinal=integer(last_ordinal),
        agent_id=info.agent_id,
        name=info.name,
        archived=info.archived,
        created_at=info.created_at,
        updated_at=info.updated_at,
        used_at=seconds(used_at) or time.time(),
        messages=rows.select_messages(db, row_id),
        runs=runs,
        active=rows.select_active_run(db, key, time.time()),
    )


class ThreadRows:
    """A thread as the rows that an import inserts. Made before the transaction, during which no others can write."""

    def __init__(self, thread: PortableThread) -> None:
        self._thread = thread
        self._messages = format_messages(thread.messages)
        self._message_ids = format_json(list(self._messages))
        self._runs: list[tuple[object, ...]] = []
        texts = text_bytes(thread.name or "") + text_bytes(self._message_ids) - len("[]")
        self._ids, self._recent_ids = rows_of_ids(
            ids_of_runs((run.ordinal, run.event_messages, run.input_messages) for run in thread.runs)
        )
        texts += text_bytes(self._recent_ids)
        self._bytes = thread_bytes(*map(text_bytes, thread.key)) + texts + sum(row.bytes for row in self._ids)
        for run in thread.runs:
            records = b"".join(run.records)
            size = run_bytes(len(records) + len("[]") + text_bytes(run.run_id))
            self._bytes += size
            self._runs.append(
                (
                    run.ordinal,
                    run.run_id,
                    run.agent_id,
                    records,
                    checksum(records, run.ordinal),
                    run.has_run_error,
                    run.recorded_by,
                    size,
                    run.started_at,
                    run.ended_at,
                    run.was_stopped,
                )
            )
        self.size = self._bytes + rows.messages_bytes(self._messages)
        """About how many bytes of the file they take."""

    def insert(self, db: Db, now: float) -> None:
        """Inserts the rows. There must be no such thread."""
        thread = self._thread
        row_id = db.execute(
            "INSERT INTO threads (owner, thread_id, agent_id, name, archived, created_at, updated_at, used_at, ordinal,"
            " runs, message_ids, bytes, ids_until, recent_ids) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                *thread.key,
                thread.agent_id,
                thread.name,
                thread.archived,
                thread.created_at,
                thread.updated_at,
                min(thread.used_at, now) or now,
                thread.last_ordinal,
                len(thread.runs),
                self._message_ids,
                self.size,
                self._ids[-1].last if self._ids else 0,
                self._recent_ids,
            ),
        ).lastrowid
        db.totals.add(thread.key.owner, self.size, threads=1)
        db.executemany(
            # Without raw frames, as of a run whose raw frames have expired.
            "INSERT INTO runs (thread, ordinal, run_id, agent_id, records, checksum, has_run_error, recorded_by, bytes,"
            " started_at, ended_at, was_stopped, frames_id, frames, frames_bytes, raw_until, duplicates)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?, 0, 0, 0, 0, '[]')",
            [(row_id, *run) for run in self._runs],
        )
        insert_ids(db, cast(int, row_id), self._ids)
        rows.insert_messages(db, rows.message_rows(cast(int, row_id), self._messages))


def select_state(db: Db, key: p.ThreadKey) -> tuple[int, int, ThreadState] | None:
    """Returns the row id of a thread, its bytes, and what an import compares; None if there is no such thread."""
    row = db.execute(
        "SELECT id, bytes, ordinal, updated_at, name, archived, EXISTS (SELECT 1 FROM live WHERE thread = id)"
        " FROM threads WHERE owner = ? AND thread_id = ?",
        tuple(key),
    ).fetchone()
    if row is None:
        return None
    row_id, size, last_ordinal, updated_at, name, archived, is_active = row
    last_run = db.execute(
        "SELECT ordinal, run_id FROM runs WHERE thread = ? ORDER BY ordinal DESC LIMIT 1", (row_id,)
    ).fetchone()
    state = ThreadState(integer(last_ordinal), last_run, seconds(updated_at), name, bool(archived), bool(is_active))
    return row_id, integer(size), state
