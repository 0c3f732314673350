"""The rows of a PostgreSQL store as values of the protocol, and the queries that read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..._events import CompactedFrames, split_frames
from .. import protocol as p
from .._pagination import parse_cursor
from .._sql.encoding import MAX_SECONDS, blob, integer, parse_list, parse_lists, seconds
from .._sql.shared_frames import SharedFrames, SharedList
from .encoding import decode_text, encode_text, owner_digest, thread_digest
from .writes import message_checksum

T = TypeVar("T")

DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)

READ = """
SELECT 0, t.ordinal, l.ordinal, l.run_id, l.agent_id, l.stopping, {s}.has_expired(l.expires_at, l.lease_seconds),
    l.begin_id, t.id, NULL::bigint, NULL::bytea
FROM {s}.threads AS t LEFT JOIN {s}.live AS l ON l.key = t.key WHERE t.key = %(key)b
UNION ALL
SELECT 1, o.ordinal, o.frames_id, o.run_id, o.agent_id, o.has_run_error, o.raw_until > clock_timestamp()
    AND o.raw_until <= clock_timestamp() + make_interval(secs => 120), o.recorded_by, o.frames, o.checksum, o.records
FROM {s}.threads AS t JOIN {s}.runs AS o ON o.thread = t.id WHERE t.key = %(key)b
"""

READ_RAW = """
UNION ALL
SELECT 2, f.first, NULL, o.duplicates, NULL, NULL, NULL, NULL, o.frames, f.checksum, f.frames
FROM {s}.threads AS t JOIN {s}.runs AS o ON o.thread = t.id AND o.ordinal = %(raw)b
JOIN {s}.frames AS f ON f.frames_id = o.frames_id WHERE t.key = %(key)b AND o.raw_until IS NOT NULL
"""

READ_MESSAGES = """
UNION ALL
SELECT 3, m.position, NULL, m.message, NULL, NULL, NULL, NULL, NULL, m.checksum, NULL
FROM {s}.threads AS t JOIN {s}.messages AS m ON m.thread = t.id WHERE t.key = %(key)b
"""

READ_ORDER = "\nORDER BY 1, 2"

MESSAGES = """
SELECT m.checksum, m.message FROM {s}.threads AS t JOIN {s}.messages AS m ON m.thread = t.id WHERE t.key = %b
ORDER BY m.position
"""

_THREADS = """
SELECT thread_id, agent_id, name, archived, extract(epoch FROM created_at)::double precision,
    extract(epoch FROM updated_at)::double precision, key
FROM {s}.threads WHERE owner_key = %(owner)b AND runs > 0
"""


def threads_statement(owner: str, query: p.ThreadQuery) -> tuple[str, dict[str, Any]]:
    """Returns the statement of a list of threads, with one more than a page has, and its parameters.

    Raises ValueError for an invalid cursor.
    """
    values: dict[str, Any] = {"owner": owner_digest(owner)}
    sql = _THREADS
    if query.agent_id is not None:
        values["agent"] = agent = encode_text(query.agent_id)
        sql += " AND left(agent_id, 100) = left(%(agent)s, 100)"
        if len(agent) >= 100:  # which an index may not take as a whole
            sql += " AND agent_id = %(agent)s"
    if query.cursor is not None:
        at, thread_id = parse_cursor(query.cursor)
        values["at"] = min(max(at, 0.0), MAX_SECONDS)  # clients may send any number
        values["after"] = thread_digest(p.ThreadKey(owner, thread_id))
        time = "to_timestamp(%(at)b)"
        sql += f" AND updated_at <= {time} AND (updated_at < {time} OR key > %(after)b)"
    limit = ""
    if query.limit is not None:
        limit = " LIMIT %(limit)b"
        values["limit"] = query.limit + 1
    active, archived = (f"{sql} AND {which} ORDER BY updated_at DESC, key{limit}" for which in _ARCHIVED)
    if query.include_archived:
        return f"SELECT * FROM (({active}) UNION ALL ({archived})) AS found ORDER BY 6 DESC, 7{limit}", values
    return active, values


_ARCHIVED = ("NOT archived", "archived")


def detect_damage(read: Callable[[], T]) -> T:
    """Returns what ``read`` returns. Raises ThreadUnreadable where it cannot make sense of what is stored."""
    try:
        return read()
    except DAMAGE as error:
        raise p.ThreadUnreadable(f"rows of the thread are damaged: {type(error).__name__}: {error}") from error


def join_pieces(rows: Iterable[tuple[int, int, bytes]], after: int) -> list[bytes]:
    """Returns the frames after number ``after``, from pieces: the number of the first frame, a checksum, and frames."""
    frames: list[bytes] = []
    next_first = None
    for first, stored_checksum, data in rows:
        piece = split_frames(blob(data, stored_checksum))
        if next_first not in (None, first) or (next_first is None and first > after + 1):
            raise ValueError("some frames of the run are missing")
        next_first = integer(first) + len(piece)
        frames += piece[max(0, after + 1 - first) :]
    return frames


def active_run(thread: p.ThreadKey, row: Sequence[Any]) -> p.ActiveRun:
    """Returns an active run from its ordinal, its ids, whether to stop, whether its lease has expired, and begin_id."""
    ordinal, run_id, agent_id, stopping, expired, begin_id = row
    return p.ActiveRun(
        p.RunKey(thread, ordinal),
        decode_text(run_id),
        decode_text(agent_id),
        stopping,
        expired,
        decode_text(begin_id),
    )


def snapshot(
    thread: p.ThreadKey,
    rows: Sequence[Sequence[Any]],
    raw_ordinal: int | None,
    shared_records: SharedFrames[CompactedFrames],
    shared_raw: SharedFrames[SharedList[bytes]],
) -> p.ThreadSnapshot:
    """Returns a thread from the rows of `READ`, with those of `READ_RAW` for the raw frames of a run."""
    if not rows:
        return p.ThreadSnapshot()
    pieces = [(row[1], row[9], row[10]) for row in rows if row[0] == 2]
    duplicates = next((row[3] for row in rows if row[0] == 2), "[]")
    runs: list[p.StoredRun] = []
    for kind, ordinal, frames_id, run_id, agent_id, has_run_error, is_raw_kept, recorded_by, count, crc, data in rows:
        if kind != 1:
            continue
        key = (thread, ordinal, frames_id, crc)
        raw: SharedList[bytes] | None = None
        if ordinal == raw_ordinal and is_raw_kept:
            raw = shared_raw.get(key, lambda: SharedList(join_pieces(pieces, 0)))
            if len(raw) != count:
                raise ValueError("some frames of the run are missing")
        runs.append(
            p.StoredRun(
                ordinal,
                decode_text(run_id),
                decode_text(agent_id),
                shared_records.get(
                    key,
                    lambda data=data, crc=crc, ordinal=ordinal: records(data, crc, ordinal),  # type: ignore[misc]
                ),
                raw,
                has_run_error,
                recorded_by,
                frozenset(parse_list(duplicates, int)) if raw is not None else frozenset(),
            )
        )
    _, last_ordinal, live_ordinal, *live = rows[0][:8]
    active = None if live_ordinal is None else active_run(thread, (live_ordinal, *live))
    return p.ThreadSnapshot(runs, active, last_ordinal)


def records(data: bytes, crc: int, ordinal: int) -> CompactedFrames:
    """Returns a run that has ended, compacted."""
    return CompactedFrames(split_frames(blob(data, crc, ordinal)))


def update(rows: Sequence[Sequence[Any]]) -> p.RunUpdate:
    """Returns a run's progress from the rows of the function ``follow_run``."""
    if not rows:
        return p.RunUpdate((), frozenset(), True)
    ended, expired, duplicates, skip, *_ = rows[0]
    pieces = [(first, crc, data) for *_, first, crc, data in rows if first is not None]
    return p.RunUpdate(join_pieces(pieces, skip), frozenset(parse_list(duplicates, int)), ended, expired)


def snapshot_with_messages(
    thread: p.ThreadKey,
    rows: Sequence[Sequence[Any]],
    shared_records: SharedFrames[CompactedFrames],
    shared_raw: SharedFrames[SharedList[bytes]],
) -> tuple[p.ThreadSnapshot, list[dict[str, Any]]]:
    """Returns a thread and its messages from the rows of `READ` and `READ_MESSAGES`."""
    found = messages([(row[9], row[3]) for row in rows if row[0] == 3])
    return snapshot(thread, rows, None, shared_records, shared_raw), found


def messages(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Returns a thread's messages from the rows of `MESSAGES`."""
    found: list[dict[str, Any]] = []
    for crc, message in rows:
        if message_checksum(message) != crc:
            raise ValueError("a message that is not the one that was stored")
        found.append(json.loads(message))
    return found


def thread_infos(rows: Sequence[Sequence[Any]]) -> tuple[list[p.ThreadInfo], Exception | None]:
    """Returns list entries from rows of a list, without damaged ones, and what is the matter with one of those."""
    infos: list[p.ThreadInfo] = []
    damage: Exception | None = None
    for row in rows:
        try:
            infos.append(_thread_info(row))
        except ValueError as error:
            damage = error
    return infos, damage


def _thread_info(row: Sequence[Any]) -> p.ThreadInfo:
    thread_id, agent_id, name, archived, created_at, updated_at, _ = row
    return p.ThreadInfo(
        thread_id=decode_text(thread_id),
        agent_id=decode_text(agent_id),
        name=None if name is None else decode_text(name),
        archived=archived,
        created_at=seconds(created_at),
        updated_at=seconds(updated_at),
    )


def message_ids(rows: Sequence[Sequence[Any]]) -> list[tuple[int, list[str], list[str]]]:
    """Returns the ids of the messages in the events and in the inputs of runs, by ordinal."""
    lists = parse_lists([ids for _, *both in rows for ids in both], str)
    return [(row[0], *both) for row, both in zip(rows, zip(lists[::2], lists[1::2], strict=True), strict=True)]
