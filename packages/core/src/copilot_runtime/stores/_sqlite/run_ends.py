"""The ends of runs, as changes of the rows of a SQLite store: where possible with one statement for many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..._events import frames_of, join_frames
from .. import protocol as p
from .._sql.encoding import checksum, format_json, format_list, format_messages
from . import rows
from .garbage import collect, delete_frames, delete_threads
from .message_ids import format_run, store_ids
from .retention import Retention
from .room import StoreConnection
from .row_values import SIZES, parts
from .sizes import frames_bytes, run_bytes, text_bytes
from .totals import THREAD_BYTES, thread_bytes_of

Db = StoreConnection


MAX_PORTION_BYTES = 256 * 1024
"""About the most bytes that are written at once, before the limits are looked at, unless one run alone has more."""


class Growth(NamedTuple):
    """A thread of which a run has ended, for `Retention.evict`."""

    thread: int
    runs: int
    added: int


class _Live(NamedTuple):
    """An active run and its thread. The values may be damaged; ``runs`` is None if the thread is missing."""

    token: int
    thread: int
    agent_id: str
    frames_id: int
    frames: int
    frames_bytes: int
    counted_bytes: int
    started_at: float
    runs: int | None
    thread_bytes: int
    recent_ids: str
    list_bytes: int
    messages_run: int


_COLUMNS = ", ".join(
    {
        "agent_id": "live.agent_id",
        "runs": rows.RUNS,
        "thread_bytes": THREAD_BYTES,
        "list_bytes": "length(CAST(message_ids AS BLOB))",
    }.get(field, field)
    for field in _Live._fields
)
_WITH_TOKEN = {size: f"WHERE token IN ({', '.join('?' * size)})" for size in SIZES}
_SELECT_LIVE = {
    size: f"SELECT {_COLUMNS} FROM live LEFT JOIN threads ON threads.id = thread {condition}"
    for size, condition in _WITH_TOKEN.items()
}
_DELETE_LIVE = {size: f"DELETE FROM live {condition}" for size, condition in _WITH_TOKEN.items()}
_NO_TOKEN = (-1,)


def _take_live(db: Db, tokens: Sequence[int]) -> dict[int, _Live]:
    """Removes active runs, and returns them by their tokens."""
    found: list[Any] = []
    for size, values in parts(tokens, _NO_TOKEN):
        found += db.execute(_SELECT_LIVE[size], values).fetchall()
        db.execute(_DELETE_LIVE[size], values)
    return {row[0]: _Live._make(row) for row in found}


class _NewRows:
    """Rows that are inserted together, and changes of rows of ``threads``."""

    def __init__(self) -> None:
        self.frames: list[rows.FramesRow] = []
        self.runs: list[tuple[Any, ...]] = []
        self.messages: list[rows.MessageRow] = []
        self.threads: list[tuple[Any, ...]] = []

    def write(self, db: Db) -> None:
        rows.insert_frames(db, self.frames)
        db.executemany(_INSERT_RUN, self.runs)
        rows.insert_messages(db, self.messages)
        db.executemany(_UPDATE_THREAD, self.threads)


_INSERT_RUN = (
    "INSERT INTO runs (thread, ordinal, run_id, agent_id, frames_id, frames, frames_bytes, raw_until, records,"
    " checksum, duplicates, has_run_error, recorded_by, bytes, started_at, ended_at, was_stopped)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_UPDATE_THREAD = (
    "UPDATE threads SET runs = runs + 1, agent_id = ?, updated_at = ?, used_at = ?,"
    " recent_ids = ?, ids_until = coalesce(?, ids_until),"
    " created_at = CASE created_at WHEN 0 THEN ? ELSE created_at END,"
    " message_ids = coalesce(?, message_ids), messages_run = coalesce(?, messages_run),"
    " last_agent_event = coalesce(?, last_agent_event), bytes = ? WHERE id = ?"
)


def in_portions(ends: Iterable[PreparedEnd]) -> Iterator[Sequence[PreparedEnd]]:
    """Yields ends of runs in portions for `end_runs`, so that what is deleted after one makes room for the next."""
    portion: list[PreparedEnd] = []
    left = MAX_PORTION_BYTES
    for end in ends:
        left -= end.size
        if left < 0 and portion:
            yield portion
            portion, left = [], MAX_PORTION_BYTES - end.size
        portion.append(end)
    yield portion


def end_runs(
    db: Db, ends: Sequence[PreparedEnd], retention: Retention, now: float
) -> tuple[list[p.LeaseLost | None], list[Growth]]:
    """Ends runs.

    Returns, for each, the error if its lease does not hold any more, and what has grown for those whose does.
    """
    live = _take_live(db, [end.lease.token for end in ends])
    retention.make_room(db, *[end.size for end in ends])
    results: list[p.LeaseLost | None] = []
    growths: list[Growth] = []
    new = _NewRows()
    for end in ends:
        run = live.pop(end.lease.token, None)
        if run is None:
            results.append(p.LeaseLost())
            continue
        results.append(None)
        growths.append(end.add_rows(db, run, new, now))
    new.write(db)
    return results, growths


class PreparedEnd:
    """The end of a run, serialised before the transaction, during which no other process can write."""

    def __init__(self, end: p.RunEnd) -> None:
        self.lease = end.lease
        self._frames = end.frames
        self._completion = completion = end.completion
        self._data = join_frames(end.frames)
        self._records = b"".join(frames_of(completion.records))
        self._duplicates = format_list(completion.duplicates)
        self._messages = format_messages(completion.messages)
        has_messages = completion.has_messages(in_input=bool(self._messages))
        self._message_ids = format_json(list(self._messages)) if has_messages else None
        self._ids = format_run(completion.event_messages, completion.input_messages, end.lease.run.ordinal)
        self.size = len(self._data) + len(self._records) + sum(map(len, self._messages.values()))
        """About how many bytes are written."""

    def add_rows(self, db: Db, live: _Live, new: _NewRows, now: float) -> Growth:
        """Adds what is to be stored of the run, which is no longer active. Raises LeaseLost."""
        thread, runs, completion = live.thread, live.runs, self._completion
        if not completion.persist:
            delete_frames(db, live.frames_id)
            db.totals.add_to_thread(db, thread, -live.counted_bytes)
            db.execute("UPDATE threads SET used_at = ? WHERE id = ?", (now, thread))
            if not runs and not completion.keep_ordinal:
                delete_threads(db, (thread,))
            collect(db)
            return Growth(thread, runs or 0, 0)
        if runs is None:
            raise ValueError("an active run without a thread")
        missing = p.missing_frames(self._frames, completion.frame_count, live.frames)
        data = self._data if missing is self._frames else join_frames(missing)
        stored_bytes = live.frames_bytes
        if missing:
            new.frames.append(rows.frames_row(live.frames_id, live.frames + 1, data))
            stored_bytes += frames_bytes(len(data))
        ordinal, records = self.lease.run.ordinal, self._records
        record_bytes = run_bytes(len(records) + len(self._duplicates) + text_bytes(self.lease.run_id))
        new.runs.append(
            (
                thread,
                ordinal,
                self.lease.run_id,
                live.agent_id,
                live.frames_id,
                live.frames + len(missing),
                stored_bytes,
                now + p.RAW_RETENTION_SECONDS,
                rows.blob_value(records),
                checksum(records, ordinal),
                self._duplicates,
                int(completion.has_run_error),
                completion.recorded_by,
                record_bytes,
                live.started_at,
                now,
                int(completion.was_stopped),
            )
        )
        new_ids = itertools.chain(completion.event_messages, completion.input_messages)
        ids = store_ids(db, thread, ordinal, live.recent_ids, self._ids, new_ids)
        added = stored_bytes - live.counted_bytes + record_bytes + ids.added_bytes
        message_ids = self._message_ids
        # Columns of the thread. None leaves what it has, as does a run without any messages.
        new_messages: tuple[str | int | None, ...] = (None, None, None)
        if message_ids is not None:
            added += self._add_messages(db, thread, new, replaces=runs > 0)
            added += text_bytes(message_ids) - live.list_bytes
            new_messages = message_ids, ordinal, completion.last_agent_event
        elif live.messages_run:
            added += rows.complete_messages(db, thread)
        size = thread_bytes_of(live.thread_bytes + added)
        new.threads.append((live.agent_id, now, now, ids.recent_ids, ids.ids_until, now, *new_messages, size, thread))
        db.totals.add(self.lease.run.thread.owner, size - live.thread_bytes)
        return Growth(thread, runs + 1, added)

    def _add_messages(self, db: Db, thread: int, new: _NewRows, *, replaces: bool) -> int:
        if replaces:
            messages, size = rows.replace_messages(db, thread, self._messages)
        else:
            messages, size = self._messages, rows.messages_bytes(self._messages)
        new.messages += rows.message_rows(thread, messages)
        return size
