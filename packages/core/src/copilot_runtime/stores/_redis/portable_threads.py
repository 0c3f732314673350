"""Threads of a Redis store as they are copied to other stores, and the reverse."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ..._events import split_frames
from .. import protocol as p
from .._sql.encoding import format_json
from ..portable import KeyPage, PortableRun, PortableThread, ThreadState
from . import values
from .client import Arguments, Call, Client
from .shards import ThreadPlace

OWNERS_AT_ONCE = 100
"""About how many owners to ask for at once."""

PIECE_BYTES = 256 * 1024
"""About how many bytes of a thread to store at once, unless one run or message is larger."""

Value = str | bytes | int | float


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPosition:
    """Where a list of the threads of all owners goes on."""

    shard: int = 0
    scan: str | None = "0"
    """Where to go on with the shard's owners; None if `owners` has the last ones."""
    owners: tuple[str, ...] = ()
    """Owners that have been found and whose threads have not been listed yet."""
    after: str = "0"
    """The serial of the last thread of the first of them that has been listed."""

    @classmethod
    def parse(cls, cursor: str | None) -> KeyPosition:
        """Parses a cursor; None is that of the first page."""
        if cursor is None:
            return cls()
        shard, scan, owners, after = json.loads(cursor)
        return cls(shard, scan, tuple(owners), after)

    def format(self) -> str:
        """Returns it as a cursor."""
        return json.dumps([self.shard, self.scan, self.owners, self.after])

    def with_owners(self, scan: str, owners: Collection[str]) -> KeyPosition:
        """Returns the position once more owners have been found."""
        return dataclasses.replace(self, scan=None if scan == "0" else scan, owners=(*self.owners, *owners))

    def after_owner(self) -> KeyPosition:
        """Returns the position after all threads of the first owner."""
        return dataclasses.replace(self, owners=self.owners[1:], after="0")


def select_keys(call: Callable[..., Any], shards: Sequence[str], cursor: str | None, limit: int) -> KeyPage:
    """Returns a page of the threads of all owners in all shards. ``call`` calls the script on a shard."""
    position = KeyPosition.parse(cursor)
    keys: list[p.ThreadKey] = []
    unreadable = 0
    while len(keys) + unreadable < limit:
        if position.shard == len(shards):
            return KeyPage(keys, None, unreadable)
        shard = shards[position.shard]
        if position.owners:
            missing = limit - len(keys) - unreadable
            names, last = call(shard, "keys", position.owners[0], position.after, missing)
            for owner, thread_id in names:
                try:
                    keys.append(p.ThreadKey(values.text(owner), values.text(thread_id)))
                except (ValueError, AttributeError):
                    unreadable += 1
            if len(names) == missing:
                position = dataclasses.replace(position, after=last.decode())
            else:
                position = position.after_owner()
        elif position.scan is None:
            position = KeyPosition(position.shard + 1)
        else:
            scan, owners = call(shard, "owners", position.scan, OWNERS_AT_ONCE)
            position = position.with_owners(scan.decode(), [owner.decode() for owner in owners])
    return KeyPage(keys, position.format(), unreadable)


def parse_thread(key: p.ThreadKey, row: Sequence[Any]) -> PortableThread:
    """Returns what the script's ``export`` has returned. Raises ValueError and others if it is damaged."""
    (ordinal, *fields), used_at, active, runs, messages, in_events, in_inputs = row
    event_messages, input_messages = _ids_by_run(in_events), _ids_by_run(in_inputs)
    agent_id, name, archived, created_at, updated_at = fields
    return PortableThread(
        key=key,
        last_ordinal=int(ordinal),
        agent_id=values.text(agent_id or b""),
        name=None if name is None else values.text(name),
        archived=archived == b"1",
        created_at=values.seconds(created_at or 0),
        updated_at=values.seconds(updated_at or 0),
        used_at=values.seconds(round(float(used_at))),
        messages=[values.parse_message(message) for message in messages],
        runs=[
            PortableRun(
                ordinal=run_ordinal,
                run_id=header.run_id,
                agent_id=header.agent_id,
                records=split_frames(replay),
                event_messages=event_messages.get(run_ordinal, ()),
                input_messages=input_messages.get(run_ordinal, ()),
                has_run_error=header.has_run_error,
                recorded_by=header.recorded_by,
                started_at=header.started_at,
                ended_at=header.ended_at,
                was_stopped=header.was_stopped,
            )
            for run_ordinal, header, replay in values.stored_runs(runs)
        ],
        active=None if active is None else values.active_run(key, active),
    )


def parse_state(row: Sequence[Any]) -> tuple[bytes, ThreadState | None]:
    """Returns the version that the script's ``state`` has returned, and what an import is decided by."""
    version, (ordinal, last, updated_at, name, archived), header, is_active = row
    if not version:
        return version, None
    last_run = None if header is None else (int(last), values.RunHeader.parse(header).run_id)
    return version, ThreadState(
        int(ordinal),
        last_run,
        values.seconds(updated_at or 0),
        None if name is None else values.text(name),
        archived == b"1",
        bool(is_active),
    )


class Staging:
    """A thread that is stored in parts, before an import makes them the thread: no call keeps the server for long.

    Args:
        thread: The thread.
        place: Where it will be.
    """

    def __init__(self, thread: PortableThread, place: ThreadPlace) -> None:
        self._thread = thread
        self._place = place
        self._name = f"{place.thread}.{secrets.token_hex(8)}"
        self._size: int | None = None

    def store(self, client: Client) -> None:
        """Stores the parts, unless that is done already."""
        if self._size is None:
            batches = list(_batches([(self._place.shard, "stage", part) for part in self._parts()]))
            results = [result for batch in batches for result in client.call_many(batch)]
            for result in results:
                if isinstance(result, Exception):
                    raise result
            self._size = sum(results)

    def discard(self, client: Client) -> None:
        """Deletes the parts, if there are any, which do not become a thread."""
        if self._size is not None:
            client.call(self._place.shard, "unstage", self._name)

    def import_arguments(self, version: bytes) -> Arguments:
        """Returns the arguments of the script's ``import``."""
        thread, place = self._thread, self._place
        return [
            place.thread,
            place.owner,
            values.encode(thread.key.owner),
            values.encode(thread.key.thread_id),
            version,
            thread.last_ordinal,
            values.encode(thread.agent_id),
            b"" if thread.name is None else b"=" + values.encode(thread.name),
            int(thread.archived),
            *(values.microseconds(moment) for moment in (thread.created_at, thread.updated_at, thread.used_at)),
            self._name,
            self._size or 0,
            len(thread.runs),
            thread.runs[0].ordinal,
            thread.runs[-1].ordinal,
        ]

    def _parts(self) -> Iterator[Arguments]:
        """Yields the arguments of the script's ``stage``."""
        runs: list[Value] = []
        for run in self._thread.runs:
            runs += (f"h{run.ordinal}", values.RunHeader.format_moved(run), run.ordinal, b"".join(run.records))
        in_events = _flat_ids([(run.ordinal, run.event_messages) for run in self._thread.runs])
        in_inputs = _flat_ids([(run.ordinal, run.input_messages) for run in self._thread.runs])
        messages: list[Value] = [format_json(message) for message in self._thread.messages]
        for kind, items, step in (("r", runs, 2), ("e", in_events, 2), ("i", in_inputs, 2), ("m", messages, 1)):
            first = 0
            for piece in _pieces(items, step):
                yield [self._name, kind, first, *piece]
                first += len(piece)


def _pieces(items: Sequence[Value], step: int) -> Iterator[Sequence[Value]]:
    """Yields the items in pieces of about `PIECE_BYTES`, whose lengths are multiples of ``step``."""
    start = size = 0
    for at in range(0, len(items), step):
        size += sum(_length(item) for item in items[at : at + step])
        if size >= PIECE_BYTES or at + step == len(items):
            yield items[start : at + step]
            start, size = at + step, 0


def _batches(calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """Yields calls in groups of about `PIECE_BYTES`, for one round trip each."""
    batch: list[Call] = []
    size = 0
    for call in calls:
        batch.append(call)
        size += sum(map(_length, call[2]))
        if size >= PIECE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _length(value: Value) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 8


def _flat_ids(runs: Sequence[tuple[int, Collection[str]]]) -> list[Value]:
    """Returns each id once, after the ordinal of the last run that has it."""
    last = {text: ordinal for ordinal, ids in runs for text in ids}
    return [item for text, ordinal in last.items() for item in (ordinal, values.encode(text))]


def _ids_by_run(row: Sequence[bytes]) -> Mapping[int, Sequence[str]]:
    by_run: dict[int, list[str]] = {}
    for text, ordinal in zip(row[::2], row[1::2], strict=True):
        by_run.setdefault(int(ordinal), []).append(values.text(text))
    return by_run
