"""What the memory store keeps of a thread and of its owner, and how many bytes of memory that takes.

Whatever grows with what clients and agents send is kept as bytes or as strings, whose size is known, and not as parsed
JSON, which takes 10 to 25 times as much.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json

from .._events import (
    Burst,
    CompactedFrames,
    Frames,
    InputMessages,
    Piece,
    as_frames,
    frames_after,
    frames_of,
    join_pieces,
    pieces_of_frames,
    split_frames,
)
from . import protocol as p

# Measured with tracemalloc on CPython 3.11 to 3.13: what objects take beside their contents.
_THREAD_BYTES = 1150  # with an active run
_RUN_BYTES = 430
_RECORD_BYTES = 32  # with its number, if that has been looked at
_FRAME_BYTES = 40
_SLOT_BYTES = 8
_BURST_BYTES = 80  # beside its bytes
_NUMBER_BYTES = 32
_TEXT_BYTES = 49
_WIDE_BYTES = 2  # a character of most alphabets
_NO_DUPLICATES: Set[int] = frozenset()
_NO_PIECES: list[Piece] = []
"""Of runs that have none, as most while they are active: one for all, and never changed."""
_DUPLICATE_BYTES = 80  # a number and its place in a set


def frames_size(frames: Sequence[bytes]) -> int:
    """Returns the bytes that frames take in a list."""
    pieces = pieces_of_frames(frames)
    if pieces is frames:
        size = len(b"".join(frames))  # faster than a sum if they are many and small
    else:
        size = sum(map(len, pieces)) + _BURST_BYTES * sum([type(piece) is Burst for piece in pieces])
    return size + (_FRAME_BYTES + _SLOT_BYTES) * len(pieces)


def _text_size(text: str) -> int:
    """Returns the bytes that an id or a name takes.

    It is the same for equal texts, whereas ``sys.getsizeof`` grows once a string was encoded: a thread that is renamed
    must lose exactly what its former name has added.
    """
    return _TEXT_BYTES + len(text) * (1 if text.isascii() else _WIDE_BYTES)


def _texts_size(*texts: str | None) -> int:
    return sum(map(_text_size, filter(None, texts)))


@dataclasses.dataclass(slots=True)
class ActiveRun:
    """A run that has not ended."""

    lease: p.Lease
    agent_id: str
    size: int
    """The bytes of its input, its frames and its duplicates."""
    started_at: float
    pieces: list[Piece] = dataclasses.field(default_factory=lambda: _NO_PIECES)
    """Its frames, those that came together in one piece."""
    frame_count: int = 0
    duplicates: Set[int] = _NO_DUPLICATES
    stopping: bool = False

    @classmethod
    def begin(cls, lease: p.Lease, run: p.NewRun, now: float) -> ActiveRun:
        """Returns a run that has no frames yet."""
        agent_id = run.agent_id
        return cls(lease, agent_id, run.size + sys.getsizeof(run.run_id) + sys.getsizeof(agent_id), now)

    def append(self, frames: Sequence[bytes], duplicates: Set[int]) -> int:
        """Appends frames, and returns how many bytes that takes."""
        added = frames_size(frames) + _DUPLICATE_BYTES * (len(duplicates) - len(self.duplicates))
        self.add_frames(frames)
        self.duplicates = duplicates
        self.size += added
        return added

    def add_frames(self, frames: Sequence[bytes]) -> None:
        """Appends frames without counting their bytes."""
        pieces, count = (frames.pieces, frames.frame_count) if type(frames) is Frames else (frames, len(frames))
        if self.pieces:
            self.pieces += pieces
        elif count:
            self.pieces = list(pieces)
        self.frame_count += count

    @property
    def frames(self) -> Sequence[bytes]:
        """Its frames."""
        return as_frames(self.pieces, self.frame_count)

    def joined(self) -> bytes:
        """Returns its frames, joined."""
        pieces = self.pieces
        return join_pieces(pieces) if self.frame_count != len(pieces) else b"".join(cast(Sequence[bytes], pieces))

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
        "recorded_by",
        "run_id",
        "size",
        "was_stopped",
    )

    def __init__(self, live: ActiveRun, completion: p.RunCompletion) -> None:
        # Their numbers are in their ids: pairs would be objects that the garbage collector looks at again and again.
        frames = tuple(frames_of(completion.records))
        super().__init__(frames)
        self.ordinal = live.lease.run.ordinal
        self.run_id = live.lease.run_id
        self.agent_id = live.agent_id
        self.has_run_error = completion.has_run_error
        self.was_stopped = completion.was_stopped
        self.recorded_by = completion.recorded_by
        self.size = _RUN_BYTES + sys.getsizeof(self.run_id) + sys.getsizeof(self.agent_id)
        """The bytes that it takes, apart from those of its raw frames."""
        self.size += len(b"".join(frames)) + (_RECORD_BYTES + _FRAME_BYTES) * len(frames)
        self.raw: bytes | None = None
        """Its frames as they were sent, until they expire.

        Kept in one piece: few read them again, and thousands of small objects take more memory, and long to free."""
        self.duplicates: Set[int] = _NO_DUPLICATES
        self.expires_at = math.inf
        """When the raw frames expire, by the monotonic clock."""

    # Each is another one, whatever its frames.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def keep_raw(self, frames: bytes, duplicates: Set[int], expires_at: float) -> None:
        """Keeps the frames as they were sent."""
        self.raw, self.duplicates, self.expires_at = frames, duplicates, expires_at

    def raw_frames(self) -> list[bytes] | None:
        """Returns the frames as they were sent; None if they have expired."""
        return None if self.raw is None else split_frames(self.raw)

    def drop_raw(self) -> None:
        """Drops the frames as they were sent."""
        self.raw, self.duplicates = None, _NO_DUPLICATES

    @property
    def total_size(self) -> int:
        """The bytes that it takes."""
        if self.raw is None:
            return self.size
        size = self.size + len(self.raw)
        if self.duplicates:
            size += sys.getsizeof(self.duplicates) + _NUMBER_BYTES * len(self.duplicates)
        return size


MessageIds = dict[str, int]
"""The message ids of a thread's runs, with the ordinal of the last run that has each, in the order of the ordinals.

Never changed: `RunStarted` passes its keys on.
"""


def ids_size(ids: MessageIds) -> int:
    """Returns the bytes that ids take."""
    if not ids:
        return 0
    joined = "".join(ids)
    if joined.isascii():  # as nearly all are: in one step, since a long history has many
        return sys.getsizeof(ids) + _TEXT_BYTES * len(ids) + len(joined)
    return sys.getsizeof(ids) + sum(map(_text_size, ids))


def ids_with_run(ids: MessageIds, ordinal: int, new: Set[str]) -> tuple[MessageIds, int]:
    """Returns the ids once another run has ended, and how many more bytes they take."""
    if not ids:
        result = dict.fromkeys(new, ordinal)
        return result, ids_size(result)
    result, growth = ids.copy(), 0
    for text in new:
        if result.pop(text, None) is None:  # one that is there already moves to the end
            growth += _text_size(text)
        result[text] = ordinal
    return result, growth + sys.getsizeof(result) - (sys.getsizeof(ids) if ids else 0)


def ids_without_runs(ids: MessageIds, ordinal: int) -> tuple[MessageIds, int]:
    """Returns the ids of the runs after one, and how many more bytes they take. Looks at no others than the rest."""
    old = list(itertools.takewhile(lambda text: ids[text] <= ordinal, ids))
    if not old:
        return ids, 0
    result = ids.copy()
    for text in old:
        del result[text]
    growth = (sys.getsizeof(result) if result else 0) - sys.getsizeof(ids)
    return result, growth - sum(map(_text_size, old))


_NO_IDS: MessageIds = {}
_NO_KEYS: Set[str] = frozenset()


def keys_of(ids: MessageIds) -> Set[str]:
    """Returns the ids alone, without an object for those of a new thread."""
    return ids.keys() if ids else _NO_KEYS


@dataclasses.dataclass(slots=True, eq=False)
class Messages:
    """The messages of the input of a run; those of its events follow them."""

    data: bytes = b"[]"
    """The former as JSON: a list, or the whole input."""
    run: StoredRun | None = None
    last_agent_event: int = 0

    @classmethod
    def after_run(cls, completion: p.RunCompletion) -> Messages | None:
        """Returns the messages as of a run, whose ``run`` is to be set, or None if it has none."""
        messages, last = completion.messages, completion.last_agent_event
        if isinstance(messages, InputMessages) and messages.data is not None:
            return cls(messages.data, None, last)
        if not messages and not p.messages_after_run((), completion.records, last):
            return None
        return cls(_encode(messages), None, last)

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]]) -> Messages:
        """Returns messages of which none are in the events of a run."""
        return cls(_encode(messages)) if messages else _NO_MESSAGES

    def decode(self) -> list[dict[str, Any]]:
        """Returns the messages in wire form."""
        records = () if self.run is None else self.run
        kept = json.loads(self.data)
        messages = kept["messages"] if isinstance(kept, dict) else kept
        return p.messages_after_run(messages, records, self.last_agent_event)

    def without_run(self) -> Messages:
        """Returns the same messages, for when the run is deleted."""
        return Messages.of(self.decode())


_NO_MESSAGES = Messages()
_NEW_THREAD_BYTES = _THREAD_BYTES + len(_NO_MESSAGES.data)


def _encode(messages: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        return to_json(list(messages))
    except (PydanticSerializationError, ValueError, RecursionError):  # such as half a character
        return json.dumps(list(messages), separators=(",", ":")).encode()


@dataclasses.dataclass(slots=True, eq=False)
class Thread:
    """A thread."""

    key: p.ThreadKey
    token: int
    """The first token after its creation."""
    ordinal: int = 0
    """The ordinal of its last run."""
    agent_id: str = ""
    name: str | None = None
    archived: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0
    used_at: float = 0.0
    """By the monotonic clock."""
    live: ActiveRun | None = None
    runs: list[StoredRun] = dataclasses.field(default_factory=list)
    event_messages: MessageIds = dataclasses.field(default_factory=lambda: _NO_IDS)
    input_messages: MessageIds = dataclasses.field(default_factory=lambda: _NO_IDS)
    messages_data: bytes = b"[]"
    """As in `Messages`, like the next two: of the last run that had any."""
    messages_run: StoredRun | None = None
    last_agent_event: int = 0
    size: int = 0
    """The bytes that it takes. Changed where the thread is, or each call would look at all of its runs."""
    owner: Owner = dataclasses.field(init=False, repr=False)
    """Its owner, once it is in the store."""

    def __post_init__(self) -> None:
        if self.size == 0:
            self.size = self.measured_size()

    @property
    def messages(self) -> Messages:
        """The messages of the input and of the agent's own events of the last run that had any."""
        return Messages(self.messages_data, self.messages_run, self.last_agent_event)

    @classmethod
    def new(cls, key: p.ThreadKey, token: int, ordinal: int) -> Thread:
        """Returns a thread that has nothing yet."""
        owner, thread_id = key
        size = _NEW_THREAD_BYTES + _texts_size(thread_id, owner)
        return cls(key, token, ordinal, size=size)

    def measured_size(self) -> int:
        """Returns what `size` has to be, from all that the thread has."""
        size = _THREAD_BYTES + _texts_size(*self.key, self.name) + len(self.messages_data)
        size += ids_size(self.event_messages) + ids_size(self.input_messages)
        if self.live is not None:
            size += self.live.size
        return size + sum(run.total_size for run in self.runs)

    def rename(self, name: str) -> None:
        """Sets the name."""
        self.size += _texts_size(name) - _texts_size(self.name)
        self.name = name

    def begin_run(self, live: ActiveRun) -> None:
        """Sets the active run."""
        self.live = live
        self.size += live.size

    def append(self, live: ActiveRun, frames: Sequence[bytes], duplicates: Set[int]) -> None:
        """Appends frames to the active run."""
        self.size += live.append(frames, duplicates)

    def end_run(self, live: ActiveRun) -> None:
        """Removes the active run, of which nothing is kept yet."""
        self.live = None
        self.size -= live.size

    def add_run(
        self,
        live: ActiveRun,
        completion: p.RunCompletion,
        messages: Messages | None,
        *,
        now: float,
        expires_at: float,
    ) -> StoredRun:
        """Adds a run that has just ended."""
        run = StoredRun(live, completion)
        run.keep_raw(live.joined(), completion.duplicates, expires_at)
        self.created_at = self.created_at or now
        self.updated_at = now
        self.agent_id = live.agent_id
        self.runs.append(run)
        self.size += run.total_size
        if completion.event_messages:
            self.event_messages, more = ids_with_run(self.event_messages, run.ordinal, completion.event_messages)
            self.size += more
        if completion.input_messages:
            self.input_messages, more = ids_with_run(self.input_messages, run.ordinal, completion.input_messages)
            self.size += more
        if messages is not None:
            self._replace_messages(messages.data, run, messages.last_agent_event)
        return run

    def delete_oldest_run(self) -> StoredRun:
        """Deletes the oldest run, and returns it."""
        run = self.runs.pop(0)
        if self.messages_run is run:
            self._replace_messages(self.messages.without_run().data, None, 0)
        self.event_messages, more = ids_without_runs(self.event_messages, run.ordinal)
        self.input_messages, more_of_inputs = ids_without_runs(self.input_messages, run.ordinal)
        self.size += more + more_of_inputs - run.total_size
        return run

    def drop_raw_frames(self, run: StoredRun) -> None:
        """Drops the raw frames of a run."""
        before = run.total_size
        run.drop_raw()
        self.size += run.total_size - before

    def _replace_messages(self, data: bytes, run: StoredRun | None, last_agent_event: int) -> None:
        self.size += len(data) - len(self.messages_data)
        self.messages_data, self.messages_run, self.last_agent_event = data, run, last_agent_event

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
        self.threads: dict[p.ThreadKey, Thread] = {}
        self.idle: OrderedDict[p.ThreadKey, Thread] = OrderedDict()
        """Those without an active run, the least recently used first."""

    @property
    def thread_count(self) -> int:
        """The number of its threads."""
        return len(self.threads)

    def idle_thread(self, current: Thread | None) -> Thread | None:
        """Returns the least recently used thread without an active run other than ``current``."""
        for thread in self.idle.values():
            if thread is not current:
                return thread
        return None
