"""The calls of the script with which runs begin, go on and end."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from ..._events import join_frames
from .. import protocol as p
from .._ordinals import first_ordinal
from .._sql.encoding import format_json, format_list
from . import values
from .client import Call
from .shards import ThreadPlace

_TOKEN_DIGITS = 9


def begin_call(place: ThreadPlace, run: p.NewRun, lease: int, channel: str) -> Call:
    """Returns the call that begins a run.

    Args:
        place: Where its thread is.
        run: The run.
        lease: How long its lease is, in microseconds.
        channel: The channel on which the script reaches this process.
    """
    return (
        place.shard,
        "begin",
        (
            place.thread,
            place.owner,
            values.encode(run.thread.owner),
            values.encode(run.thread.thread_id),
            values.encode(run.run_id),
            values.encode(run.agent_id),
            run.size,
            values.encode(run.begin_id),
            first_ordinal(),
            lease,
            random_digits(),
            channel,
        ),
    )


def finish_call(place: ThreadPlace, end: p.RunEnd) -> Call:
    """Returns the call that ends a run, whose thread is at ``place``."""
    lease, frames, completion = end.lease, end.frames, end.completion
    arguments: list[str | bytes | int | float] = [
        place.thread,
        lease.token,
        int(completion.persist),
        int(completion.keep_ordinal),
    ]
    if completion.persist:
        messages = p.messages_after_run(completion.messages, completion.records, completion.last_agent_event)
        arguments += (
            join_frames(frames),
            len(frames),
            -1 if completion.frame_count is None else completion.frame_count,
            values.RunHeader.format(lease.run_id, completion),
            b"".join(record.frame for record in completion.records),
            "\n".join(map(format_json, messages)),  # which has no line feeds of its own
            round(p.RAW_RETENTION_SECONDS * values.MICROSECONDS),
        )
        for items in (
            list(map(values.encode, completion.event_messages)),
            list(map(values.encode, completion.input_messages)),
        ):
            arguments += (len(items), *items)
    return place.shard, "finish", arguments


def append_call(shard: str, batches: Sequence[tuple[str, p.Batch]]) -> Call:
    """Returns the call that appends batches to runs of a shard, each with what the shard knows its thread by."""
    arguments: list[str | bytes | int | float] = []
    for thread, batch in batches:
        arguments += (
            thread,
            batch.lease.token,
            join_frames(batch.frames),
            len(batch.frames),
            -1 if batch.frame_count is None else batch.frame_count,
            format_list(batch.duplicates),
        )
    return shard, "append", arguments


def random_digits() -> str:
    """Returns what makes tokens of leases unique, whatever the server has lost."""
    return str(secrets.randbelow(10**_TOKEN_DIGITS)).zfill(_TOKEN_DIGITS)
