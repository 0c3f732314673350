"""What tests of events share: feeding a recorder, and reading what it made."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple

from copilot_runtime._events import RunEnding, RunRecorder

Event = dict[str, Any]

STARTED: Event = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED: Event = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}


def run_input(**members: Any) -> Event:
    """An input in the form that clients of every version accept."""
    return {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": [], **members}


def started(**members: Any) -> Event:
    return {**STARTED, **members}


def text(kind: str, message: str = "m", **members: Any) -> Event:
    """A text event: ``kind`` is START, CONTENT or END."""
    more = {"START": {"role": "assistant"}, "CONTENT": {"delta": "x"}}.get(kind, {})
    return {"type": f"TEXT_MESSAGE_{kind}", "messageId": message, **more, **members}


def call(kind: str, identity: str = "c", **members: Any) -> Event:
    """A tool call event: ``kind`` is START, ARGS, END or RESULT."""
    more = {
        "START": {"toolCallName": "search"},
        "ARGS": {"delta": "{}"},
        "RESULT": {"messageId": f"{identity}-answer", "content": "found", "role": "tool"},
    }.get(kind, {})
    return {"type": f"TOOL_CALL_{kind}", "toolCallId": identity, **more, **members}


def step(kind: str, name: str = "plan") -> Event:
    return {"type": f"STEP_{kind}", "stepName": name}


def custom(value: Any = 1) -> Event:
    return {"type": "CUSTOM", "name": "mark", "value": value}


class Frame(NamedTuple):
    """A frame, read by a parser of the tests' own."""

    id: str | None
    event: Event


def read_frame(frame: bytes) -> Frame:
    """Takes a frame apart, and insists on its exact form."""
    *fields, blank, end = frame.decode().split("\n")
    assert (blank, end) == ("", "")
    members = dict(field.split(": ", 1) for field in fields)
    assert list(members) in (["data"], ["id", "data"])
    return Frame(members.get("id"), json.loads(members["data"]))


def events_of(frames: Iterable[bytes]) -> list[Event]:
    return [read_frame(frame).event for frame in frames]


def recorded(
    events: Iterable[Any],
    *,
    ending: RunEnding | None = None,
    ordinal: int | None = 1,
    input_echo: Callable[[], Mapping[str, Any]] | None = None,
    known_message_ids: Container[str] = (),
) -> tuple[RunRecorder, list[bytes]]:
    """A recorder that was fed, and all of its frames. ``ending`` completes the run."""
    recorder = RunRecorder(ordinal=ordinal, input_echo=input_echo, known_message_ids=known_message_ids)
    for event in events:
        recorder.feed(event)
    if ending is not None:
        recorder.complete(ending, "t", "r")
    return recorder, recorder.drain()


def shown(events: Iterable[Any], **options: Any) -> list[Event]:
    """The events that a client gets."""
    return events_of(recorded(events, **options)[1])
