"""Joins characters that an agent has cut in two.

Most emoji, for one, consist of two surrogates in UTF-16, which strings of JavaScript, Java and .NET are made of. Where
such an agent cuts its text between the two, one delta ends with a half that UTF-8 cannot represent, and the next delta
starts with the other one.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .sse import Event

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class _Stream(NamedTuple):
    """A text that arrives in deltas."""

    content: str
    """The type of the events with its deltas."""
    member: str
    """The member that holds its id."""
    id: Any


class _Streams(NamedTuple):
    content: str
    member: str
    end: str


_STREAMS = (
    _Streams("TEXT_MESSAGE_CONTENT", "messageId", "TEXT_MESSAGE_END"),
    _Streams("TOOL_CALL_ARGS", "toolCallId", "TOOL_CALL_END"),
    _Streams("REASONING_MESSAGE_CONTENT", "messageId", "REASONING_MESSAGE_END"),
    _Streams("THINKING_TEXT_MESSAGE_CONTENT", "messageId", "THINKING_TEXT_MESSAGE_END"),
)
_BY_CONTENT = {streams.content: streams for streams in _STREAMS}
_BY_END = {streams.end: streams for streams in _STREAMS}
_TERMINAL_TYPES = ("RUN_FINISHED", "RUN_ERROR")


def join_surrogates(text: str) -> str:
    """Returns a text with its pairs of surrogates joined and others replaced; the same object if it has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def ends_with_half(text: str) -> bool:
    """Returns whether a text ends with the first half of a character."""
    return "\ud800" <= text[-1:] <= "\udbff"


class SurrogateJoiner:
    """Keeps the first half of a character until its other half arrives, for each message and tool call."""

    __slots__ = ("_halves",)

    def __init__(self) -> None:
        self._halves: dict[_Stream, str] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether there are halves, so that events have to pass through `join`."""
        return bool(self._halves)

    def join(self, event: Event) -> Iterator[Event]:
        """Yields the events to record in place of ``event``, which gets the half that was kept for it.

        A half whose other half never arrives becomes a replacement character.
        """
        kind = event["type"]
        if kind in _TERMINAL_TYPES:
            halves, self._halves = self._halves, {}
            yield from map(_replacement, halves)
        elif kind in _BY_END:
            stream = _stream(_BY_END[kind], event)
            if self._halves.pop(stream, None):
                yield _replacement(stream)
        elif kind in _BY_CONTENT and isinstance(event.get("delta"), str):
            half = self._halves.pop(_stream(_BY_CONTENT[kind], event), "")
            event = {**event, "delta": half + event["delta"]}
        yield event

    def repair(self, event: Event) -> Event | None:
        """Returns an event that could not be encoded without surrogates, or None if nothing is left of it.

        The half that a delta ends with is kept. Returns the same object if the event has no surrogates.
        """
        streams = _BY_CONTENT.get(event["type"])
        if streams is not None and ends_with_half(event["delta"]):
            self._halves[_stream(streams, event)] = event["delta"][-1]
            event = {**event, "delta": event["delta"][:-1]}
            if not event["delta"] and "metadata" not in event:
                return None
        repaired = without_surrogates(event)
        return repaired if isinstance(repaired, dict) else event


def _stream(streams: _Streams, event: Event) -> _Stream:
    identity = event.get(streams.member)
    return _Stream(streams.content, streams.member, join_surrogates(identity) if isinstance(identity, str) else None)


def _replacement(stream: _Stream) -> Event:
    identity = {} if stream.id is None else {stream.member: stream.id}
    return {"type": stream.content, **identity, "delta": _REPLACEMENT}


def without_surrogates(value: Any) -> Any:
    """Returns a value with its pairs of surrogates joined and others replaced; the same object if it has none."""
    if isinstance(value, str):
        return join_surrogates(value)
    if isinstance(value, dict):
        members = {without_surrogates(name): without_surrogates(item) for name, item in value.items()}
        return value if _are_same((*value, *value.values()), (*members, *members.values())) else members
    if isinstance(value, (list, tuple)):
        items = [without_surrogates(item) for item in value]
        return value if _are_same(value, items) else items
    return value


def _are_same(old: Sequence[Any], new: Sequence[Any]) -> bool:
    return len(old) == len(new) and all(map(operator.is_, old, new))
