"""Threads of a PostgreSQL store as they are copied to other stores, and the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import protocol as p
from .._sql.encoding import checksum, format_list, format_messages, parse_list, seconds
from ..portable import KeyPage, PortableRun, PortableThread, ThreadState
from . import reading
from .encoding import decode_text, digest, encode_text, owner_digest, thread_digest
from .sizes import message_bytes, run_bytes, thread_bytes
from .writes import message_checksum

KEYS = "SELECT id, owner, thread_id FROM {s}.threads WHERE id > %b ORDER BY id LIMIT %b"

_RUN_COLUMNS = (
    *("ordinal", "run_id", "agent_id", "event_messages", "input_messages", "has_run_error", "was_stopped"),
    *("recorded_by", "checksum", "records", "extract(epoch FROM started_at)::double precision"),
    "extract(epoch FROM ended_at)::double precision",
)

EXPORT = f"""
SELECT t.ordinal, t.agent_id, t.name, t.archived, extract(epoch FROM t.created_at)::double precision,
    extract(epoch FROM t.updated_at)::double precision, extract(epoch FROM t.used_at)::double precision,
    l.ordinal, l.run_id, l.agent_id, l.stopping, {{s}}.has_expired(l.expires_at, l.lease_seconds), l.begin_id,
    o.*, m.*
FROM {{s}}.threads AS t LEFT JOIN {{s}}.live AS l ON l.key = t.key
CROSS JOIN LATERAL (SELECT {", ".join(f"array_agg({column} ORDER BY ordinal)" for column in _RUN_COLUMNS)}
    FROM {{s}}.runs WHERE thread = t.id) AS o
CROSS JOIN LATERAL (SELECT array_agg(checksum ORDER BY position), array_agg(message ORDER BY position)
    FROM {{s}}.messages WHERE thread = t.id) AS m
WHERE t.key = %b
"""

# A row of threads changes with whatever its thread is compared by.
STATE = """
SELECT t.id || ':' || t.xmin::text, t.bytes, t.ordinal, o.ordinal, o.run_id,
    extract(epoch FROM t.updated_at)::double precision, t.name, t.archived, t.active
FROM {s}.threads AS t LEFT JOIN LATERAL (SELECT ordinal, run_id FROM {s}.runs WHERE thread = t.id
    ORDER BY ordinal DESC LIMIT 1) AS o ON true
WHERE t.key = %b
"""

_DOUBLE = "double precision"

IMPORT_TYPES = (
    *("bytea", "text", "bytea", "text", "text", "text", "text", "boolean", _DOUBLE, _DOUBLE, _DOUBLE),
    *("bigint", "bigint", "bigint"),
    *("bigint[]", "text[]", "text[]", f"{_DOUBLE}[]", f"{_DOUBLE}[]", "text[]", "text[]", "boolean[]", "boolean[]"),
    *("text[]", "bigint[]", "bigint[]", "bytea[]", "bytea[]", "bigint[]", "text[]"),
)
"""The parameters of the function ``import_thread``."""


def key_page(rows: Sequence[Sequence[Any]], limit: int) -> KeyPage:
    """Returns a page from rows of `KEYS`."""
    keys = [p.ThreadKey(decode_text(owner), decode_text(thread_id)) for _, owner, thread_id in rows]
    return KeyPage(keys, str(rows[-1][0]) if len(rows) == limit else None)


def to_portable(key: p.ThreadKey, row: Sequence[Any]) -> PortableThread:
    """Returns a thread from its row of `EXPORT`. Raises ValueError and others if it is damaged."""
    last_ordinal, agent_id, name, archived, created_at, updated_at, used_at, *rest = row
    live, runs, (checksums, messages) = rest[:6], rest[6:-2], rest[-2:]
    return PortableThread(
        key=key,
        last_ordinal=last_ordinal,
        agent_id=decode_text(agent_id),
        name=None if name is None else decode_text(name),
        archived=archived,
        created_at=seconds(created_at or 0.0),
        updated_at=seconds(updated_at or 0.0),
        used_at=seconds(used_at),
        messages=reading.messages(list(zip(checksums or (), messages or (), strict=True))),
        runs=[_exported_run(run) for run in zip(*(column or () for column in runs), strict=True)],
        active=None if live[0] is None else reading.active_run(key, live),
    )


def _exported_run(row: Sequence[Any]) -> PortableRun:
    ordinal, run_id, agent_id, in_events, in_inputs, has_run_error, was_stopped, *rest = row
    recorded_by, crc, records, started_at, ended_at = rest
    return PortableRun(
        ordinal=ordinal,
        run_id=decode_text(run_id),
        agent_id=decode_text(agent_id),
        records=reading.records(records, crc, ordinal).frames,
        event_messages=parse_list(in_events, str),
        input_messages=parse_list(in_inputs, str),
        has_run_error=has_run_error,
        recorded_by=recorded_by,
        started_at=seconds(started_at),
        ended_at=seconds(ended_at),
        was_stopped=was_stopped,
    )


def parse_state(rows: Sequence[Sequence[Any]]) -> tuple[str, int, ThreadState | None]:
    """Returns the version of a thread, its bytes, and what an import is decided by, from its row of `STATE`, if any."""
    if not rows:
        return "", 0, None
    [(version, size, last_ordinal, ordinal, run_id, updated_at, name, archived, active)] = rows
    last_run = None if ordinal is None else (ordinal, decode_text(run_id))
    name = None if name is None else decode_text(name)
    return version, size, ThreadState(last_ordinal, last_run, updated_at or 0.0, name, archived, active)


class ThreadColumns:
    """A thread as the parameters of ``import_thread`` after the version: serialised once."""

    def __init__(self, thread: PortableThread) -> None:
        self.key = thread_digest(thread.key)
        messages = format_messages(thread.messages)
        messages_bytes = sum(map(message_bytes, messages.values()))
        runs = [_run_columns(run) for run in thread.runs]
        self.bytes = thread_bytes(*thread.key) + len(thread.name or "") + messages_bytes + sum(run[10] for run in runs)
        self.values: list[Any] = [
            owner_digest(thread.key.owner),
            encode_text(thread.key.owner),
            encode_text(thread.key.thread_id),
            encode_text(thread.agent_id),
            None if thread.name is None else encode_text(thread.name),
            thread.archived,
            thread.created_at,
            thread.updated_at,
            thread.used_at,
            thread.last_ordinal,
            self.bytes,
            messages_bytes,
            *(list(column) for column in zip(*runs, strict=True)),
            list(map(digest, messages)),
            list(map(message_checksum, messages.values())),
            list(messages.values()),
        ]


def _run_columns(run: PortableRun) -> tuple[Any, ...]:
    records = b"".join(run.records)
    in_events, in_inputs = format_list(frozenset(run.event_messages)), format_list(frozenset(run.input_messages))
    return (
        run.ordinal,
        encode_text(run.run_id),
        encode_text(run.agent_id),
        run.started_at,
        run.ended_at,
        in_events,
        in_inputs,
        run.has_run_error,
        run.was_stopped,
        run.recorded_by,
        run_bytes(records, in_events, in_inputs, "[]"),
        checksum(records, run.ordinal),
        records,
    )
