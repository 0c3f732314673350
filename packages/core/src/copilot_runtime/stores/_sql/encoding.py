"""How values are written to a database, and read from it.

A database may be damaged: by a disk, or by a program that has written to it. Whatever is read is checked, so that
damage is reported as such, and only for the thread that it concerns.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple, TypeVar

from pydantic_core import PydanticSerializationError, from_json, to_json

from ..._events import frames_of
from .. import protocol as p

T = TypeVar("T")

MAX_SECONDS = 1e11
"""Later than any time that can be: the year 5138."""


def text(value: Any) -> str:
    """Returns a text. Raises ValueError for anything else, as the next ones do."""
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} in place of a text")
    return value


def integer(value: Any) -> int:
    """Returns an integer."""
    if not isinstance(value, int):
        raise ValueError(f"{type(value).__name__} in place of an integer")
    return value


def seconds(value: Any) -> float:
    """Returns a time in seconds since the epoch."""
    if not isinstance(value, (int, float)) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{value!r:.40} in place of a time")
    return value


def blob(value: Any, stored_checksum: Any, seed: int = 0) -> bytes:
    """Returns bytes that have this checksum."""
    if not isinstance(value, bytes) or checksum(value, seed) != stored_checksum:
        raise ValueError("bytes that are not those that were stored")
    return value


def parse_list(value: Any, kind: type[T]) -> list[T]:
    """Returns the items of a JSON list, all of one kind."""
    [items] = parse_lists([value], kind)
    return items


def parse_lists(values: Sequence[Any], kind: type[T]) -> list[list[T]]:
    """Returns the items of several JSON lists."""
    # Together: most of the time of a parse of few items is that of the call.
    lists = parse_json(f"[{','.join(map(text, values))}]")
    if len(lists) != len(values) or not all(
        type(items) is list and {kind}.issuperset(map(type, items)) for items in lists
    ):
        raise ValueError("JSON of another form than was stored")
    return lists  # type: ignore[no-any-return]


def parse_json(data: str) -> Any:
    """Returns ids and numbers from JSON, in a tenth of the time that `json` takes."""
    try:
        return from_json(data)
    except ValueError:  # such as half a character
        return json.loads(data)


def format_list(items: Set[str] | Set[int]) -> str:
    """Returns a set of ids or numbers as JSON."""
    return format_json(sorted(items)) if items else "[]"


def format_json(value: Any) -> str:
    """Returns ids, numbers or a message as JSON."""
    try:
        return to_json(value).decode()
    except (PydanticSerializationError, ValueError, RecursionError):  # such as half a character
        return json.dumps(value, separators=(",", ":"))


def format_messages(messages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns messages as JSON, by a key of each: its id, or something else if an earlier one has that id, too."""
    found = [(message["id"], format_json(message)) for message in messages]
    by_key = dict(found)
    if len(by_key) == len(found):
        return by_key
    by_key.clear()
    for place, (key, message) in enumerate(found):
        if key in by_key:
            key = f"{key}\n{place}"
            while key in by_key:  # as no id is by chance
                key += "\n"
        by_key[key] = message
    return by_key


def checksum(data: bytes, seed: int = 0) -> int:
    """Returns a checksum. ``seed`` is a number that belongs to the data."""
    return zlib.crc32(data, seed & 0xFFFFFFFF)


def parse_duplicates(value: Any) -> frozenset[int]:
    """Returns the numbers of events that repeat messages."""
    return frozenset(parse_list(value, int))


def merge_batches(batches: Sequence[p.Batch]) -> Collection[p.Batch]:
    """Returns batches of which no two are of the same run: a statement must not update a row twice."""
    by_lease = {batch.lease.token: batch for batch in batches}
    if len(by_lease) == len(batches):
        return batches
    by_lease.clear()
    for batch in batches:
        before = by_lease.get(batch.lease.token)
        if before is not None:
            batch = batch._replace(frames=[*before.frames, *batch.frames])
        by_lease[batch.lease.token] = batch
    return by_lease.values()


class FinishedRun(NamedTuple):
    """The end of a run, serialised: to be done before the transaction, during which others may have to wait."""

    records: bytes
    messages: dict[str, str]
    """The thread's messages, as `format_messages` returns them."""
    duplicates: str

    @classmethod
    def from_completion(cls, completion: p.RunCompletion) -> FinishedRun:
        """Returns it for the final state of a run."""
        messages = p.messages_after_run(completion.messages, completion.records, completion.last_agent_event)
        return cls(
            b"".join(frames_of(completion.records)),
            format_messages(messages),
            format_list(completion.duplicates),
        )
