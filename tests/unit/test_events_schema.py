"""What is inside of events: nulls and gaps, what clients before AG-UI 1.0 cannot read, and what is stored already."""

from __future__ import annotations

import copy
import json
from typing import Any

import ag_ui.core
import pytest

from copilot_runtime._events import InputEcho, InvalidEventError, RunRecorder, encode, format_frame, repair_frames
from copilot_runtime._events.shapes import MESSAGE

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, read_frame, recorded, run_input, shown, text

USER: Event = {"id": "u", "role": "user", "content": "hi"}


def snapshot(*messages: Any) -> Event:
    return {"type": "MESSAGES_SNAPSHOT", "messages": list(messages)}


def received(event: Event) -> Event:
    """Returns an event of a run as a client receives it."""
    before = [] if event["type"] == "RUN_STARTED" else [STARTED]
    return shown([*before, event])[-1]


# --- nulls and gaps

CLEANED: dict[str, tuple[Event, Event]] = {
    "a message": (
        snapshot({**USER, "name": None, "metadata": None, "encryptedValue": None, "subagentRunId": None}),
        snapshot(USER),
    ),
    "an assistant's message": (
        snapshot({"id": "a", "role": "assistant", "name": None, "content": None, "toolCalls": None}),
        snapshot({"id": "a", "role": "assistant"}),
    ),
    "a tool call": (
        snapshot(
            {
                "id": "a",
                "role": "assistant",
                "toolCalls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}", "parsed": None},
                        "encryptedValue": None,
                    }
                ],
            }
        ),
        snapshot(
            {
                "id": "a",
                "role": "assistant",
                "toolCalls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }
        ),
    ),
    "a tool's message": (
        snapshot({"id": "r", "role": "tool", "toolCallId": "c", "content": "3", "error": None}),
        snapshot({"id": "r", "role": "tool", "toolCallId": "c", "content": "3"}),
    ),
    "content parts": (
        snapshot(
            {
                **USER,
                "content": [
                    {"type": "text", "text": "x", "id": None},
                    {
                        "type": "image",
                        "source": {"type": "url", "value": "https://a.example", "mimeType": None},
                        "metadata": None,
                    },
                ],
            }
        ),
        snapshot(
            {
                **USER,
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image", "source": {"type": "url", "value": "https://a.example"}},
                ],
            }
        ),
    ),
    "an input": (
        {
            **STARTED,
            "input": run_input(
                messages=[{**USER, "name": None}],
                tools=[{"name": "f", "description": "d", "parameters": {"default": None}, "metadata": None}],
                resume=[{"interruptId": "i", "status": "resolved", "payload": None}],
                parentRunId=None,
                state=None,
                forwardedProps=None,
            ),
        },
        {
            **STARTED,
            "input": run_input(
                messages=[USER],
                tools=[{"name": "f", "description": "d", "parameters": {"default": None}}],
                resume=[{"interruptId": "i", "status": "resolved"}],
            ),
        },
    ),
    "an input without lists": (
        {**STARTED, "input": {"threadId": "t", "runId": "r", "messages": [USER], "tools": None}},
        {**STARTED, "input": run_input(messages=[USER])},
    ),
    "an interrupt": (
        {
            **FINISHED,
            "outcome": {
                "type": "interrupt",
                "interrupts": [{"id": "i", "reason": "r", "message": None, "responseSchema": {"default": None}}],
            },
        },
        {
            **FINISHED,
            "outcome": {
                "type": "interrupt",
                "interrupts": [{"id": "i", "reason": "r", "responseSchema": {"default": None}}],
            },
        },
    ),
    "usage": (
        {**FINISHED, "usage": [{"model": "m", "provider": None, "inputTokens": 3, "reasoningTokens": None}]},
        {**FINISHED, "usage": [{"model": "m", "inputTokens": 3}]},
    ),
    "counts that are none": (
        {**FINISHED, "usage": [{"inputTokens": 1.5, "outputTokens": "3", "totalTokens": -1, "reasoningTokens": 0}]},
        {**FINISHED, "usage": [{"reasoningTokens": 0}]},
    ),
    "a timestamp in seconds": (custom() | {"timestamp": 1712345678.9}, custom() | {"timestamp": 1712345678}),
    "a timestamp in nanoseconds": (custom() | {"timestamp": 1712345678 * 10**9}, custom()),
    "a patch": (
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/a", "value": {"b": None}, "from": None}]},
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/a", "value": {"b": None}}]},
    ),
}


@pytest.mark.requirement("SSE-03")
@pytest.mark.parametrize("name", CLEANED)
def test_nulls_inside_of_members_are_dropped(name: str) -> None:
    event, expected = CLEANED[name]
    before = copy.deepcopy(event)
    assert received(event) == expected
    assert event == before


VALUES: dict[str, Event] = {
    "state": {"type": "STATE_SNAPSHOT", "snapshot": {"a": None, "b": [None]}},
    "no state": {"type": "STATE_SNAPSHOT", "snapshot": None},
    "a patch": {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/a", "value": None}]},
    "a custom value": custom({"a": None}),
    "an event of a provider": {"type": "RAW", "event": {"a": None}},
    "metadata": {**text("START"), "metadata": {"a": None}},
    "metadata of a message": snapshot({**USER, "metadata": {"a": None}}),
    "an activity": {"type": "ACTIVITY_SNAPSHOT", "messageId": "m", "activityType": "P", "content": {"a": None}},
    "an activity in a snapshot": snapshot({"id": "p", "role": "activity", "activityType": "P", "content": {"a": None}}),
    "a result": {**FINISHED, "result": {"a": None}},
    "an input": {
        **STARTED,
        "input": run_input(
            state={"a": None},
            forwardedProps={"a": [None]},
            tools=[{"name": "f", "description": "d", "parameters": {"enum": [None]}}],
            resume=[{"interruptId": "i", "status": "resolved", "payload": {"a": None}}],
        ),
    },
}


@pytest.mark.requirement("SSE-03")
@pytest.mark.parametrize("name", VALUES)
def test_nulls_that_are_values_are_kept(name: str) -> None:
    assert received(VALUES[name]) == VALUES[name]


WRONG: dict[str, tuple[Event, str]] = {
    "no tool call id": (
        snapshot(USER, USER, USER, {"id": "r", "role": "tool", "content": "3"}),
        "MESSAGES_SNAPSHOT: messages[3].toolCallId must be a string",
    ),
    "a null for a tool call id": (
        snapshot({"id": "r", "role": "tool", "content": "3", "toolCallId": None}),
        "MESSAGES_SNAPSHOT: messages[0].toolCallId must be a string",
    ),
    "another framework's role": (
        snapshot({**USER, "role": "ai"}),
        "MESSAGES_SNAPSHOT: messages[0].role must be one of developer, system, assistant, user, tool, activity, "
        "reasoning",
    ),
    "arguments that are an object": (
        snapshot({"id": "a", "role": "assistant", "toolCalls": [call("x") | {"function": {}, "id": "c"}]}),
        "MESSAGES_SNAPSHOT: messages[0].toolCalls[0].type must be one of function",
    ),
    "no content": (
        snapshot({"id": "u", "role": "user", "content": None}),
        "MESSAGES_SNAPSHOT: messages[0].content must be a string or a list of content parts",
    ),
    "a part of an unknown type": (
        snapshot({**USER, "content": [{"type": "image_url", "image_url": "u"}]}),
        "MESSAGES_SNAPSHOT: messages[0].content[0].type must be one of text, image, audio, video, document, binary",
    ),
    "a source without a value": (
        snapshot({**USER, "content": [{"type": "image", "source": {"type": "url"}}]}),
        "MESSAGES_SNAPSHOT: messages[0].content[0].source.value must be a string",
    ),
    "an interrupt without a reason": (
        {**FINISHED, "outcome": {"type": "interrupt", "interrupts": [{"id": "i", "reason": None}]}},
        "RUN_FINISHED: outcome.interrupts[0].reason must be a string",
    ),
    "no interrupts": (
        {**FINISHED, "outcome": {"type": "interrupt", "interrupts": []}},
        "RUN_FINISHED: outcome.interrupts must not be empty",
    ),
    "a patch that names no place": (
        {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "items"}]},
        "STATE_DELTA: delta[0].path must be a JSON Pointer, such as /items/0",
    ),
    "a title that is a number": ({"type": "THINKING_START", "title": 7}, "THINKING_START: title must be a string"),
}


@pytest.mark.requirement("EVENT-01")
@pytest.mark.parametrize("name", WRONG)
def test_invalid_values_inside_of_members_are_refused_and_located(name: str) -> None:
    event, problem = WRONG[name]
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError) as caught:
        recorder.feed(event)
    assert str(caught.value) == problem
    assert recorder.drain() == []


def test_input_of_a_run_is_shown_without_what_clients_would_reject() -> None:
    """No run should fail for what it was called with."""
    odd = run_input(
        messages=[USER, 7, {"id": "x", "role": "ai", "content": "x"}, {"id": "v", "role": "user"}],
        tools=[{"name": "f"}, {"name": "g", "description": "d"}],
    )
    expected = run_input(
        messages=[USER, {"id": "v", "role": "user", "content": ""}], tools=[{"name": "g", "description": "d"}]
    )
    assert received({**STARTED, "input": odd})["input"] == expected
    recorder, frames = recorded([STARTED], input_echo=lambda: odd)
    assert read_frame(frames[0]).event["input"] == expected
    assert recorder.input_ids == {"u", "x", "v"}


def test_input_ids_of_further_runs_are_added_in_place() -> None:
    echo = InputEcho(b"{}", ("u",))
    recorder = RunRecorder(ordinal=1, input_echo=lambda: echo)
    recorder.feed(STARTED)
    for message in "vw":
        ids = recorder._input_ids
        recorder.feed(FINISHED)
        recorder.feed({**STARTED, "input": run_input(messages=[{"id": message, "role": "user", "content": ""}])})
    assert recorder._input_ids is ids  # not a copy at each run, which would be quadratic
    assert recorder.input_ids == {"u", "v", "w"}
    assert echo.message_ids == ("u",)


def test_models_and_dicts_are_cleaned_alike() -> None:
    message = ag_ui.core.ToolMessage(id="r", role="tool", tool_call_id="c", content="3")
    assert received(snapshot(message)) == received(snapshot(message.model_dump(by_alias=True, exclude_none=False)))


def test_values_that_need_no_change_are_not_copied() -> None:
    messages = [USER, {"id": "a", "role": "assistant", "content": "x" * 100, "toolCalls": []}]
    assert all(MESSAGE(message) is message for message in messages)


# --- what clients before AG-UI 1.0 cannot read


def result(content: Any) -> Event:
    return call("RESULT", content=content)


PARTS = [
    {"type": "text", "text": "one"},
    {"type": "text", "text": "two", "id": "p"},
    {"type": "image", "source": {"type": "url", "value": "https://a.example/1.png", "mimeType": "image/png"}},
    {"type": "audio", "source": {"type": "data", "value": "AAAA", "mimeType": "audio/wav"}},
    {"type": "document", "source": {"type": "file", "value": "file-1"}, "metadata": {"filename": "a.pdf"}},
    {"type": "resource", "uri": "x"},
]
AS_TEXT = """\
one
two
[Attachment: image (image/png, https://a.example/1.png)]
[Attachment: audio (audio/wav)]
[Attachment: document (a.pdf, file-1)]
[Attachment: resource]"""

READABLE: dict[str, tuple[Event, Event]] = {
    "a cancelled run": ({**FINISHED, "outcome": {"type": "cancelled"}}, FINISHED),
    "an outcome of a later version": ({**FINISHED, "outcome": {"type": "paused", "until": 3}}, FINISHED),
    "pending tool calls": (
        {**FINISHED, "outcome": {"type": "success", "pendingToolCallIds": ["c"]}},
        {**FINISHED, "outcome": {"type": "success"}},
    ),
    "a suspended subagent": (
        {
            "type": "SUBAGENT_FINISHED",
            "subagentRunId": "s",
            "outcome": {"type": "suspended", "interruptIds": ["i"], "more": 1},
        },
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "s", "outcome": {"type": "suspended", "interruptIds": ["i"]}},
    ),
    "parts of a result": (result(PARTS), result(AS_TEXT)),
    "no parts of a result": (result([]), result("")),
    "parts of a tool's message": (
        snapshot({"id": "r", "role": "tool", "toolCallId": "c", "content": PARTS[:2]}),
        snapshot({"id": "r", "role": "tool", "toolCallId": "c", "content": "one\ntwo"}),
    ),
    "a file at the provider": (
        snapshot({**USER, "content": [PARTS[4]]}),
        snapshot(
            {
                **USER,
                "content": [
                    {"type": "binary", "mimeType": "application/octet-stream", "id": "file-1", "filename": "a.pdf"}
                ],
            }
        ),
    ),
    "a snapshot of nothing": ({"type": "STATE_SNAPSHOT"}, {"type": "STATE_SNAPSHOT", "snapshot": None}),
    "a custom event without a value": ({"type": "CUSTOM", "name": "n"}, {"type": "CUSTOM", "name": "n", "value": None}),
    "a raw event without an event": ({"type": "RAW"}, {"type": "RAW", "event": None}),
    "a patch without a value": (
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/a"}]},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/a", "value": None}]},
    ),
    "reasoning without a role": (
        {"type": "REASONING_MESSAGE_START", "messageId": "m"},
        {"type": "REASONING_MESSAGE_START", "messageId": "m", "role": "reasoning"},
    ),
    "reasoning of an assistant": (
        {"type": "REASONING_MESSAGE_START", "messageId": "m", "role": "assistant"},
        {"type": "REASONING_MESSAGE_START", "messageId": "m", "role": "reasoning"},
    ),
}


@pytest.mark.requirement("EVENT-02")
@pytest.mark.parametrize("name", READABLE)
def test_events_have_a_form_that_every_client_can_read(name: str) -> None:
    event, expected = READABLE[name]
    assert received(event) == expected


@pytest.mark.parametrize("content", [None, 7, {}, ["text"], [None]])
def test_results_that_are_no_content_are_refused(content: Any) -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match=r"TOOL_CALL_RESULT: content"):
        recorder.feed(result(content))


# --- what is stored already


def frame_of(event: Event, number: int = 1) -> bytes:
    return format_frame(encode(event), b"id: 1.", number)


@pytest.mark.requirement("EVENT-03")
@pytest.mark.parametrize("name", [*CLEANED, *READABLE])
def test_stored_frames_are_cleaned(name: str) -> None:
    event, expected = {**CLEANED, **READABLE}[name]
    [frame] = repair_frames([frame_of(event, 7)])
    assert read_frame(frame) == ("1.7", expected)


@pytest.mark.requirement("EVENT-03")
@pytest.mark.parametrize("name", ["no tool call id", "another framework's role", "a patch that names no place"])
def test_stored_frames_without_a_form_that_clients_accept_are_left_out(name: str) -> None:
    start, end = frame_of(STARTED), frame_of(FINISHED, 3)
    assert repair_frames([start, frame_of(WRONG[name][0], 2), end]) == [start, end]


@pytest.mark.requirement("EVENT-03")
def test_stored_frames_keep_the_order_of_events() -> None:
    """A start or an end is never left out for the sake of an optional member."""
    events = [
        {**STARTED, "input": 7},
        {**text("START"), "name": None},
        {**FINISHED, "outcome": {"type": "interrupt", "interrupts": [{}]}, "usage": "all"},
        {"type": "RUN_ERROR", "message": "no", "code": 7},
    ]
    repaired = [json.loads(frame.partition(b"data: ")[2]) for frame in repair_frames(map(frame_of, events))]
    assert repaired == [
        STARTED,
        text("START"),
        FINISHED,
        {"type": "RUN_ERROR", "message": "no"},
    ]


@pytest.mark.parametrize("frame", [b"data: x\n\n", b": comment\n\n", b'data: {"type":"OF_A_LATER_VERSION"}\n\n'])
def test_stored_frames_that_are_not_known_are_kept(frame: bytes) -> None:
    assert repair_frames([frame]) == [frame]


def test_stored_frames_that_are_valid_are_the_same_objects() -> None:
    frames = [frame_of(event) for event in (STARTED, text("START"), text("CONTENT"), snapshot(USER), FINISHED)]
    assert all(new is old for new, old in zip(repair_frames(frames), frames, strict=True))
