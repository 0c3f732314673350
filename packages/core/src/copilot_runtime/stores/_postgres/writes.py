"""The beginnings and ends of runs that one statement writes: what it takes, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from ..._events import join_frames
from .. import protocol as p
from .._ordinals import first_ordinal
from .._sql.encoding import FinishedRun, checksum, format_list
from .encoding import digest, encode_text, owner_digest, thread_digest
from .sizes import frames_bytes, message_bytes, run_bytes, thread_bytes

_TEXT, _BYTES, _INT, _BIGINT, _BOOL = "text[]", "bytea[]", "integer[]", "bigint[]", "boolean[]"

BEGIN_TYPES = (
    *("double precision", "bigint", "double precision"),
    *(_BYTES, _BYTES, _TEXT, _TEXT, _TEXT, _TEXT, _TEXT, _BIGINT, _BIGINT, _BIGINT, _BIGINT, _BIGINT),
)
"""The parameters of the function ``begin_runs``."""

FINISH_TYPES = (
    *("double precision", _BYTES, "double precision", "integer"),
    *(
        _BIGINT,
        _BOOL,
        _BOOL,
        _INT,
        _INT,
        _BIGINT,
        _BIGINT,
        _BYTES,
        _BIGINT,
        _BIGINT,
        _BYTES,
        _TEXT,
        _TEXT,
        _TEXT,
        _BOOL,
        _BOOL,
    ),
    *(_TEXT, _INT, _BIGINT, _BYTES, _BIGINT, _TEXT),
)
"""The parameters of the function ``finish_runs``."""

APPEND_TYPES = ("double precision", _BIGINT, _INT, _INT, _BIGINT, _BIGINT, _BIGINT, _TEXT, _BYTES)
"""The parameters of the function ``append_frames``."""

MAKE_ROOM_TYPES = (_BIGINT, _BYTES, "bigint", "bigint", "integer")
"""The parameters of the function ``make_room`` after the time."""


def call(schema: str, function: str, types: Sequence[str]) -> str:
    """Returns a query of a function."""
    return f"SELECT * FROM {schema}.{function}({', '.join(f'%b::{each}' for each in types)})"


class Written(NamedTuple):
    """A row that ``begin_runs`` and ``finish_runs`` return."""

    item: int
    outcome: str
    thread: int
    ordinal: int
    token: int
    run_id: str
    agent_id: str
    stopping: bool
    expired: bool
    begin_id: str
    runs: int
    after: int
    first: int | None
    ordinals: list[int] | None
    event_messages: list[str] | None
    input_messages: list[str] | None
    needed: list[int] | None


def message_checksum(message: str) -> int:
    """Returns a checksum that tells the versions of a message from each other: with its length."""
    data = message.encode()
    return checksum(data) | (len(data) & 0x7FFFFFFF) << 32


class Begin(NamedTuple):
    """A run that is to begin."""

    run: p.NewRun
    key: bytes
    columns: tuple[Any, ...]

    @classmethod
    def from_run(cls, run: p.NewRun, last_known: tuple[int, int]) -> Begin:
        """Returns it.

        Args:
            run: The run.
            last_known: The row id of the thread, and its last run whose message ids are known; 0 if unknown.
        """
        key = thread_digest(run.thread)
        columns = (
            key,
            owner_digest(run.thread.owner),
            encode_text(run.thread.owner),
            encode_text(run.thread.thread_id),
            encode_text(run.run_id),
            encode_text(run.agent_id),
            encode_text(run.begin_id),
            first_ordinal(),
            run.size,
            thread_bytes(*run.thread),
            *last_known,
        )
        for text in columns[2:7]:
            text.encode()  # halves of characters are refused, for this run alone
        return cls(run, key, columns)


class End(NamedTuple):
    """A run that is to end."""

    run: p.RunEnd
    key: bytes
    columns: tuple[Any, ...]
    size: int
    """About how many bytes it adds."""
    message_keys: Sequence[bytes]
    checksums: Sequence[int]
    messages: Mapping[str, str]

    @classmethod
    def from_run(cls, end: p.RunEnd) -> End:
        """Returns it, serialised."""
        completion, frames = end.completion, end.frames
        run = FinishedRun.from_completion(completion)
        data = join_frames(frames)
        ids = format_list(completion.event_messages), format_list(completion.input_messages)
        record_bytes = run_bytes(run.records, *ids, run.duplicates)
        messages = run.messages
        messages_bytes = sum(map(message_bytes, messages.values()))
        columns = (
            end.lease.token,
            completion.persist,
            completion.keep_ordinal,
            len(frames),
            completion.frame_count,
            frames_bytes(len(data)),
            checksum(data),
            data,
            record_bytes,
            checksum(run.records, end.lease.run.ordinal),
            run.records,
            *ids,
            run.duplicates,
            completion.has_run_error,
            completion.was_stopped,
            completion.recorded_by,
            len(messages) or -1,
            messages_bytes,
        )
        return cls(
            end,
            thread_digest(end.lease.run.thread),
            columns,
            frames_bytes(len(data)) + record_bytes + messages_bytes,
            [digest(message_id) for message_id in messages],
            [message_checksum(message) for message in messages.values()],
            messages,
        )

    def bodies(self, in_events: Set[str], in_inputs: Set[str]) -> list[str | None]:
        """Returns the messages, without those with these ids."""
        return [
            None if message_id in in_events or message_id in in_inputs else message
            for message_id, message in self.messages.items()
        ]


def begin_values(holder: int, lease_seconds: float, begins: Sequence[Begin]) -> list[Any]:
    """Returns the parameters of ``begin_runs`` but the first."""
    return [
        holder,
        lease_seconds,
        *map(list, zip(*(begin.columns for begin in begins), strict=True)),
    ]


def finish_values(
    ends: Sequence[End], lock: Sequence[bytes], max_runs: int, bodies: Sequence[Sequence[str | None]]
) -> list[Any]:
    """Returns the parameters of ``finish_runs`` but the first."""
    return [
        list(dict.fromkeys([*(end.key for end in ends), *lock])),
        p.RAW_RETENTION_SECONDS,
        max_runs,
        *(list(column) for column in zip(*(end.columns for end in ends), strict=True)),
        [key for end in ends for key in end.message_keys],
        [value for end in ends for value in end.checksums],
        [body for each in bodies for body in each],
    ]
