"""A finished run, folded: what a replay sends (CONTRACT.md, section 6).

It is folded while the run goes on, since then the deltas are at hand; nothing that was
encoded is parsed again but the few state events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .shared_state import apply_state_events
from .sse import (
    Event,
    InvalidEventError,
    decode,
    encode,
    format_frame,
)


class CompactedFrame(NamedTuple):
    """A frame of a compacted run, and the number of the last event folded into it."""

    number: int
    frame: bytes


class _OpenMessage:
    """A text message or tool call that is being streamed."""

    __slots__ = ("deltas", "first", "followers", "last", "metadata", "start")

    def __init__(self, start: CompactedFrame) -> None:
        self.start = start
        self.deltas: list[str] = []
        self.first: bytes = b""
        self.last = start.number
        self.metadata: dict[str, Any] | None = None
        self.followers: list[CompactedFrame] = []

    def append_delta(self, number: int, event: Event, framed: bytes) -> None:
        """Takes a delta."""
        if not self.deltas:
            self.first = framed
        self.deltas.append(event["delta"])
        self.last = number
        if "metadata" in event:
            # From the frame and not from the event, which its agent may go on to change.
            self.metadata = {**(self.metadata or {}), **decode(framed)["metadata"]}


class Compactor:
    """Takes a run's events by the `FOLDS` of their types, gives its records."""

    __slots__ = ("_calls", "_out", "_prefix", "_started", "_states", "_texts")

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._out: list[CompactedFrame] = []
        self._texts: dict[str, _OpenMessage] = {}
        self._calls: dict[str, _OpenMessage] = {}
        self._states: list[CompactedFrame] = []
        self._started: bytes | None = None

    def records(self) -> tuple[CompactedFrame, ...]:
        """The compacted run. Call it once, at the end."""
        self._flush_open()
        self._out += self._states  # of a run that never reached a terminal event
        return tuple(self._out)

    def _flush_open(self) -> None:
        for groups, kind, name in ((self._texts, *_TEXT), (self._calls, *_CALL)):
            for identity, group in list(groups.items()):
                self._flush(groups, identity, group, kind, name, None)

    def _emit(self, record: CompactedFrame) -> None:
        # What comes while a group is open follows it: a text message before a call, but first
        # of all the one that something follows already, or the two would change places.
        groups = (*self._texts.values(), *self._calls.values())
        leader = next((group for group in groups if group.followers), groups[0] if groups else None)
        (self._out if leader is None else leader.followers).append(record)

    def _flush(
        self,
        groups: dict[str, _OpenMessage],
        identity: str,
        group: _OpenMessage,
        kind: str,
        name: str,
        end: CompactedFrame | None,
    ) -> None:
        del groups[identity]
        self._out.append(group.start)
        if len(group.deltas) == 1:
            self._out.append(CompactedFrame(group.last, group.first))
        elif group.deltas:
            joined: Event = {"type": kind, name: identity, "delta": "".join(group.deltas)}
            if group.metadata is not None:
                joined["metadata"] = group.metadata
            self._out.append(CompactedFrame(group.last, format_frame(encode(joined), self._prefix, group.last)))
        if end is not None:
            self._out.append(end)
        self._out += group.followers

    def _other(self, number: int, event: Event, framed: bytes) -> None:
        self._emit(CompactedFrame(number, framed))

    def _run_started(self, number: int, event: Event, framed: bytes) -> None:
        self._started = framed
        self._emit(CompactedFrame(number, framed))

    def _state(self, number: int, event: Event, framed: bytes) -> None:
        self._states.append(CompactedFrame(number, framed))

    def _terminal(self, number: int, event: Event, framed: bytes) -> None:
        self._flush_open()  # RUN_ERROR may leave messages open, whose ids the next run may use again
        for record in self._folded_states():
            self._emit(record)
        self._states.clear()
        self._emit(CompactedFrame(number, framed))

    def _folded_states(self) -> list[CompactedFrame]:
        if not self._states:
            return []
        last = self._states[-1].number
        try:
            # Decoded anew, so that folding can never change what was stored or what the agent holds.
            state = apply_state_events(self._state_given(), (decode(one.frame) for one in self._states))
            data = encode({"type": "STATE_SNAPSHOT", "snapshot": state})
        except (ValueError, InvalidEventError):
            return list(self._states)
        return [CompactedFrame(last, format_frame(data, self._prefix, last))]

    def _state_given(self) -> Any:
        """The state that the run was given, as RUN_STARTED shows it."""
        given = None if self._started is None else decode(self._started).get("input")
        state = given.get("state") if isinstance(given, dict) else None
        return {} if state is None else state

    def _text_start(self, number: int, event: Event, framed: bytes) -> None:
        self._texts[event["messageId"]] = _OpenMessage(CompactedFrame(number, framed))

    def _text_content(self, number: int, event: Event, framed: bytes) -> None:
        self._texts[event["messageId"]].append_delta(number, event, framed)

    def _text_end(self, number: int, event: Event, framed: bytes) -> None:
        identity = event["messageId"]
        self._flush(self._texts, identity, self._texts[identity], *_TEXT, CompactedFrame(number, framed))

    def _call_start(self, number: int, event: Event, framed: bytes) -> None:
        self._calls[event["toolCallId"]] = _OpenMessage(CompactedFrame(number, framed))

    def _call_args(self, number: int, event: Event, framed: bytes) -> None:
        self._calls[event["toolCallId"]].append_delta(number, event, framed)

    def _call_end(self, number: int, event: Event, framed: bytes) -> None:
        identity = event["toolCallId"]
        self._flush(self._calls, identity, self._calls[identity], *_CALL, CompactedFrame(number, framed))


_TEXT = ("TEXT_MESSAGE_CONTENT", "messageId")
_CALL = ("TOOL_CALL_ARGS", "toolCallId")

Handler = Callable[[Compactor, int, Event, bytes], None]

OTHER: Handler = Compactor._other
"""What is done with every type that `FOLDS` does not name."""

HANDLERS: Mapping[str, Handler] = {
    "RUN_STARTED": Compactor._run_started,
    "RUN_FINISHED": Compactor._terminal,
    "RUN_ERROR": Compactor._terminal,
    "STATE_SNAPSHOT": Compactor._state,
    "STATE_DELTA": Compactor._state,
    "TEXT_MESSAGE_START": Compactor._text_start,
    "TEXT_MESSAGE_CONTENT": Compactor._text_content,
    "TEXT_MESSAGE_END": Compactor._text_end,
    "TOOL_CALL_START": Compactor._call_start,
    "TOOL_CALL_ARGS": Compactor._call_args,
    "TOOL_CALL_END": Compactor._call_end,
}
