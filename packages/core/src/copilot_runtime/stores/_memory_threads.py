"""What the memory store keeps of a thread and of its owner, and how many bytes of memory that takes.

Whatever grows with what clients and agents send is kept as bytes or as strings, whose size is known, and not as parsed
JSON, which takes 10 to 25 times as much.
"""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_json

from .._events import (
    Burst,
    CompactedFrames,
    InputMessages,
    Piece,
    as_frames,
    decode,
    frames_after,
    frames_of,
    pack_frames,
    pack_pieces,
    pieces_of_frames,
    split_packed,
)
from . import protocol as p
from ._memory_ids import RunIds, ThreadIds, ids_of_run, text_size

# Measured with tracemalloc on CPython 3.11 to 3.13: what objects take beside their contents.
_THREAD_BYTES = 1100  # with an active run
_RUN_BYTES = 430
_FRAME_BYTES = 40
_RECORD_BYTES = 32 + _FRAME_BYTES  # with its number, if that has been looked at
_SLOT_BYTES = 8
_BURST_BYTES = 88  # beside its bytes
_NUMBER_BYTES = 32
_NO_DUPLICATES: Set[int] = frozenset()
_NO_PIECES: list[Piece] = []
"""Of runs that have none, as most while they are active: one for all, and never changed."""
_NO_IDS: Set[str] = frozenset()
_DUPLICATE_BYTES = 80  # a number and its place in a set

_LONG_INPUT = 1024
"""An input of this many bytes or more is kept once, in the RUN_STARTED of the run."""


def frames_size(frames: Sequence[bytes]) -> int:
    """Returns the bytes that frames take in a list."""
    pieces = pieces_of_frames(frames)
    if pieces is frames:
        size = len(b"".join(frames))  # faster than a sum if they are many and small
    else:
        packed = [piece.packed for piece in pieces if type(piece) is Burst]
        size = sum(map(len, pieces)) + _BURST_BYTES * len(packed) + len(b"".join(packed))
    return size + (_FRAME_BYTES + _SLOT_BYTES) * len(pieces)


def _name_size(name: str | None) -> int:
    return text_size(name) if name else 0


class ActiveRun:
    """A run that has not ended."""

    # What most runs do not have before they end.
    pieces = _NO_PIECES
    """Its frames, those that came together in one piece."""
    frame_count = 0
    duplicates = _NO_DUPLICATES
    stopping = False

    def __init__(self, lease: p.Lease, agent_id: str, input_size: int, started_at: float) -> None:
        self.lease = lease
        self.agent_id = agent_id
        self.started_at = started_at
        self.size = input_size
        """The bytes of its input, which has its id, and of its frames and duplicates."""

    def append(self, frames: Sequence[bytes], duplicates: Set[int]) -> int:
        """Appends frames, and returns how many bytes that takes."""
        added = frames_size(frames) + _DUPLICATE_BYTES * (len(duplicates) - len(self.duplicates))
        if frames:
            self.pieces = self.pieces or []
            self.pieces += pieces_of_frames(frames)
            self.frame_count += len(frames)
        self.duplicates = duplicates
        self.size += added
        return added

    @property
    def frames(self) -> Sequence[bytes]:
        """Its frames."""
        return as_frames(self.pieces, self.frame_count)

    def packed_with(self, frames: Sequence[bytes]) -> bytes:
        """Returns its frames and further ones, packed."""
        if not self.pieces:  # as of most runs: all of it is there, and mostly joined already
            return pack_frames(frames)
        return pack_pieces([*self.pieces, *pieces_of_frames(frames)])

    def frames_after(self, seen: int) -> Sequence[bytes]:
        """Returns the frames after the first ``seen``."""
        return frames_after(self.pieces, seen, self.frame_count)

    def view(self) -> p.ActiveRun:
        """Returns it as the store shows it."""
        return p.ActiveRun(self.lease.run, self.lease.run_id, self.agent_id, self.stopping)


class StoredRun(CompactedFrames):
    """A run that has ended.

    Whatever is kept of it is in one object, or in some that the garbage collector does not look at: it goes through all
    objects of a store again and again, as new ones are added.
    """

    __slots__ = (
        "agent_id",
        "duplicates",
        "expires_at",
        "has_run_error",
        "ordinal",
        "raw",
        "raw_start",
        "recorded_by",
        "run_id",
        "size",
        "was_stopped",
    )

    def __init__(
        self, live: ActiveRun, completion: p.RunCompletion, raw: bytes | None = None, expires_at: float = math.inf
    ) -> None:
        # Their numbers are in their ids: pairs would be objects that the garbage collector looks at again and again.
        frames = tuple(frames_of(completion.records))
        self.frames = self._stored = frames  # as `CompactedFrames` has them
        self._numbers = None
        key, self.run_id, _ = live.lease
        self.ordinal = key.ordinal
        self.agent_id = live.agent_id
        self.has_run_error = completion.has_run_error
        self.was_stopped = completion.was_stopped
        self.recorded_by = completion.recorded_by
        self.raw_start = 0
        """How many of its first frames are not in `raw`, since they are the same."""
        if frames and raw and len(first := frames[0]) >= _LONG_INPUT and _has_much_of(first, raw):
            raw, self.raw_start = raw[len(first) :], 1
        self.raw = raw
        """Its frames as they were sent, packed, until they expire.

        Kept in one piece: few read them again, and thousands of small objects take more memory, and long to free."""
        self.duplicates = completion.duplicates
        """As in `protocol.RunCompletion`, as long as there are raw frames."""
        self.expires_at = expires_at
        """When the raw frames expire, by the monotonic clock."""
        self.size = self.measured_size()
        """The bytes that it takes."""

    # Each is another one, whatever its frames.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def raw_frames(self) -> list[bytes] | None:
        """Returns the frames as they were sent; None if they have expired."""
        return None if self.raw is None else [*self.frames[: self.raw_start], *split_packed(self.raw)]

    def drop_raw(self) -> int:
        """Drops the frames as they were sent, and returns by how much that changes `size`."""
        if self.raw is None:
            return 0
        change = -_raw_size(self.raw, self.duplicates)
        self.raw, self.duplicates = None, _NO_DUPLICATES
        self.size += change
        return change

    def measured_size(self) -> int:
        """Returns what `size` has to be, from all that the run has."""
        frames = self.frames
        size = _RUN_BYTES + self.run_id.__sizeof__() + self.agent_id.__sizeof__()
        size += _RECORD_BYTES * len(frames) + sum(map(len, frames))
        return size if self.raw is None else size + _raw_size(self.raw, self.duplicates)


def _has_much_of(first: bytes, raw: bytes) -> bool:
    """Returns whether a run begins with a frame that is much of it: to be kept without it, it has to be copied."""
    return 4 * len(first) >= len(raw) and raw.startswith(first)


def _raw_size(raw: bytes, duplicates: Set[int]) -> int:
    if not duplicates:
        return len(raw)
    return len(raw) + sys.getsizeof(duplicates) + _NUMBER_BYTES * len(duplicates)


_NO_MESSAGES = b"[]"
_OF_INPUT = b""
"""In place of messages that are in the RUN_STARTED of their run."""
_NEW_THREAD_BYTES = _THREAD_BYTES + len(_NO_MESSAGES)


def messages_data(completion: p.RunCompletion) -> bytes | None:
    """Returns the messages of a run's input as JSON, a list or the whole input; None if the run ends without any.

    Nothing is returned of a long input that is in the run's RUN_STARTED as well.
    """
    messages = completion.messages
    data = messages.data if isinstance(messages, InputMessages) else None
    if not completion.has_messages(in_input=data is not None or bool(messages)):
        return None
    if data is None:
        return encode_messages(messages)
    return _OF_INPUT if len(data) >= _LONG_INPUT and _begins_with(completion, data) else data


def _begins_with(completion: p.RunCompletion, run_input: bytes) -> bool:
    """Returns whether the first event of a run has an input, as the last of its members, but not the first.

    With the comma before it, its name cannot be the end of another one.
    """
    frames = frames_of(completion.records)
    if not frames:
        return False
    end = b"}\n\n"
    start = len(frames[0]) - len(end) - len(run_input)
    name = b',"input":'
    return (
        start > len(name)
        and frames[0].startswith(name, start - len(name))
        and frames[0].startswith(run_input, start)
        and frames[0].endswith(end)
    )


def encode_messages(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """Returns messages as JSON."""
    if not messages:
        return _NO_MESSAGES
    try:
        return to_json(list(messages))
    except (PydanticSerializationError, ValueError, RecursionError):  # such as half a character
        return json.dumps(list(messages), separators=(",", ":")).encode()


class Messages(NamedTuple):
    """The messages of a thread, as it keeps them: those of the input of a run; those of its events follow them."""

    data: bytes
    """The former as `messages_data` returns them; `_OF_INPUT` for those in the RUN_STARTED of ``run``."""
    run: StoredRun | None
    last_agent_event: int

    def decode(self) -> list[dict[str, Any]]:
        """Returns the messages in wire form."""
        records = () if self.run is None else self.run
        kept = json.loads(self.data) if self.data or self.run is None else decode(self.run.frames[0])["input"]
        messages = kept["messages"] if isinstance(kept, dict) else kept
        return p.messages_after_run(messages, records, self.last_agent_event)


class Thread:
    """A thread.

    Args:
        key: Its key.
        token: The first token after its creation.
        ordinal: The ordinal of its last run.
        used_at: When it was used last, by the monotonic clock.
        live: Its active run.
    """

    owner: Owner
    """Its owner, once it is in the store."""
    # What most threads have not, or not yet, is in the class: one begins with nearly every run.
    agent_id = ""
    name: str | None = None
    archived = False
    created_at = 0.0
    updated_at = 0.0
    messages_data = _NO_MESSAGES
    """As in `Messages`, like the next two: of the last run that had any."""
    messages_run: StoredRun | None = None
    last_agent_event = 0
    ids: ThreadIds | RunIds | None = None
    """The message ids of its runs."""

    def __init__(
        self, key: p.ThreadKey, token: int, ordinal: int, used_at: float, live: ActiveRun | None = None
    ) -> None:
        self.key = key
        self.token = token
        self.ordinal = ordinal
        self.used_at = used_at
        """By the monotonic clock."""
        self.live = live
        self.runs: list[StoredRun] = []
        size = _NEW_THREAD_BYTES + key.owner.__sizeof__() + key.thread_id.__sizeof__()
        self.size = size if live is None else size + live.size
        """The bytes that it takes, counted by its store: each call would look at all of its runs otherwise."""

    @property
    def known_ids(self) -> tuple[Set[str], Set[str]]:
        """The message ids in the events of its runs, and those in their inputs, while there is an active run."""
        ids = self.ids
        return (ids.events.known, ids.inputs.known) if isinstance(ids, ThreadIds) else (_NO_IDS, _NO_IDS)

    @property
    def messages(self) -> Messages:
        """The messages of the input and of the agent's own events of the last run that had any."""
        return Messages(self.messages_data, self.messages_run, self.last_agent_event)

    def measured_size(self) -> int:
        """Returns what `size` has to be, from all that the thread has."""
        size = _THREAD_BYTES + self.key.owner.__sizeof__() + self.key.thread_id.__sizeof__()
        size += _name_size(self.name) + len(self.messages_data)
        if self.ids is not None:
            size += self.ids.size
        if self.live is not None:
            size += self.live.size
        return size + sum(run.measured_size() for run in self.runs)

    # Each of these returns by how much `size` has to change.

    def rename(self, name: str) -> int:
        """Sets the name."""
        change = _name_size(name) - _name_size(self.name)
        self.name = name
        return change

    def add_run(self, run: StoredRun, completion: p.RunCompletion, messages: bytes | None, now: float) -> int:
        """Adds a run that has just ended, with its `messages_data`."""
        self.created_at = self.created_at or now
        self.updated_at = now
        self.agent_id = run.agent_id
        self.runs.append(run)
        change = run.size
        if messages is not None:
            change += len(messages) - len(self.messages_data)
            self.messages_data, self.messages_run = messages, run
            self.last_agent_event = completion.last_agent_event
        event_ids, input_ids = completion.event_messages, completion.input_messages
        if self.ids is None:
            if event_ids or input_ids:
                self.ids = ids = ids_of_run(event_ids, input_ids, run.ordinal)
                change += ids.size
        elif isinstance(self.ids, ThreadIds):  # always, since the run has begun
            change += self.ids.add(event_ids, input_ids, run.ordinal)
        return change

    def join_ids(self) -> int:
        """Prepares the ids for those of another run."""
        ids = self.ids
        if not isinstance(ids, RunIds):
            return 0
        self.ids = joined = ids.to_thread_ids()
        return joined.size - ids.size

    def delete_oldest_run(self) -> tuple[StoredRun, int]:
        """Deletes the oldest run, and returns it as well."""
        run = self.runs.pop(0)
        change = -run.size
        if self.messages_run is run:
            data = encode_messages(self.messages.decode())
            change += len(data) - len(self.messages_data)
            self.messages_data, self.messages_run, self.last_agent_event = data, None, 0
        if isinstance(self.ids, ThreadIds):
            change -= self.ids.remove_until(run.ordinal)
        return run, change

    def info(self) -> p.ThreadInfo:
        """Returns it as an entry of a list of threads."""
        return p.ThreadInfo(
            thread_id=self.key.thread_id,
            agent_id=self.agent_id,
            name=self.name,
            archived=self.archived,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class Owner:
    """What one owner has in the store."""

    __slots__ = ("idle", "size", "threads")

    def __init__(self) -> None:
        self.size = 0
        """The bytes that its threads take."""
        self.threads: dict[Thread, None] = {}
        self.idle: OrderedDict[Thread, None] = OrderedDict()
        """Those without an active run, the least recently used first."""
