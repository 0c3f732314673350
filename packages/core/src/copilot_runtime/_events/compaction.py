"""Compacts a run into what a replay sends (docs/protocol.md, section 6).

The deltas of a text message or tool call become one event, and the state events of a run become one
STATE_SNAPSHOT before its terminal event. A run is compacted while it is recorded, because its deltas are
at hand then; of the frames already serialised, only the few state events are parsed again.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from json.encoder import encode_basestring
from typing import Any, NamedTuple, Self, cast, overload

from .frames import Piece, split_pieces
from .shared_state import apply_state_events
from .sse import (
    FRAME_WITH_ID,
    Event,
    InvalidEventError,
    decode,
    encode,
    format_frame,
    with_member,
)

COMPACTED_SUFFIX = b"c"
"""Ends the id of a compacted frame before which a reader has not received the same events as one of the run itself."""


class CompactedFrame(NamedTuple):
    """A frame of a compacted run, and the number, as in its id, of the last event that was merged into it."""

    number: int
    frame: bytes

    @classmethod
    def from_frame(cls, frame: bytes) -> Self:
        """Parses the number of a compacted frame, which is the second part of its id."""
        return cls(_parse_number(frame), frame)


class CompactedFrames(Sequence[CompactedFrame]):
    """A compacted run. Its numbers are parsed once they are looked at, which a whole replay does not do.

    Args:
        frames: Its frames.
        stored: The frames that these were made of and whose numbers they have, if their own ids are not all there.
        numbers: Its numbers, if they are known.
    """

    __slots__ = ("__weakref__", "_numbers", "_stored", "frames")

    def __init__(
        self, frames: Sequence[bytes], stored: Sequence[bytes] | None = None, numbers: Sequence[int] | None = None
    ) -> None:
        self.frames = frames
        self._stored = frames if stored is None else stored
        self._numbers = numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompactedFrames) and self.frames == other.frames

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each frame. Raises ValueError if one has none."""
        if self._numbers is None:
            self._numbers = list(map(_parse_number, self._stored))
        return self._numbers

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[CompactedFrame]:
        return map(CompactedFrame, self.numbers, self.frames)

    @overload
    def __getitem__(self, index: int) -> CompactedFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CompactedFrame]: ...

    def __getitem__(self, index: int | slice) -> CompactedFrame | Sequence[CompactedFrame]:
        if isinstance(index, slice):
            return CompactedFrames(self.frames[index], self._stored[index])
        return CompactedFrame(_parse_number(self._stored[index]), self.frames[index])


def frames_of(records: Sequence[CompactedFrame]) -> Sequence[bytes]:
    """Returns the frames of a compacted run."""
    return records.frames if isinstance(records, CompactedFrames) else [record.frame for record in records]


def numbers_of(records: Sequence[CompactedFrame]) -> Sequence[int]:
    """Returns the numbers of the frames of a compacted run."""
    return records.numbers if isinstance(records, CompactedFrames) else [record.number for record in records]


def _parse_number(frame: bytes) -> int:
    number = frame[frame.index(b".") + 1 : frame.index(b"\n")]
    return int(number.removesuffix(COMPACTED_SUFFIX))


class OpenMessage:
    """A text message or tool call that has no end event yet."""

    __slots__ = ("deltas", "first", "followers", "frame", "last", "metadata")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        """That of its start event."""
        self.deltas: list[str] = []
        self.first: bytes
        """The frame of the first delta."""
        self.last: int
        """The number of the last delta."""
        self.metadata: dict[str, Any] | None = None
        self.followers: list[Piece] | None = None
        """Frames that came while this was open, to be placed after it."""

    def append_delta(self, number: int, event: Event, frame: bytes) -> OpenMessage:
        """Adds a delta. Returns this message."""
        if not self.deltas:
            self.first = frame
        self.deltas.append(event["delta"])
        self.last = number
        if "metadata" in event:
            # Read from the frame, because the agent may still change the event's own objects.
            self.metadata = {**(self.metadata or {}), **decode(frame)["metadata"]}
        return self


class Compactor:
    """Consumes a run's events, each by the handler of its type in `HANDLERS`, and returns its records."""

    __slots__ = (
        "_calls",
        "_is_disordered",
        "_leader",
        "_merged_states",
        "_out",
        "_prefix",
        "_started",
        "_states",
        "_texts",
        "has_bursts",
        "has_run_error",
    )

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._out: list[Piece] = []
        """Frames alone: their numbers, which are in their ids, are needed for those of few runs."""
        self._is_disordered = False
        """Whether these may not be in the order of their numbers."""
        self._texts: dict[str, OpenMessage] = {}
        self._calls: dict[str, OpenMessage] = {}
        self._leader: OpenMessage | None = None
        """The open message after which events are placed, once there is such an event."""
        self._states: list[CompactedFrame] | None = None
        self._merged_states: list[range] | None = None
        """For each merged state, the numbers of events after which a reader of the run itself has a part of it."""
        self._started: bytes | None = None
        """The frame of the last RUN_STARTED."""
        self.has_run_error = False
        """Whether a RUN_ERROR was among the events."""
        self.has_bursts = False
        """Whether `next_place` has got bursts, which the log has as well: apart, their frames take twice the memory."""

    def records(self) -> CompactedFrames:
        """Returns the compacted run. To be called once, at the end."""
        if self._texts or self._calls:
            self._flush_open()
        if self._states is not None:  # of a run that never reached a terminal event
            self._out += [record.frame for record in self._states]
            self._is_disordered = True
        records = CompactedFrames(split_pieces(self._out) if self.has_bursts else cast("list[bytes]", self._out))
        return _with_own_ids(records, self._merged_states or ()) if self._is_disordered else records

    def _flush_open(self) -> None:
        for group, head in ((self._texts, _TEXT), (self._calls, _CALL)):
            for identity in list(group):
                self._flush(group, identity, head)

    def next_place(self) -> list[Piece]:
        """Returns the list for an event that is not merged, and for those after it until something opens or closes."""
        # An event that comes while messages are open is placed after one of them. Text messages are preferred
        # to tool calls, but one that has followers already comes first, or these events would change places.
        leader = self._leader
        if leader is None:
            if not self._texts and not self._calls:
                return self._out
            leader = self._leader = next(iter(self._texts.values()), None) or next(iter(self._calls.values()))
        if leader.followers is None:
            leader.followers = []
        return leader.followers

    def _flush(self, group: dict[str, OpenMessage], identity: str, head: str, end: bytes | None = None) -> None:
        message = group.pop(identity)
        out, deltas, followers = self._out, message.deltas, message.followers
        if followers or self._texts or self._calls:
            self._is_disordered = True
        out.append(message.frame)
        if len(deltas) > 1:
            # As `sse.encode` writes strings, at half of the cost.
            data = f'{head}{encode_basestring(identity)},"delta":{encode_basestring("".join(deltas))}}}'.encode()
            if message.metadata is not None:
                data = with_member(data, b"metadata", encode(message.metadata))
            out.append(FRAME_WITH_ID % (self._prefix, message.last, data))
        elif deltas:
            out.append(message.first)
        if end is not None:
            out.append(end)
        if followers is not None:
            out += followers
            self._leader = None

    def _pass_through(self, number: int, event: Event, frame: bytes) -> None:
        self.next_place().append(frame)

    def _run_started(self, number: int, event: Event, frame: bytes) -> None:
        self._started = frame
        self.next_place().append(frame)

    def _state(self, number: int, event: Event, frame: bytes) -> None:
        if self._states is None:
            self._states = []
        self._states.append(CompactedFrame(number, frame))

    def _run_error(self, number: int, event: Event, frame: bytes) -> None:
        self.has_run_error = True
        self._terminal(number, event, frame)

    def _terminal(self, number: int, event: Event, frame: bytes) -> None:
        place = self.next_place()
        if self._states is not None:
            states, self._states = self._states, None
            self._is_disordered = True
            self._merge_states(states, place)
        place.append(frame)

    def _merge_states(self, states: Sequence[CompactedFrame], place: list[Piece]) -> None:
        first, last = states[0].number, states[-1].number
        try:
            # Decoded again, so that applying the deltas cannot change what is stored or what the agent holds.
            events = [decode(record.frame) for record in states]
            initial = self._initial_state()
            if initial and self._started is not None and events[0]["type"] == "STATE_DELTA":
                # The deltas are for the client that has sent this state: no replay shows it before it is merged.
                first = _parse_number(self._started)
            state = apply_state_events(initial, events)
            data = encode({"type": "STATE_SNAPSHOT", "snapshot": state})
        except (ValueError, InvalidEventError):
            place += [record.frame for record in states]
            return
        self._merged_states = [*(self._merged_states or ()), range(first, last)]
        place.append(format_frame(data, self._prefix, last))

    def _initial_state(self) -> Any:
        """Returns the state in the run's input, as RUN_STARTED echoes it."""
        run_input = None if self._started is None else decode(self._started).get("input")
        state = run_input.get("state") if isinstance(run_input, dict) else None
        return {} if state is None else state

    def _text_start(self, number: int, event: Event, frame: bytes) -> OpenMessage:
        message = self._texts[event["messageId"]] = OpenMessage(frame)
        return message

    def _text_content(self, number: int, event: Event, frame: bytes) -> OpenMessage:
        return self._texts[event["messageId"]].append_delta(number, event, frame)

    def _text_end(self, number: int, event: Event, frame: bytes) -> None:
        self._flush(self._texts, event["messageId"], _TEXT, frame)

    def _call_start(self, number: int, event: Event, frame: bytes) -> OpenMessage:
        message = self._calls[event["toolCallId"]] = OpenMessage(frame)
        return message

    def _call_args(self, number: int, event: Event, frame: bytes) -> OpenMessage:
        return self._calls[event["toolCallId"]].append_delta(number, event, frame)

    def _call_end(self, number: int, event: Event, frame: bytes) -> None:
        self._flush(self._calls, event["toolCallId"], _CALL, frame)


def _with_own_ids(records: CompactedFrames, merged_states: Sequence[range]) -> CompactedFrames:
    """Gives ids of their own to the frames at which a reader of the compacted run has other events than one of the run.

    Both must be able to resume exactly after the last id that they have received. Where the same events have come
    before, and only there, one id serves both.
    """
    numbers, frames = records.numbers, records.frames
    if not merged_states and numbers == sorted(numbers):
        return records
    starts = [numbers_of_state.start for numbers_of_state in merged_states]
    highest = accumulate(numbers, max)
    lowest_later = [*accumulate(reversed(numbers[1:]), min, initial=numbers[-1] + 1)][::-1]
    marked = []
    for number, frame, high, low in zip(numbers, frames, highest, lowest_later, strict=True):
        state = bisect.bisect(starts, number) - 1
        is_same = high == number < low and (state < 0 or number not in merged_states[state])
        marked.append(frame if is_same else _with_own_id(frame))
    return CompactedFrames(marked, numbers=numbers)


def _with_own_id(frame: bytes) -> bytes:
    """Returns the same event with an id that only the compacted run has."""
    end = frame.index(b"\n")
    return b"%b%b%b" % (frame[:end], COMPACTED_SUFFIX, frame[end:])


_TEXT = '{"type":"TEXT_MESSAGE_CONTENT","messageId":'
_CALL = '{"type":"TOOL_CALL_ARGS","toolCallId":'
"""How the deltas start into which those of a text message or tool call are merged."""

Handler = Callable[[Compactor, int, Event, bytes], OpenMessage | None]
"""Takes the number in the id of an event, the event, and its frame. Returns what further deltas are merged into, if the
event is the start of a message or call, or a delta of it."""

DEFAULT_HANDLER: Handler = Compactor._pass_through
"""The handler of every type that `HANDLERS` does not name."""

HANDLERS: Mapping[str, Handler] = {
    "RUN_STARTED": Compactor._run_started,
    "RUN_FINISHED": Compactor._terminal,
    "RUN_ERROR": Compactor._run_error,
    "STATE_SNAPSHOT": Compactor._state,
    "STATE_DELTA": Compactor._state,
    "TEXT_MESSAGE_START": Compactor._text_start,
    "TEXT_MESSAGE_CONTENT": Compactor._text_content,
    "TEXT_MESSAGE_END": Compactor._text_end,
    "TOOL_CALL_START": Compactor._call_start,
    "TOOL_CALL_ARGS": Compactor._call_args,
    "TOOL_CALL_END": Compactor._call_end,
}
