"""Answers of the script as values of the protocol. They raise ValueError for what cannot have been stored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..._events import split_frames
from .. import protocol as p
from .._sql.encoding import format_json
from ..portable import PortableRun

MICROSECONDS = 1_000_000


def text(value: bytes) -> str:
    """Returns a text, which may have halves of characters."""
    return value.decode("utf-8", "surrogatepass")


def encode(value: str) -> bytes:
    """Returns a text as it is stored."""
    return value.encode("utf-8", "surrogatepass")


def seconds(value: bytes | int) -> float:
    """Returns a time in seconds since the epoch."""
    return int(value) / MICROSECONDS


def microseconds(moment: float) -> int:
    """Returns a time as it is stored."""
    return round(moment * MICROSECONDS)


def parse_message(value: bytes) -> dict[str, Any]:
    """Returns a message."""
    message = json.loads(value)
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message


def texts(values: Iterable[bytes]) -> frozenset[str]:
    """Returns ids."""
    return frozenset(map(text, values))


def active_run(key: p.ThreadKey, row: Sequence[Any]) -> p.ActiveRun:
    """Returns what the script's ``active_run`` has returned."""
    ordinal, run_id, agent_id, stopping, is_expired, begin_id = row
    return p.ActiveRun(
        p.RunKey(key, int(ordinal)), text(run_id), text(agent_id), stopping == b"1", bool(is_expired), text(begin_id)
    )


def frames_after(entries: Sequence[bytes], after: int) -> list[bytes]:
    """Returns the frames after a number from entries, each of which begins with the number of its first frame."""
    frames: list[bytes] = []
    expected = None
    for entry in entries:
        number, _, data = entry.partition(b" ")
        first = int(number)
        if expected not in (None, first):
            raise ValueError("some frames of the run are missing")
        batch = split_frames(data)
        expected = first + len(batch)
        frames += batch[max(0, after + 1 - first) :]
    return frames


@dataclasses.dataclass(frozen=True, slots=True)
class RunHeader:
    """What describes a run that has ended."""

    frame_count: int
    started_at: float
    ended_at: float
    agent_id: str
    run_id: str
    has_run_error: bool
    was_stopped: bool
    recorded_by: str
    duplicates: frozenset[int]

    @staticmethod
    def format(run_id: str, completion: p.RunCompletion) -> str:
        """Returns the part of it that a process knows."""
        duplicates = sorted(completion.duplicates)
        known = [run_id, completion.has_run_error, completion.was_stopped, completion.recorded_by, duplicates]
        return format_json(known)

    @staticmethod
    def format_moved(run: PortableRun) -> bytes:
        """Returns all of it for a run of another store, which has no raw frames."""
        agent_id = encode(run.agent_id)
        times = microseconds(run.started_at), microseconds(run.ended_at)
        known = format_json([run.run_id, run.has_run_error, run.was_stopped, run.recorded_by, []]).encode()
        return b"0 %d %d %d %b%b" % (*times, len(agent_id), agent_id, known)

    @classmethod
    def parse(cls, data: bytes) -> RunHeader:
        """Parses it, with what the script has put before it."""
        count, started, ended, length, rest = data.split(b" ", 4)
        agent_id, known = rest[: int(length)], rest[int(length) :]
        run_id, has_run_error, was_stopped, recorded_by, duplicates = json.loads(known)
        return cls(
            int(count),
            seconds(started),
            seconds(ended),
            text(agent_id),
            run_id,
            bool(has_run_error),
            bool(was_stopped),
            recorded_by,
            frozenset(duplicates),
        )


def stored_runs(fields: Sequence[bytes]) -> Iterator[tuple[int, RunHeader, bytes]]:
    """Yields the ordinal, the description and the replay of each run, oldest first, from the hash that has them."""
    by_name = dict(zip(fields[::2], fields[1::2], strict=True))
    for ordinal in sorted(int(name) for name in by_name if name[:1] != b"h"):
        yield ordinal, RunHeader.parse(by_name[b"h%d" % ordinal]), by_name[b"%d" % ordinal]


def thread_info(row: Sequence[Any]) -> p.ThreadInfo:
    """Returns an entry of a list of threads."""
    thread_id, agent_id, name, archived, created_at, updated_at = row
    return p.ThreadInfo(
        thread_id=text(thread_id),
        agent_id=text(agent_id),
        name=None if name is None else text(name),
        archived=archived == b"1",
        created_at=seconds(created_at),
        updated_at=seconds(updated_at),
    )
