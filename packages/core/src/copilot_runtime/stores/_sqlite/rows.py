"""The rows of a SQLite store as values of the protocol. ``thread`` is the row id of a thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..._events import CompactedFrames, split_frames
from .. import protocol as p
from .._sql.encoding import (
    blob,
    checksum,
    format_json,
    format_messages,
    integer,
    parse_duplicates,
    parse_list,
    seconds,
    text,
)
from .room import StoreConnection
from .sizes import message_bytes, text_bytes

T = TypeVar("T")

Db = StoreConnection

blob_value = bytearray
"""Returns bytes as `sqlite3` takes them over fastest: it looks for an adapter of all that is no exact `bytearray`, text
or number, which takes longer than to copy them."""

_DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, sqlite3.IntegrityError)

_DAMAGE_CODES = (None, sqlite3.SQLITE_MISMATCH)
"""Codes of SQLite's errors that concern a value and not the file. Python's own, such as of a text, have none."""


def checked(work: Callable[[Db], T]) -> Callable[[Db], T]:
    """Returns a function that raises ThreadUnreadable where ``work`` cannot make sense of what it reads."""

    def run(db: Db) -> T:
        try:
            return work(db)
        except (*_DAMAGE, sqlite3.OperationalError) as error:
            if isinstance(error, sqlite3.OperationalError) and _code(error) not in _DAMAGE_CODES:
                raise
            raise p.ThreadUnreadable(f"rows of the thread are damaged: {type(error).__name__}: {error}") from error

    return run


def _code(error: sqlite3.Error) -> int | None:
    return getattr(error, "sqlite_errorcode", None)


# --- threads ---


def select_row_id(db: Db, key: p.ThreadKey) -> int | None:
    """Returns the row id of a thread, or None if there is no such thread."""
    row = db.execute("SELECT id FROM threads WHERE owner = ? AND thread_id = ?", tuple(key)).fetchone()
    return None if row is None else row[0]


RUNS = "CAST(runs AS INTEGER)"
"""How many runs a thread has, as SQL: an integer even if the row is damaged."""

THREAD_INFO_COLUMNS = ", ".join(
    [f"CAST({column} AS BLOB)" for column in ("thread_id", "agent_id", "name")]
    + [f"CASE WHEN typeof({column}) <> 'text' THEN {column} END" for column in ("archived", "created_at", "updated_at")]
)
"""What `thread_info` reads of a row of ``threads``: no texts, since one that is damaged would fail the whole query."""


def thread_info(row: Sequence[Any]) -> p.ThreadInfo:
    """Returns a list entry from the `THREAD_INFO_COLUMNS` of a thread. Raises ValueError if they are damaged."""
    thread_id, agent_id, name, archived, created_at, updated_at = row
    return p.ThreadInfo(
        thread_id=thread_id.decode(),
        agent_id=agent_id.decode(),
        name=None if name is None else name.decode(),
        archived=bool(archived),
        created_at=seconds(created_at),
        updated_at=seconds(updated_at),
    )


def list_order(row: Sequence[Any]) -> tuple[bool, float, bytes]:
    """Returns where a row of `THREAD_INFO_COLUMNS` comes in a list; those with damaged times come first."""
    thread_id, *_, updated_at = row
    is_number = isinstance(updated_at, (int, float))
    return is_number, -updated_at if is_number else 0.0, thread_id


# --- active runs ---


def has_expired(expires_at: Any, lease_seconds: Any, now: float) -> bool:
    """Returns whether a lease has expired.

    One that expires later than it can since it was last renewed was renewed before the clock was set back.
    """
    return not now < seconds(expires_at) <= now + seconds(lease_seconds)


def select_active_run(db: Db, key: p.ThreadKey, now: float) -> p.ActiveRun | None:
    """Returns the active run of a thread, or None if it has none."""
    row = db.execute(
        "SELECT live.ordinal, run_id, live.agent_id, stopping, expires_at, lease_seconds FROM threads JOIN live"
        " ON live.thread = threads.id WHERE owner = ? AND thread_id = ?",
        tuple(key),
    ).fetchone()
    if row is None:
        return None
    ordinal, run_id, agent_id, stopping, expires_at, lease_seconds = row
    is_expired = has_expired(expires_at, lease_seconds, now)
    return p.ActiveRun(p.RunKey(key, integer(ordinal)), text(run_id), text(agent_id), bool(stopping), is_expired)


# --- frames ---


FramesRow = tuple[int, int, int, bytearray]
"""Frames as `insert_frames` takes them: the id of those of their run, the number of the first one, a checksum, data."""


def frames_row(frames_id: int, first: int, data: bytes) -> FramesRow:
    """Returns frames that are appended to a run together, joined, for `insert_frames`."""
    return frames_id, first, checksum(data, first), blob_value(data)


def insert_frames(db: Db, frames: Sequence[FramesRow]) -> None:
    """Inserts frames that are appended to runs."""
    db.executemany("INSERT INTO frames (frames_id, first, checksum, frames) VALUES (?, ?, ?, ?)", frames)


def select_frames(db: Db, frames_id: int, after: int) -> list[bytes]:
    """Returns the frames of a run after number ``after``."""
    rows = db.execute(
        "SELECT first, frames, checksum FROM frames WHERE frames_id = ? AND first >= coalesce("
        "(SELECT max(first) FROM frames WHERE frames_id = ? AND first <= ?), 0) ORDER BY first",
        (frames_id, frames_id, after + 1),
    ).fetchall()
    frames: list[bytes] = []
    next_first = None
    for first, data, stored_checksum in rows:
        batch = split_frames(blob(data, stored_checksum, integer(first)))
        if next_first not in (None, first):
            raise ValueError("some frames of the run are missing")
        next_first = first + len(batch)
        frames += batch[max(0, after + 1 - first) :]
    return frames


def select_records(db: Db, thread: int, ordinal: int) -> CompactedFrames:
    """Returns a run that has ended, compacted."""
    [(data, stored_checksum)] = db.execute(
        "SELECT records, checksum FROM runs WHERE thread = ? AND ordinal = ?", (thread, ordinal)
    )
    return CompactedFrames(split_frames(blob(data, stored_checksum, ordinal)))


def select_duplicates(db: Db, thread: int, ordinal: int) -> frozenset[int]:
    """Returns the numbers of the events of a run that has ended that repeat messages."""
    [(value,)] = db.execute("SELECT duplicates FROM runs WHERE thread = ? AND ordinal = ?", (thread, ordinal))
    return parse_duplicates(value)


# --- messages ---

MessageRow = tuple[int, str, str, int]
"""A message as `insert_messages` takes it: its thread, its key (see `format_messages`), its JSON, and a checksum."""


def select_messages(db: Db, thread: int) -> list[dict[str, Any]]:
    """Returns the messages of a thread."""
    [(ids, messages_run, last_agent_event)] = db.execute(
        "SELECT message_ids, messages_run, last_agent_event FROM threads WHERE id = ?", (thread,)
    ).fetchall()
    stored = {
        message_id: (message, stored_checksum)
        for message_id, message, stored_checksum in db.execute(
            "SELECT id, message, checksum FROM messages WHERE thread = ?", (thread,)
        )
    }
    messages: list[dict[str, Any]] = []
    for message_id in parse_list(ids, str):
        message, stored_checksum = stored[message_id]
        messages.append(json.loads(blob(text(message).encode(), stored_checksum)))
    if not messages_run:
        return messages
    records = select_records(db, thread, integer(messages_run))
    return p.messages_after_run(messages, records, integer(last_agent_event))


def message_rows(thread: int, messages: Mapping[str, str]) -> list[MessageRow]:
    """Returns messages of a thread, given as JSON by their keys, for `insert_messages`."""
    return [(thread, message_id, message, checksum(message.encode())) for message_id, message in messages.items()]


def insert_messages(db: Db, messages: Sequence[MessageRow]) -> None:
    """Inserts messages of threads, or replaces those of the same keys."""
    db.executemany(
        "INSERT INTO messages (thread, id, message, checksum) VALUES (?,?,?,?)"
        " ON CONFLICT DO UPDATE SET message = excluded.message, checksum = excluded.checksum",
        messages,
    )


def replace_messages(db: Db, thread: int, messages: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
    """Deletes those messages of a thread that are not among these, given as JSON by their keys.

    Returns which of these are to be inserted, and about how many more bytes of the file all of them then take.
    """
    stored = dict(db.execute("SELECT id, message FROM messages WHERE thread = ?", (thread,)))
    added = {message_id: message for message_id, message in messages.items() if stored.get(message_id) != message}
    removed = {message_id: stored[message_id] for message_id in stored.keys() - messages.keys()}
    replaced = {message_id: stored[message_id] for message_id in added.keys() & stored.keys()}
    db.executemany("DELETE FROM messages WHERE thread = ? AND id = ?", [(thread, message_id) for message_id in removed])
    return added, messages_bytes(added) - messages_bytes(removed) - messages_bytes(replaced)


def complete_messages(db: Db, thread: int) -> int:
    """Stores the messages of the events of a thread's run, too. Returns how many more bytes of the file they take.

    Otherwise these are found when somebody looks, which requires that the run is kept. If they are damaged, they are
    left as they are: only those who read them are concerned.
    """
    try:
        found = checked(lambda db: select_messages(db, thread))(db)
    except p.ThreadUnreadable:
        return 0
    messages = format_messages(found)
    message_ids = format_json(list(messages))
    list_bytes: int = db.execute(
        "SELECT length(CAST(message_ids AS BLOB)) FROM threads WHERE id = ?", (thread,)
    ).fetchone()[0]
    db.execute("UPDATE threads SET message_ids = ?, messages_run = 0 WHERE id = ?", (message_ids, thread))
    added, size = replace_messages(db, thread, messages)
    insert_messages(db, message_rows(thread, added))
    return size + text_bytes(message_ids) - list_bytes


def messages_bytes(messages: Mapping[str, str]) -> int:
    """Returns about how many bytes of the file messages take, given as JSON by their keys."""
    return sum(map(message_bytes, messages.keys(), messages.values()))
