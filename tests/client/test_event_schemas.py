"""Every event that the recorder accepts is one that both generations of the client accept, and the other way round.

The events are complete examples of every type, in which one value at a time is replaced, or removed, at every depth.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._events import InvalidEventError, RunRecorder, encode, format_frame, repair_frames
from tests.unit.recorder_helpers import read_frame

from .test_client import missing_requirement

pytestmark = pytest.mark.client

HERE = Path(__file__).parent
Event = dict[str, Any]
Path_ = tuple[str | int, ...]

METADATA = {"k": None}
CALL = {
    "id": "c",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
    "encryptedValue": "e",
    "metadata": METADATA,
}
OWN = {"encryptedValue": "e", "subagentRunId": "s", "metadata": METADATA}
PARTS: list[Event] = [
    {"type": "text", "text": "t", "id": "p", "metadata": METADATA},
    {"type": "image", "source": {"type": "data", "value": "AA==", "mimeType": "image/png"}, "metadata": METADATA},
    {"type": "audio", "source": {"type": "url", "value": "https://a.example", "mimeType": "audio/wav"}, "id": "p"},
    {"type": "document", "source": {"type": "file", "value": "file-1", "mimeType": "x/y", "provider": "openai"}},
    {"type": "binary", "mimeType": "image/png", "id": "i", "url": "u", "data": "AA==", "filename": "f"},
]
MESSAGES: list[Event] = [
    {"id": "1", "role": "developer", "content": "x", "name": "n", **OWN},
    {"id": "2", "role": "system", "content": "x", "name": "n", **OWN},
    {"id": "3", "role": "assistant", "content": "x", "name": "n", "toolCalls": [CALL], **OWN},
    {"id": "4", "role": "user", "content": PARTS, "name": "n", **OWN},
    {"id": "5", "role": "tool", "content": "x", "toolCallId": "c", "error": "no", **OWN},
    {"id": "6", "role": "tool", "content": PARTS[:4], "toolCallId": "c"},
    {"id": "7", "role": "activity", "activityType": "PLAN", "content": {"a": None}, **OWN},
    {"id": "8", "role": "reasoning", "content": "x", **OWN},
]
INPUT: Event = {
    "threadId": "t",
    "runId": "r",
    "parentRunId": "p",
    "protocolVersion": "1.0",
    "state": {"a": None},
    "messages": MESSAGES,
    "tools": [{"name": "f", "description": "d", "parameters": {"default": None}, "metadata": METADATA}],
    "context": [{"description": "d", "value": "v"}],
    "forwardedProps": {"a": None},
    "resume": [{"interruptId": "i", "status": "resolved", "payload": {"a": None}, "metadata": METADATA}],
}
INTERRUPT = {
    "id": "i",
    "reason": "tool_call",
    "message": "m",
    "toolCallId": "c",
    "responseSchema": {"default": None},
    "expiresAt": "2026-01-01T00:00:00Z",
    "metadata": METADATA,
    "subagentRunId": "s",
}
COUNTS = ("inputTokens", "outputTokens", "totalTokens", "reasoningTokens", "cachedInputTokens", "cacheWriteInputTokens")
USAGE = [{"provider": "p", "model": "m", **dict.fromkeys(COUNTS, 3)}]
PATCH: list[Event] = [
    *({"op": op, "path": "/a/~0", "value": None} for op in ("add", "replace", "test")),
    {"op": "remove", "path": ""},
    *({"op": op, "path": "/a", "from": "/b"} for op in ("move", "copy")),
]
RUN = {"threadId": "t", "runId": "r"}
TEXT, TOOL, ACTIVITY = {"messageId": "m"}, {"toolCallId": "c"}, {"messageId": "m", "activityType": "PLAN"}

EXAMPLES: Sequence[Event] = [
    {"type": "RUN_STARTED", **RUN, "parentRunId": "p", "protocolVersion": "1.0", "input": INPUT},
    {"type": "RUN_FINISHED", **RUN, "result": {"a": None}, "outcome": {"type": "success"}, "usage": USAGE},
    {"type": "RUN_FINISHED", **RUN, "outcome": {"type": "success", "pendingToolCallIds": ["c"]}},
    {"type": "RUN_FINISHED", **RUN, "outcome": {"type": "interrupt", "interrupts": [INTERRUPT]}},
    {"type": "RUN_FINISHED", **RUN, "outcome": {"type": "cancelled"}},
    {"type": "RUN_ERROR", "message": "no", "code": "X", "usage": USAGE},
    {"type": "STEP_STARTED", "stepName": "s"},
    {"type": "STEP_FINISHED", "stepName": "s"},
    {"type": "TEXT_MESSAGE_START", **TEXT, "role": "assistant", "name": "n"},
    {"type": "TEXT_MESSAGE_CONTENT", **TEXT, "delta": "x"},
    {"type": "TEXT_MESSAGE_END", **TEXT},
    {"type": "TEXT_MESSAGE_CHUNK", **TEXT, "role": "assistant", "name": "n", "delta": "x"},
    {"type": "TOOL_CALL_START", **TOOL, "toolCallName": "f", "parentMessageId": "m"},
    {"type": "TOOL_CALL_ARGS", **TOOL, "delta": "{}"},
    {"type": "TOOL_CALL_END", **TOOL},
    {"type": "TOOL_CALL_CHUNK", **TOOL, "toolCallName": "f", "parentMessageId": "m", "delta": "{}"},
    {"type": "TOOL_CALL_RESULT", **TEXT, **TOOL, "content": "x", "role": "tool"},
    {"type": "TOOL_CALL_RESULT", **TEXT, **TOOL, "content": PARTS[:4], "role": "tool"},
    {"type": "STATE_SNAPSHOT", "snapshot": {"a": None}},
    {"type": "STATE_DELTA", "delta": PATCH},
    {"type": "MESSAGES_SNAPSHOT", "messages": MESSAGES},
    {"type": "ACTIVITY_SNAPSHOT", **ACTIVITY, "content": {"a": None}, "replace": True},
    {"type": "ACTIVITY_DELTA", **ACTIVITY, "patch": PATCH},
    {"type": "RAW", "event": {"a": None}, "source": "s"},
    {"type": "CUSTOM", "name": "n", "value": {"a": None}},
    {"type": "REASONING_START", **TEXT},
    {"type": "REASONING_MESSAGE_START", **TEXT, "role": "reasoning"},
    {"type": "REASONING_MESSAGE_CONTENT", **TEXT, "delta": "x"},
    {"type": "REASONING_MESSAGE_END", **TEXT},
    {"type": "REASONING_MESSAGE_CHUNK", **TEXT, "delta": "x"},
    {"type": "REASONING_END", **TEXT},
    {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "tool-call", "entityId": "c", "encryptedValue": "e"},
    {
        "type": "SUBAGENT_STARTED",
        "subagentRunId": "s",
        "name": "n",
        "description": "d",
        "parentSubagentRunId": "p",
        "parentToolCallId": "c",
        "parentMessageId": "m",
    },
    {"type": "SUBAGENT_FINISHED", "subagentRunId": "s", "result": {"a": None}, "outcome": {"type": "success"}},
    {"type": "SUBAGENT_FINISHED", "subagentRunId": "s", "outcome": {"type": "suspended", "interruptIds": ["i"]}},
    {"type": "SUBAGENT_ERROR", "subagentRunId": "s", "message": "no", "code": "X"},
    {"type": "THINKING_START", "title": "t"},
    {"type": "THINKING_TEXT_MESSAGE_START"},
    {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "x"},
    {"type": "THINKING_TEXT_MESSAGE_END"},
    {"type": "THINKING_END"},
]
EVERY_TYPE = {"timestamp": 12, "rawEvent": {"a": None}, "metadata": METADATA, "subagentRunId": "s"}
BEFORE: Mapping[str, Sequence[Event]] = {
    "TEXT_MESSAGE_CONTENT": [{"type": "TEXT_MESSAGE_START", **TEXT}],
    "TEXT_MESSAGE_END": [{"type": "TEXT_MESSAGE_START", **TEXT}],
    "TOOL_CALL_ARGS": [{"type": "TOOL_CALL_START", **TOOL, "toolCallName": "f"}],
    "TOOL_CALL_END": [{"type": "TOOL_CALL_START", **TOOL, "toolCallName": "f"}],
    "STEP_FINISHED": [{"type": "STEP_STARTED", "stepName": "s"}],
}

REMOVED = object()
REPLACEMENTS = (
    REMOVED, None, 0, -1, 1.5, 7, 2**60, True, "", "x", "ai", "assistant", "/a", [], {}, [None], [1], ["x"], [{}],
    {"type": "cancelled"}, {"type": "file", "value": "f"}, {"a": None}, [{"type": "text", "text": "t"}],
)  # fmt: skip

ORDER = ("is not open", "is already open", "not allowed")
# What is refused although clients go on: 0.0.59 checks no patches, 1.0.0 drops what has no known type, and no client
# checks the attribution of an event that belongs to no subagent.
STRICTER = ("].op must be a string", "subagentRunId must be a string")


def is_chunk(event: Event) -> bool:
    return bool(event["type"].endswith("_CHUNK"))


def paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yields the path of every value inside a value."""
    for step, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if (*path, step) != ("type",):
            yield (*path, step)
            yield from paths(item, (*path, step))


def variants(example: Event) -> Iterator[Event]:
    """Yields an event, and each of its variants."""
    yield example
    for *parents, last in paths(example):
        for replacement in REPLACEMENTS:
            variant = copy.deepcopy(example)
            container: Any = variant
            for step in parents:
                container = container[step]
            if replacement is REMOVED:
                del container[last]
            else:
                container[last] = copy.deepcopy(replacement)
            yield variant


def record(event: Event) -> list[Event] | str:
    """Returns what a client receives for an event, or why it is refused."""
    recorder = RunRecorder(ordinal=1)
    first = [] if event["type"] == "RUN_STARTED" else [{"type": "RUN_STARTED", **RUN}]
    for earlier in (*first, *BEFORE.get(event["type"], ())):
        recorder.feed(earlier)
    recorder.drain()
    try:
        recorder.feed(event)
    except InvalidEventError as error:
        return str(error)
    return [read_frame(frame).event for frame in recorder.drain()]


def stored(event: Event) -> Event:
    """Returns an event as an earlier version may have stored it: without regard to what is inside of its members."""
    return {name: value for name, value in event.items() if value is not None}


Verdict = Mapping[str, str | None]
"""Why each generation of the client rejects an event, if it does."""

_known: dict[str, Verdict] = {}
"""By event, as JSON: two of three are the same as others, in this test or in another."""


def verdicts(events: Sequence[Event]) -> list[Verdict]:
    lines = [json.dumps(event) for event in events]
    if new := [line for line in dict.fromkeys(lines) if line not in _known]:
        done = subprocess.run(
            ["node", str(HERE / "schemas.mjs")],
            input="".join(f"{line}\n" for line in new),
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        _known.update(zip(new, map(json.loads, done.stdout.splitlines()), strict=True))
    return [_known[line] for line in lines]


@pytest.fixture(scope="module", autouse=True)
def needs_node() -> None:
    if missing := missing_requirement():
        pytest.skip(missing)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return [variant for example in EXAMPLES for variant in variants({**EVERY_TYPE, **example})]


@pytest.fixture(scope="module")
def received(events: list[Event]) -> list[list[Event] | str]:
    return [record(copy.deepcopy(event)) for event in events]


def rejected(events: Sequence[Event]) -> list[str]:
    """Returns the events that a generation of the client rejects, with the reason."""
    return [
        f"{event}: {verdict}" for event, verdict in zip(events, verdicts(events), strict=True) if any(verdict.values())
    ]


@pytest.mark.requirement("EVENT-01")
def test_recorded_events_are_accepted_by_both_generations_of_the_client(received: list[list[Event] | str]) -> None:
    accepted = [event for result in received if isinstance(result, list) for event in result]
    assert len(accepted) > 5000
    assert rejected(accepted) == []


@pytest.mark.requirement("EVENT-01")
def test_refused_events_are_rejected_by_a_generation_of_the_client(
    events: list[Event], received: list[list[Event] | str]
) -> None:
    refused = [
        (event, reason)
        for event, reason in zip(events, received, strict=True)
        if isinstance(reason, str) and not is_chunk(event) and not any(text in reason for text in (*ORDER, *STRICTER))
    ]
    assert len(refused) > 1000
    needless = zip(refused, verdicts([event for event, _ in refused]), strict=True)
    assert [f"{reason}: {event}" for (event, reason), verdict in needless if not any(verdict.values())] == []


@pytest.mark.requirement("EVENT-03")
def test_stored_events_are_replayed_as_both_generations_of_the_client_accept_them(events: list[Event]) -> None:
    frames = [format_frame(encode(stored(event)), b"id: 1.", 1) for event in events if not is_chunk(event)]
    replayed = [read_frame(frame).event for frame in repair_frames(frames)]
    assert len(replayed) > 5000
    assert rejected(replayed) == []
