"""The messages at the end of a run (docs/protocol.md, section 11; AG-UI's rules for messages)."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest

from copilot_runtime._events import apply_events
from copilot_runtime._events.json_patch import CopyBudget, apply_json_patch, patch_or_restore

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, step, text

Message = dict[str, Any]

USER: Message = {"id": "u", "role": "user", "content": "hi"}


def tool_call(identity: str = "c", arguments: str = "", name: str = "search") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def activity(content: Any) -> Message:
    return {"id": "act", "role": "activity", "activityType": "PLAN", "content": content}


def activity_event(kind: str, **members: Any) -> Event:
    return {"type": f"ACTIVITY_{kind}", "messageId": "act", "activityType": "PLAN", **members}


TABLE: dict[str, tuple[list[Message], list[Event], list[Message]]] = {
    "nothing": ([], [], []),
    "existing messages stay": ([USER], [STARTED, custom(), step("STARTED"), FINISHED], [USER]),
    "a text": (
        [USER],
        [text("START"), text("CONTENT", delta="Hel"), text("CONTENT", delta="lo"), text("END")],
        [USER, {"id": "m", "role": "assistant", "content": "Hello"}],
    ),
    "a text of another role, with a name": (
        [],
        [text("START", role="user", name="Ada"), text("END")],
        [{"id": "m", "role": "user", "name": "Ada", "content": ""}],
    ),
    "a text without a role": (
        [],
        [{"type": "TEXT_MESSAGE_START", "messageId": "m"}],
        [{"id": "m", "role": "assistant", "content": ""}],
    ),
    "two texts at once": (
        [],
        [text("START", "a"), text("START", "b"), text("CONTENT", "a", delta="1"), text("CONTENT", "b", delta="2")],
        [{"id": "a", "role": "assistant", "content": "1"}, {"id": "b", "role": "assistant", "content": "2"}],
    ),
    "a text that continues": (
        [{"id": "m", "role": "assistant", "content": "old "}],
        [text("START"), text("CONTENT", delta="new"), text("END")],
        [{"id": "m", "role": "assistant", "content": "old new"}],
    ),
    "a call with a known parent": (
        [],
        [
            text("START"),
            text("END"),
            call("START", parentMessageId="m"),
            call("ARGS", delta="{"),
            call("ARGS", delta="}"),
        ],
        [{"id": "m", "role": "assistant", "content": "", "toolCalls": [tool_call(arguments="{}")]}],
    ),
    "a call with an unknown parent": (
        [USER],
        [call("START", parentMessageId="p"), call("ARGS", delta="{}"), call("END")],
        [USER, {"id": "p", "role": "assistant", "toolCalls": [tool_call(arguments="{}")]}],
    ),
    "a call without a parent": (
        [],
        [call("START"), call("END")],
        [{"id": "c", "role": "assistant", "toolCalls": [tool_call()]}],
    ),
    "two calls of one parent": (
        [],
        [
            call("START", "a", parentMessageId="p"),
            call("START", "b", parentMessageId="p"),
            call("ARGS", "a", delta="1"),
        ],
        [{"id": "p", "role": "assistant", "toolCalls": [tool_call("a", "1"), tool_call("b")]}],
    ),
    "a result": (
        [],
        [call("RESULT", messageId="r", content="sunny")],
        [{"id": "r", "role": "tool", "toolCallId": "c", "content": "sunny"}],
    ),
    "a result of parts": (
        [],
        [call("RESULT", messageId="r", content=[{"type": "text", "text": "x"}])],
        [{"id": "r", "role": "tool", "toolCallId": "c", "content": [{"type": "text", "text": "x"}]}],
    ),
    "reasoning": (
        [],
        [
            {"type": "REASONING_MESSAGE_START", "messageId": "th", "role": "reasoning"},
            {"type": "REASONING_MESSAGE_CONTENT", "messageId": "th", "delta": "hm"},
            {"type": "REASONING_MESSAGE_CONTENT", "messageId": "th", "delta": "m"},
            {"type": "REASONING_MESSAGE_END", "messageId": "th"},
        ],
        [{"id": "th", "role": "reasoning", "content": "hmm"}],
    ),
    "a snapshot replaces all messages": (
        [USER],
        [
            text("START"),
            {"type": "MESSAGES_SNAPSHOT", "messages": [USER, {"id": "x", "role": "assistant", "content": "y"}]},
        ],
        [USER, {"id": "x", "role": "assistant", "content": "y"}],
    ),
    "a snapshot without activities and reasoning leaves them where they are": (
        [USER, activity({"step": 1}), {"id": "th", "role": "reasoning", "content": "hm"}],
        [
            {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "x", "role": "assistant", "content": "y"}, USER]},
            activity_event("DELTA", patch=[{"op": "replace", "path": "/step", "value": 2}]),
        ],
        [
            USER,
            activity({"step": 2}),
            {"id": "th", "role": "reasoning", "content": "hm"},
            {"id": "x", "role": "assistant", "content": "y"},
        ],
    ),
    "a snapshot with an activity replaces all of them": (
        [USER, activity({"step": 1}), {"id": "th", "role": "reasoning", "content": "hm"}],
        [{"type": "MESSAGES_SNAPSHOT", "messages": [{**activity({"step": 2}), "id": "other"}]}],
        [{"id": "th", "role": "reasoning", "content": "hm"}, {**activity({"step": 2}), "id": "other"}],
    ),
    "an activity": (
        [],
        [
            activity_event("SNAPSHOT", content={"steps": ["x"]}),
            activity_event("DELTA", patch=[{"op": "add", "path": "/steps/-", "value": "y"}]),
        ],
        [activity({"steps": ["x", "y"]})],
    ),
    "an existing activity is replaced": (
        [activity({"old": 1})],
        [activity_event("SNAPSHOT", content={"new": 1})],
        [activity({"new": 1})],
    ),
    "an existing activity is not replaced": (
        [activity({"old": 1})],
        [activity_event("SNAPSHOT", content={"new": 1}, replace=False)],
        [activity({"old": 1})],
    ),
    "a patch that does not apply": (
        [activity({"old": 1})],
        [activity_event("DELTA", patch=[{"op": "replace", "path": "/none/of/it", "value": 1}])],
        [activity({"old": 1})],
    ),
    "an activity's delta without an activity": ([], [activity_event("DELTA", patch=[])], []),
    "content for a message of parts": (
        [{"id": "m", "role": "user", "content": [{"type": "text", "text": "x"}]}],
        [text("START"), text("CONTENT", delta="more")],
        [{"id": "m", "role": "user", "content": [{"type": "text", "text": "x"}]}],
    ),
}


@pytest.mark.requirement("THREADS-02")
@pytest.mark.parametrize("name", TABLE)
def test_messages(name: str) -> None:
    messages, events, expected = TABLE[name]
    assert apply_events(messages, events) == expected


# Stores pass the same objects each time that messages are requested.
KEPT: dict[str, tuple[list[Message], list[Event]]] = {
    "an activity's delta": (
        [activity({"steps": ["x"]})],
        [activity_event("DELTA", patch=[{"op": "add", "path": "/steps/-", "value": "y"}])],
    ),
    "arguments of an existing call": (
        [{"id": "p", "role": "assistant", "toolCalls": [tool_call(arguments="{")]}],
        [call("START", parentMessageId="p"), call("ARGS", delta="}")],
    ),
    "a text that continues": ([{"id": "m", "role": "assistant", "content": "old "}], [text("START"), text("CONTENT")]),
    **{name: (messages, events) for name, (messages, events, _) in TABLE.items()},
}


@pytest.mark.parametrize("name", KEPT)
def test_arguments_are_not_changed(name: str) -> None:
    messages, events = copy.deepcopy(KEPT[name])
    first = apply_events(messages, events)
    assert (messages, events) == KEPT[name]
    assert apply_events(messages, events) == first


@pytest.mark.parametrize(
    "message",
    [
        {"id": "p", "role": "assistant", "content": None, "toolCalls": None},
        {"id": "p", "role": "assistant", "toolCalls": "nonsense"},
        {"id": "p", "role": "assistant", "toolCalls": [{}]},
        {"id": "p", "role": "assistant", "toolCalls": [{"id": "c"}]},
        {"id": "p", "role": "assistant", "toolCalls": [{"id": "c", "function": None}]},
        {"id": "p", "role": "assistant", "toolCalls": [{"id": "c", "function": "nonsense"}]},
        {"id": "p", "role": "assistant", "toolCalls": [{"id": "c", "function": {"arguments": None}}]},
        {"id": "p", "role": "assistant", "toolCalls": [{"id": "c", "function": {"arguments": {}}}]},
        {"id": "p", "role": "assistant", "toolCalls": [{"id": "c", "function": {"arguments": [1]}}]},
        {"id": "p", "role": "assistant", "toolCalls": [None]},
    ],
    ids=str,
)
def test_invalid_tool_calls_in_a_snapshot_are_ignored(message: Message) -> None:
    """The messages of a snapshot are not validated, and clients send nulls."""
    events = [
        {"type": "MESSAGES_SNAPSHOT", "messages": [message]},
        text("START", "p"),
        text("CONTENT", "p"),
        call("START", parentMessageId="p"),
        call("ARGS", delta="{}"),
        call("START", "d"),
        call("ARGS", "d", delta="{}"),
    ]
    after = apply_events([], events)
    assert after[-1]["toolCalls"] == [tool_call("d", "{}")]


@pytest.mark.parametrize("seed", range(20))
def test_activity_patch_that_does_not_apply_changes_nothing(seed: int) -> None:
    """Whatever it has done before the operation that fails; and one that applies does what it does to a copy."""
    random = Random(seed)

    def value(depth: int = 0) -> Any:
        kind = random.randrange(5) if depth < 3 else 0
        if kind < 2:
            return random.choice([1, "x", None, True])
        values = [value(depth + 1) for _ in range(random.randrange(4))]
        return values if kind == 2 else dict(zip("abcd", values, strict=False))

    def path() -> str:
        return "".join(f"/{random.choice('abc012-')}" for _ in range(random.randrange(3)))

    for _ in range(100):
        document = value()
        kinds = random.choices(["add", "remove", "replace", "move", "copy", "test"], k=random.randrange(1, 5))
        patch = [{"op": kind, "path": path(), "from": path(), "value": value(2)} for kind in kinds]
        before, given = copy.deepcopy(document), copy.deepcopy(patch)
        try:
            expected = apply_json_patch(copy.deepcopy(document), copy.deepcopy(patch), CopyBudget())
        except ValueError:
            with pytest.raises(ValueError, match="does not apply"):
                patch_or_restore(document, patch, CopyBudget())
            assert document == before
        else:
            assert patch_or_restore(document, patch, CopyBudget()) == expected
        assert patch == given
