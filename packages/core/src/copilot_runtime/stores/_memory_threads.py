"""What the memory store keeps of a thread, and how many bytes of memory that takes.

Whatever grows with what clients and agents send is kept as bytes or as strings, whose size is known, and not as parsed
JSON, which takes 10 to 25 times as much.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from . import protocol as p

# Measured with tracemalloc on CPython 3.11 to 3.13: what objects take beside their contents.
_THREAD_BYTES = 1150  # with an active run
_RUN_BYTES = 430
_RECORD_BYTES = 104
_FRAME_BYTES = 40
_SLOT_BYTES = 8
_NUMBER_BYTES = 32
_ID_BYTES = 49
_WIDE_BYTES = 2  # a character of most alphabets
_DUPLICATE_BYTES = 80  # a number and its place in a set


def frames_size(frames: Collection[bytes]) -> int:
    """Returns the bytes that a list of frames takes."""
    return sum(map(len, frames)) + (_FRAME_BYTES + _SLOT_BYTES) * len(frames)


def _id_size(text: str) -> int:
    """Returns the same for equal ids, whereas ``sys.getsizeof`` grows once a string was encoded."""
    return _ID_BYTES + len(text) * (1 if text.isascii() else _WIDE_BYTES)


def _text_size(*texts: str | None) -> int:
    return sum(map(sys.getsizeof, filter(None, texts)))


@dataclasses.dataclass(slots=True)
class ActiveRun:
    """A run that has not ended."""

    lease: p.Lease
    agent_id: str
    size: int
    """The bytes of its input, its frames and its duplicates."""
    started_at: float
    frames: list[bytes] = dataclasses.field(default_factory=list)
    duplicates: Set[int] = frozenset()
    stopping: bool = False

    @classmethod
    def begin(cls, lease: p.Lease, run: p.NewRun, now: float) -> ActiveRun:
        """Returns a run that has no frames yet."""
        return cls(lease, run.agent_id, run.size + _text_size(run.run_id, run.agent_id), now)

    def append(self, frames: Sequence[bytes], duplicates: Set[int]) -> int:
        """Appends frames, and returns how many bytes that takes."""
        added = frames_size(frames) + _DUPLICATE_BYTES * (len(duplicates) - len(self.duplicates))
        self.frames.extend(frames)
        self.duplicates = duplicates
        self.size += added
        return added

    def view(self) -> p.ActiveRun:
        """Returns it as the store shows it."""
        return p.ActiveRun(self.lease.run, self.lease.run_id, self.agent_id, self.stopping)


@dataclasses.dataclass(slots=True, eq=False)
class RawFrames:
    """The frames of a run as they were sent. Separate from the run, so that the expiry queue keeps no runs alive."""

    thread: Thread | None
    """None once they were dropped: the two would keep each other in memory."""
    frames: list[bytes] | None
    size: int
    """The bytes that dropping the frames frees."""
    expires_at: float
    """By the monotonic clock."""
    duplicates: Set[int]

    def drop(self) -> None:
        """Drops the frames."""
        if self.thread is not None:
            self.thread.size -= self.size
        self.thread, self.frames, self.size, self.duplicates = None, None, 0, frozenset()


@dataclasses.dataclass(slots=True, eq=False)
class StoredRun:
    """A run that has ended."""

    ordinal: int
    run_id: str
    agent_id: str
    records: Sequence[p.CompactedFrame]
    size: int
    """The bytes that it takes, apart from those of its raw frames."""
    raw: RawFrames
    has_run_error: bool
    recorded_by: str

    @classmethod
    def from_completion(
        cls, thread: Thread, live: ActiveRun, completion: p.RunCompletion, expires_at: float
    ) -> StoredRun:
        """Returns a run that has just ended."""
        frames = live.frames
        own = [frame for _, frame in completion.records]
        # Events that were not merged are the same objects in both.
        count = len(frames)
        shared = [frame for number, frame in completion.records if number <= count and frames[number - 1] is frame]
        own_size = sum(map(len, own)) + (_RECORD_BYTES + _FRAME_BYTES) * len(own)
        raw_size = frames_size(frames) - sum(map(len, shared)) - _FRAME_BYTES * len(shared)
        if completion.duplicates:
            raw_size += sys.getsizeof(completion.duplicates) + _NUMBER_BYTES * len(completion.duplicates)
        return cls(
            ordinal=live.lease.run.ordinal,
            run_id=live.lease.run_id,
            agent_id=live.agent_id,
            records=completion.records,
            size=_RUN_BYTES + _text_size(live.lease.run_id, live.agent_id) + own_size,
            raw=RawFrames(thread, frames, raw_size, expires_at, completion.duplicates),
            has_run_error=completion.has_run_error,
            recorded_by=completion.recorded_by,
        )


class MessageIds:
    """The message ids of a thread's runs. Never changed: `RunStarted` passes `view` on."""

    __slots__ = ("_last_ordinals", "_texts_size", "size", "view")

    def __init__(self, last_ordinals: dict[str, int] | None = None, texts_size: int = 0) -> None:
        self._last_ordinals = last_ordinals or {}
        """The ordinal of the last run with each id, in the order of the ordinals."""
        self._texts_size = texts_size
        self.view: Set[str] = self._last_ordinals.keys()
        """The ids."""
        self.size: int = sys.getsizeof(self._last_ordinals) + texts_size if last_ordinals else 0
        """The bytes that they take."""

    def with_run(self, ordinal: int, ids: Set[str]) -> MessageIds:
        """Returns the ids once another run has ended."""
        if not ids:
            return self
        last_ordinals, texts_size = self._last_ordinals.copy(), self._texts_size
        for text in ids:
            if last_ordinals.pop(text, None) is None:  # one that is there already moves to the end
                texts_size += _id_size(text)
            last_ordinals[text] = ordinal
        return MessageIds(last_ordinals, texts_size)

    def without_runs(self, ordinal: int) -> MessageIds:
        """Returns the ids of the runs after one. Looks at those alone that are not among them."""
        old = list(itertools.takewhile(lambda text: self._last_ordinals[text] <= ordinal, self._last_ordinals))
        if not old:
            return self
        last_ordinals = self._last_ordinals.copy()
        for text in old:
            del last_ordinals[text]
        return MessageIds(last_ordinals, self._texts_size - sum(map(_id_size, old)))


_NO_IDS = MessageIds()


@dataclasses.dataclass(slots=True, eq=False)
class Messages:
    """The messages of the input of a run, as JSON; those of its events follow them."""

    data: bytes = b"[]"
    run: StoredRun | None = None
    last_agent_event: int = 0

    @classmethod
    def after_run(cls, completion: p.RunCompletion) -> Messages | None:
        """Returns the messages as of a run, whose ``run`` is to be set, or None if it has none."""
        last = completion.last_agent_event
        if not completion.messages and not p.messages_after_run((), completion.records, last):
            return None
        return cls(_encode(completion.messages), None, last)

    def decode(self) -> list[dict[str, Any]]:
        """Returns the messages in wire form."""
        records = () if self.run is None else self.run.records
        return p.messages_after_run(json.loads(self.data), records, self.last_agent_event)

    def without_run(self) -> Messages:
        """Returns the same messages, for when the run is deleted."""
        return Messages(_encode(self.decode()))


_NO_MESSAGES = Messages()


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
    event_messages: MessageIds = _NO_IDS
    input_messages: MessageIds = _NO_IDS
    messages: Messages = _NO_MESSAGES
    """The messages of the input and of the agent's own events of the last run that had any."""
    size: int = 0
    """The bytes that it takes. Changed where the thread is, or each call would look at all of its runs."""

    def __post_init__(self) -> None:
        self.size = self.measured_size()

    def measured_size(self) -> int:
        """Returns what `size` has to be."""
        size = _THREAD_BYTES + _text_size(*self.key, self.name) + len(self.messages.data)
        size += self.event_messages.size + self.input_messages.size
        if self.live is not None:
            size += self.live.size
        for run in self.runs:
            size += run.size + run.raw.size
        return size

    def rename(self, name: str) -> None:
        """Sets the name."""
        self.size += _text_size(name) - _text_size(self.name)
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
    ) -> RawFrames:
        """Adds a run that has just ended, and returns its raw frames."""
        run = StoredRun.from_completion(self, live, completion, expires_at)
        self.created_at = self.created_at or now
        self.updated_at = now
        self.agent_id = live.agent_id
        self.runs.append(run)
        self.size += run.size + run.raw.size
        self._replace_ids(
            self.event_messages.with_run(run.ordinal, completion.event_messages),
            self.input_messages.with_run(run.ordinal, completion.input_messages),
        )
        if messages is not None:
            messages.run = run
            self._replace_messages(messages)
        return run.raw

    def delete_oldest_run(self) -> RawFrames:
        """Deletes the oldest run with its raw frames, which are returned."""
        run = self.runs.pop(0)
        self.size -= run.size
        run.raw.drop()
        if self.messages.run is run:
            self._replace_messages(self.messages.without_run())
        self._replace_ids(
            self.event_messages.without_runs(run.ordinal),
            self.input_messages.without_runs(run.ordinal),
        )
        return run.raw

    def _replace_ids(self, event_messages: MessageIds, input_messages: MessageIds) -> None:
        self.size += event_messages.size - self.event_messages.size
        self.size += input_messages.size - self.input_messages.size
        self.event_messages, self.input_messages = event_messages, input_messages

    def _replace_messages(self, messages: Messages) -> None:
        self.size += len(messages.data) - len(self.messages.data)
        self.messages = messages

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
