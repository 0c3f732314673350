"""The rows of a SQLite store as values of the protocol. ``thread`` is the row id of a thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple, TypeVar

from ..._events import CompactedFrames, join_frames, split_frames
from .. import protocol as p
from .._sql.encoding import (
    blob,
    checksum,
    format_list,
    integer,
    parse_duplicates,
    parse_list,
    seconds,
    text,
)
from .room import StoreConnection
from .sizes import frames_bytes, message_bytes

T = TypeVar("T")

Db = StoreConnection

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


class Piece(NamedTuple):
    """Frames that are appended to a run together: a row of ``frames``."""

    frames: int
    """How many there are."""
    data: bytes
    stored_bytes: int
    """About how many bytes of the file the row takes."""
    duplicates: str
    """Those of the whole run, as `p.Batch` has them."""

    @classmethod
    def from_frames(cls, frames: Sequence[bytes], duplicates: Set[int] = frozenset()) -> Piece:
        """Returns it with the members of a `p.Batch`."""
        data = join_frames(frames)
        return cls(len(frames), data, frames_bytes(len(data)), format_list(duplicates))


class LiveSize(NamedTuple):
    """An active run after frames were appended: ``thread`` is the row id, ``frames`` is how many there are."""

    thread: int
    frames_id: int
    frames: int
    size: int
    uncounted_bytes: int


def append_frames(db: Db, pieces: Mapping[int, Piece]) -> Mapping[int, LiveSize]:
    """Appends frames to active runs, given by their tokens. Returns those that are active, by their tokens."""
    sizes: dict[int, LiveSize] = {}
    for chunk in _chunks(list(pieces.items())):
        values: list[object] = []
        for token, piece in chunk:
            values += (token, piece.frames, piece.stored_bytes, len(piece.data), piece.duplicates)
        for token, *size in db.execute(_APPEND[len(chunk)], values).fetchall():
            sizes[token] = LiveSize._make(size)
    appended = [(size.frames_id, size.frames, pieces[token]) for token, size in sizes.items()]
    for part in _chunks([row for row in appended if row[2].frames]):
        values = []
        for row in part:
            values += _frames_row(*row)
        db.execute(_INSERT_FRAMES[len(part)], values)
    return sizes


def insert_frames(db: Db, frames_id: int, count: int, piece: Piece) -> None:
    """Appends frames to a run. ``count`` is the number of its frames with these included."""
    if piece.frames:
        db.execute(_INSERT_FRAMES[1], _frames_row(frames_id, count, piece))


def _frames_row(frames_id: int, count: int, piece: Piece) -> tuple[int, int, int, bytes]:
    first = count - piece.frames + 1
    return frames_id, first, checksum(piece.data, first), piece.data


# A row costs about half of what a statement of its own does, and much less while an event loop is busy, which makes
# this thread wait after each statement.
_CHUNK_SIZES = (64, 16, 4, 1)
_APPEND = {
    size: "UPDATE live SET frames = frames + new.column2, frames_bytes = frames_bytes + new.column3,"
    " size = size + new.column4, duplicates = new.column5"
    f" FROM (VALUES {', '.join(['(?, ?, ?, ?, ?)'] * size)}) AS new WHERE token = new.column1"
    " RETURNING token, thread, frames_id, frames, size, frames_bytes - counted_bytes"
    for size in _CHUNK_SIZES
}
_INSERT_FRAMES = {
    size: f"INSERT INTO frames (frames_id, first, checksum, frames) VALUES {', '.join(['(?, ?, ?, ?)'] * size)}"
    for size in _CHUNK_SIZES
}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yields the items in parts of the `_CHUNK_SIZES`, for which SQLite has compiled statements."""
    start = 0
    for size in _CHUNK_SIZES:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


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


def select_messages(db: Db, thread: int) -> list[dict[str, Any]]:
    """Returns the messages of a thread."""
    [(ids,)] = db.execute("SELECT message_ids FROM threads WHERE id = ?", (thread,)).fetchall()
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
    return messages


def store_messages(db: Db, thread: int, messages: Mapping[str, str], *, replaces: bool) -> int:
    """Stores a thread's messages, given as JSON by their ids. Returns about how many more bytes of the file they take.

    ``replaces`` is whether the thread may have messages already: those whose ids are missing in ``messages`` are
    deleted, and those that have not changed are not written again.
    """
    stored = dict(db.execute("SELECT id, message FROM messages WHERE thread = ?", (thread,))) if replaces else {}
    added = {message_id: message for message_id, message in messages.items() if stored.get(message_id) != message}
    db.executemany(
        "INSERT INTO messages (thread, id, message, checksum) VALUES (?,?,?,?)"
        " ON CONFLICT DO UPDATE SET message = excluded.message, checksum = excluded.checksum",
        [(thread, message_id, message, checksum(message.encode())) for message_id, message in added.items()],
    )
    if not stored:
        return messages_bytes(added)
    removed = {message_id: stored[message_id] for message_id in stored.keys() - messages.keys()}
    replaced = {message_id: stored[message_id] for message_id in added.keys() & stored.keys()}
    db.executemany("DELETE FROM messages WHERE thread = ? AND id = ?", [(thread, message_id) for message_id in removed])
    return messages_bytes(added) - messages_bytes(removed) - messages_bytes(replaced)


def messages_bytes(messages: Mapping[str, str]) -> int:
    """Returns about how many bytes of the file messages take, given as JSON by their ids."""
    return sum(message_bytes(message_id, message) for message_id, message in messages.items())
