"""Compacts a run into what a replay sends (docs/protocol.md, section 6).

The deltas of a text message or tool call become one event, and the state events of a run become one
STATE_SNAPSHOT before its terminal event. A run is compacted while it is recorded, because its deltas are
at hand then; of the frames already serialised, only the few state events are parsed again.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, cast

from .compacted_frames import COMPACTED_SUFFIX, CompactedFrame, CompactedFrames, parse_number
from .deltas import DeltaStream
from .frames import Piece, split_pieces
from .shared_state import apply_state_events
from .sse import InvalidEventError, decode, encode, format_frame

NONE_OPEN: Any = MappingProxyType({})
"""In place of a dictionary until something is opened: an empty one takes memory, and thousands of runs may be idle."""


class Compactor:
    """What a replay sends of a run, whose events put their frames there (`protocol_state`).

    Args:
        prefix: how the ids of the run's frames start; empty for a run that is not replayed.
    """

    __slots__ = (
        "_is_disordered",
        "_leader",
        "_merged_states",
        "_states",
        "has_bursts",
        "open_calls",
        "out",
        "prefix",
        "started",
        "texts",
    )

    def __init__(self, prefix: bytes) -> None:
        self.prefix: bytes = prefix
        self.texts: dict[str, DeltaStream] = {}
        """Open text messages, in the order in which they were opened."""
        self.open_calls: dict[str, DeltaStream] = NONE_OPEN
        """Tool calls without an end, in that order."""
        self.out: list[Piece] = []
        """Frames alone: their numbers, which are in their ids, are needed for those of few runs."""
        self.has_bursts: bool = False
        """Whether there are bursts among them, which the log has as well: apart, their frames take twice the memory."""
        self.started: bytes | None = None
        """The frame of the last RUN_STARTED."""
        self._is_disordered = False
        """Whether the frames may not be in the order of their numbers."""
        self._leader: DeltaStream | None = None
        """The open message after which events are placed, once there is such an event."""
        self._states: list[CompactedFrame] | None = None
        self._merged_states: list[range] | None = None
        """For each merged state, the numbers of events after which a reader of the run itself has a part of it."""

    def compacted(self) -> CompactedFrames:
        """Returns the compacted run. To be called once, at the end."""
        if self.texts or self.open_calls:
            for group in (self.texts, self.open_calls):
                for message in list(group.values()):
                    self.close(message, group)
        if self._states is not None:  # of a run that never reached a terminal event
            self.out += [record.frame for record in self._states]
            self._is_disordered = True
        records = CompactedFrames(split_pieces(self.out) if self.has_bursts else cast("list[bytes]", self.out))
        return _with_own_ids(records, self._merged_states or ()) if self._is_disordered else records

    def next_place(self) -> list[Piece]:
        """Returns the list for an event that is not merged, and for those after it until something opens or closes."""
        # An event that comes while messages are open is placed after one of them. Text messages are preferred
        # to tool calls, but one that has followers already comes first, or these events would change places.
        leader = self._leader
        if leader is None:
            if not self.texts and not self.open_calls:
                return self.out
            leader = self._leader = next(iter(self.texts.values()), None) or next(iter(self.open_calls.values()))
        if leader.followers is None:
            leader.followers = []
        return leader.followers

    def close(self, message: DeltaStream, group: dict[str, DeltaStream], end: bytes | None = None) -> None:
        """Takes out of ``group`` what is open no more, and places it, its end event's frame, and what follows it."""
        merged = message.merged_frame() if message.deltas else None  # first, as there may be no memory for it
        del group[message.identity]
        out, followers = self.out, message.followers
        if followers or self.texts or self.open_calls:
            self._is_disordered = True
        out.append(message.frame)
        if merged is not None:
            out.append(merged)
        if end is not None:
            out.append(end)
        if followers is not None:
            out += followers
            self._leader = None

    def keep_state(self, number: int, frame: bytes) -> None:
        """Keeps a state event until the run's terminal one, unless the run is not replayed."""
        if not self.prefix:
            return
        if self._states is None:
            self._states = []
        self._states.append(CompactedFrame(number, frame))

    def place_terminal(self, frame: bytes, place: list[Piece]) -> None:
        """Places a terminal event, and before it the state that all state events make."""
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
            if initial and self.started is not None and events[0]["type"] == "STATE_DELTA":
                # The deltas are for the client that has sent this state: no replay shows it before it is merged.
                first = parse_number(self.started)
            state = apply_state_events(initial, events)
            data = encode({"type": "STATE_SNAPSHOT", "snapshot": state})
        except (ValueError, InvalidEventError):
            place += [record.frame for record in states]
            return
        self._merged_states = [*(self._merged_states or ()), range(first, last)]
        place.append(format_frame(data, self.prefix, last))

    def _initial_state(self) -> Any:
        """Returns the state in the run's input, as RUN_STARTED echoes it."""
        run_input = None if self.started is None else decode(self.started).get("input")
        state = run_input.get("state") if isinstance(run_input, dict) else None
        return {} if state is None else state


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
