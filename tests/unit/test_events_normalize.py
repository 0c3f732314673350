"""What agents yield: models of `ag_ui.core` and plain dicts result in the same frames."""

from __future__ import annotations

import collections
import enum
import functools
import types
from typing import Any

import ag_ui.core
import pytest
from ag_ui.core import BaseEvent, EventType
from pydantic import BaseModel

from copilot_runtime._events import InvalidEventError

from ..ids import stable_id
from .recorder_helpers import FINISHED, STARTED, Event, call, events_of, recorded, shown, step, text

PATCH = [{"op": "add", "path": "/x", "value": None}]
USAGE = {"inputTokens": 3, "outputTokens": 4}
INPUT = {
    "threadId": "t",
    "runId": "r",
    "state": {"a": None},
    "messages": [{"id": "u1", "role": "user", "content": "hi"}],
    "tools": [],
    "context": [],
    "forwardedProps": {"k": [None]},
}
SUB = {"subagentRunId": "sub"}

# By type: the events before it, its members in wire form, and the events after it.
# Models are created from the same members.
EVENTS: dict[str, tuple[list[Event], dict[str, Any], list[Event]]] = {
    "RUN_STARTED": ([], {"threadId": "t", "runId": "r", "parentRunId": "p", "input": INPUT}, []),
    "RUN_FINISHED": ([STARTED], {"threadId": "t", "runId": "r", "result": {"ok": None}}, []),
    "RUN_ERROR": ([STARTED], {"message": "no", "code": "X"}, []),
    "STEP_STARTED": ([STARTED], {"stepName": "plan"}, []),
    "STEP_FINISHED": ([STARTED, step("STARTED")], {"stepName": "plan"}, []),
    "TEXT_MESSAGE_START": ([STARTED], {"messageId": "m", "role": "user"}, []),
    "TEXT_MESSAGE_CONTENT": ([STARTED, text("START")], {"messageId": "m", "delta": "größe\n\u2028"}, []),
    "TEXT_MESSAGE_END": ([STARTED, text("START")], {"messageId": "m"}, []),
    "TEXT_MESSAGE_CHUNK": ([STARTED], {"messageId": "m", "role": "user", "delta": "x"}, [FINISHED]),
    "TOOL_CALL_START": ([STARTED], {"toolCallId": "c", "toolCallName": "search", "parentMessageId": "m"}, []),
    "TOOL_CALL_ARGS": ([STARTED, call("START")], {"toolCallId": "c", "delta": "{}"}, []),
    "TOOL_CALL_END": ([STARTED, call("START")], {"toolCallId": "c"}, []),
    "TOOL_CALL_RESULT": (
        [STARTED],
        {"messageId": "m", "toolCallId": "c", "content": "found", "role": "tool"},
        [],
    ),
    "TOOL_CALL_CHUNK": (
        [STARTED],
        {"toolCallId": "c", "toolCallName": "search", "parentMessageId": "m", "delta": "{}"},
        [FINISHED],
    ),
    "STATE_SNAPSHOT": ([STARTED], {"snapshot": {"a": None, "b": [1, None]}}, []),
    "STATE_DELTA": ([STARTED], {"delta": PATCH}, []),
    "MESSAGES_SNAPSHOT": (
        [STARTED],
        {
            "messages": [
                {"id": "u1", "role": "user", "content": "hi"},
                {
                    "id": "a1",
                    "role": "assistant",
                    "toolCalls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"id": "r1", "role": "tool", "toolCallId": "c", "content": "found"},
            ]
        },
        [],
    ),
    "ACTIVITY_SNAPSHOT": (
        [STARTED],
        {"messageId": "m", "activityType": "PLAN", "content": {"steps": [None]}, "replace": False},
        [],
    ),
    "ACTIVITY_DELTA": ([STARTED], {"messageId": "m", "activityType": "PLAN", "patch": PATCH}, []),
    "RAW": ([STARTED], {"event": {"n": None}, "source": "s"}, []),
    "CUSTOM": ([STARTED], {"name": "progress", "value": {"percent": None}}, []),
    "REASONING_START": ([STARTED], {"messageId": "m"}, []),
    "REASONING_END": ([STARTED], {"messageId": "m"}, []),
    "REASONING_MESSAGE_START": ([STARTED], {"messageId": "m", "role": "reasoning"}, []),
    "REASONING_MESSAGE_CONTENT": ([STARTED], {"messageId": "m", "delta": "x"}, []),
    "REASONING_MESSAGE_END": ([STARTED], {"messageId": "m"}, []),
    "REASONING_MESSAGE_CHUNK": ([STARTED], {"messageId": "m", "delta": "x"}, [FINISHED]),
    "REASONING_ENCRYPTED_VALUE": ([STARTED], {"subtype": "message", "entityId": "m", "encryptedValue": "e"}, []),
    "SUBAGENT_STARTED": ([STARTED], {"subagentRunId": "sub", "name": "n"}, []),
    "SUBAGENT_FINISHED": ([STARTED], {"subagentRunId": "sub", "result": {"a": None}}, []),
    "SUBAGENT_ERROR": ([STARTED], {"subagentRunId": "sub", "message": "no", "code": "X"}, []),
    "THINKING_START": ([STARTED], {}, []),
    "THINKING_END": ([STARTED], {}, []),
    "THINKING_TEXT_MESSAGE_START": ([STARTED], {}, []),
    "THINKING_TEXT_MESSAGE_CONTENT": ([STARTED], {"delta": "x"}, []),
    "THINKING_TEXT_MESSAGE_END": ([STARTED], {}, []),
}


def model_classes() -> dict[str, type[BaseEvent]]:
    """Returns the models of the installed version of AG-UI, by type."""
    names = [name for name in dir(ag_ui.core) if name.endswith("Event") and name != "BaseEvent"]
    classes = [getattr(ag_ui.core, name) for name in names if isinstance(getattr(ag_ui.core, name), type)]
    return {
        str(kind.model_fields["type"].default.value): kind
        for kind in classes
        if issubclass(kind, BaseEvent) and isinstance(kind.model_fields["type"].default, EventType)
    }


MODELS = model_classes()


def test_the_table_has_every_type() -> None:
    assert {kind.value for kind in EventType} <= EVENTS.keys()
    assert MODELS.keys() == {kind.value for kind in EventType}


@pytest.mark.requirement("RUN-18")
@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("extra", [{}, {"timestamp": 12, "metadata": {"k": None}}], ids=["plain", "with-base-members"])
def test_a_model_and_a_dict_result_in_the_same_frames(kind: str, extra: dict[str, Any]) -> None:
    before, members, after = EVENTS[kind]
    known = {name: value for name, value in extra.items() if name in MODELS[kind].model_fields}
    model = MODELS[kind].model_validate({**members, **known})
    as_dict = {"type": kind, **members, **known}
    _, of_model = recorded([*before, model, *after])
    _, of_dict = recorded([*before, as_dict, *after])
    assert events_of(of_model) == events_of(of_dict)
    if not kind.endswith("_CHUNK"):
        assert events_of(of_model)[len(before)] == as_dict


@pytest.mark.parametrize("kind", sorted(kind for kind in EVENTS if not kind.endswith("_CHUNK")))
def test_a_dict_is_passed_on_unchanged(kind: str) -> None:
    before, members, after = EVENTS[kind]
    event = {"type": kind, **members, "timestamp": 12, "metadata": {"k": None}, "unknown": {"deep": None}}
    assert shown([*before, event, *after])[len(before)] == event


@pytest.mark.requirement("SSE-03")
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_members_with_their_default_value_are_left_out(kind: str) -> None:
    """Clients refuse most nulls (docs/protocol.md, section 3)."""
    before, members, after = EVENTS[kind]
    model = MODELS[kind].model_validate(members)
    for event in shown([*before, model, *after]):
        nulls = [name for name, value in event.items() if value is None]
        assert nulls == []


@pytest.mark.requirement("SSE-03")
def test_nulls_are_dropped_from_optional_members_only() -> None:
    emitted = [
        {**STARTED, "parentRunId": None, "input": None, "timestamp": None, "rawEvent": None, "unknown": None},
        {"type": "CUSTOM", "name": "mark", "value": None, "metadata": None},
        {"type": "RAW", "event": None, "source": None},
        {"type": "STATE_SNAPSHOT", "snapshot": None},
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": None}},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "", "value": None}]},
        {**text("START"), "name": None},
        {**call("START"), "parentMessageId": None},
        text("END"),
        call("END"),
        {**FINISHED, "result": None, "outcome": None},
    ]
    assert shown(emitted) == [
        STARTED,
        {"type": "CUSTOM", "name": "mark", "value": None},
        {"type": "RAW", "event": None},
        {"type": "STATE_SNAPSHOT", "snapshot": None},
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": None}},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "", "value": None}]},
        text("START"),
        call("START"),
        text("END"),
        call("END"),
        FINISHED,
    ]


REQUIRED: dict[str, tuple[str, ...]] = {
    "RUN_STARTED": ("threadId", "runId"),
    "RUN_FINISHED": ("threadId", "runId"),
    "RUN_ERROR": ("message",),
    "STEP_STARTED": ("stepName",),
    "STEP_FINISHED": ("stepName",),
    "TEXT_MESSAGE_START": ("messageId",),
    "TEXT_MESSAGE_CONTENT": ("messageId", "delta"),
    "TEXT_MESSAGE_END": ("messageId",),
    "TOOL_CALL_START": ("toolCallId", "toolCallName"),
    "TOOL_CALL_ARGS": ("toolCallId", "delta"),
    "TOOL_CALL_END": ("toolCallId",),
    "TOOL_CALL_RESULT": ("messageId", "toolCallId", "content"),
    "STATE_DELTA": ("delta",),
    "MESSAGES_SNAPSHOT": ("messages",),
    "ACTIVITY_SNAPSHOT": ("messageId", "activityType", "content"),
    "ACTIVITY_DELTA": ("messageId", "activityType", "patch"),
    "CUSTOM": ("name",),
    "REASONING_START": ("messageId",),
    "REASONING_END": ("messageId",),
    "REASONING_MESSAGE_START": ("messageId",),
    "REASONING_MESSAGE_CONTENT": ("messageId", "delta"),
    "REASONING_MESSAGE_END": ("messageId",),
    "REASONING_ENCRYPTED_VALUE": ("subtype", "entityId", "encryptedValue"),
    "SUBAGENT_STARTED": ("subagentRunId", "name"),
    "SUBAGENT_FINISHED": ("subagentRunId",),
    "SUBAGENT_ERROR": ("subagentRunId", "message"),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in REQUIRED.items() for name in names])
@pytest.mark.parametrize("wrong", [None, 7, "absent"], ids=["null", "a number", "absent"])
def test_a_required_member_is_required(kind: str, name: str, wrong: Any) -> None:
    before, members, _ = EVENTS[kind]
    event = {"type": kind, **members, name: wrong}
    if wrong == "absent":
        del event[name]
    recorder, _ = recorded(before)
    with pytest.raises(InvalidEventError, match=name):
        recorder.feed(event)
    assert recorder.drain() == []


WRONG: dict[str, Event] = {
    "an unknown role": {**text("START"), "role": "robot"},
    "a number for a name": {**text("START"), "name": 7},
    "a tool's role": {**call("RESULT"), "role": "assistant"},
    "a string timestamp": {**text("START"), "timestamp": "now"},
    "a boolean timestamp": {**text("START"), "timestamp": True},
    "metadata that is a list": {**text("START"), "metadata": []},
    "a patch that is an object": {"type": "STATE_DELTA", "delta": {}},
    "a patch of strings": {"type": "STATE_DELTA", "delta": ["x"]},
    "a patch without a path": {"type": "STATE_DELTA", "delta": [{"op": "add"}]},
    "messages without ids": {"type": "MESSAGES_SNAPSHOT", "messages": [{"role": "user", "content": "x"}]},
    "a string for an activity": {"type": "ACTIVITY_SNAPSHOT", "messageId": "m", "activityType": "P", "content": "x"},
    "a string for replace": {
        "type": "ACTIVITY_SNAPSHOT",
        "messageId": "m",
        "activityType": "P",
        "content": {},
        "replace": "no",
    },
    "a code that is a number": {"type": "RUN_ERROR", "message": "no", "code": 7},
    "a parent that is a number": {**call("START"), "parentMessageId": 7},
    "an outcome that is a string": {**FINISHED, "outcome": "success"},
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_members_are_refused(name: str) -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match=WRONG[name]["type"]):
        recorder.feed(WRONG[name])


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        7,
        "RUN_STARTED",
        b"{}",
        [STARTED],
        object(),
        {},
        {"type": None},
        {"type": "NO_SUCH"},
        {"type": ["x"]},
        {1: 2},
    ],
    ids=stable_id,
)
def test_values_that_are_not_events_are_refused(nonsense: Any) -> None:
    recorder, _ = recorded([])
    with pytest.raises(InvalidEventError):
        recorder.feed(nonsense)
    assert recorder.drain() == []


def test_a_model_that_is_not_an_event() -> None:
    class Other(BaseModel):
        x: int = 1

    recorder, _ = recorded([])
    with pytest.raises(InvalidEventError):
        recorder.feed(Other())


@pytest.mark.requirement("RUN-18")
@pytest.mark.parametrize("make", [types.MappingProxyType, collections.OrderedDict, collections.ChainMap])
def test_other_mappings(make: Any) -> None:
    assert shown([make(dict(STARTED)), make(dict(FINISHED))]) == [STARTED, FINISHED]


def test_enums_in_dicts() -> None:
    class Role(enum.Enum):
        USER = "user"

    class Text(enum.StrEnum):
        ID = "m"

    emitted = [
        {**STARTED, "type": EventType.RUN_STARTED},
        {"type": EventType.TEXT_MESSAGE_START, "messageId": Text.ID, "role": "user"},
        {"type": EventType.CUSTOM, "name": "mark", "value": {"role": Role.USER}},
        {"type": EventType.TEXT_MESSAGE_END, "messageId": Text.ID},
        {**FINISHED, "type": EventType.RUN_FINISHED},
    ]
    assert shown(emitted) == [
        STARTED,
        text("START", role="user"),
        {"type": "CUSTOM", "name": "mark", "value": {"role": "user"}},
        text("END"),
        FINISHED,
    ]


def test_models_inside_dicts() -> None:
    message = ag_ui.core.UserMessage(id="u1", role="user", content="hi")
    run_input = ag_ui.core.RunAgentInput(
        thread_id="t", run_id="r", messages=[message], tools=[], context=[], state={"a": None}, forwarded_props={}
    )
    events = shown(
        [
            {**STARTED, "input": run_input},
            {"type": "MESSAGES_SNAPSHOT", "messages": [message]},
            {"type": "CUSTOM", "name": "mark", "value": {"message": message}},
        ]
    )
    wire = {"id": "u1", "role": "user", "content": "hi"}
    assert events[0]["input"]["messages"] == [wire]
    assert events[0]["input"]["state"] == {"a": None}
    assert events[1]["messages"] == [wire]
    assert {name: value for name, value in events[2]["value"]["message"].items() if value is not None} == wire


def test_extra_members_of_a_model() -> None:
    kind = MODELS["TEXT_MESSAGE_START"]
    model = kind.model_validate({"messageId": "m", "role": "user", "somethingNew": {"deep": None}})
    if not model.__pydantic_extra__:
        pytest.skip("this version of AG-UI drops them itself")
    assert shown([STARTED, model])[1] == text("START", role="user", somethingNew={"deep": None})


def test_a_cached_property_of_a_model_is_not_a_member() -> None:
    class Counted(MODELS["TEXT_MESSAGE_CONTENT"]):  # type: ignore[misc]
        @functools.cached_property
        def size(self) -> int:
            return len(self.delta)

    model = Counted(message_id="m", delta="x")
    assert model.size == 1
    assert shown([STARTED, text("START"), model, model])[2:] == [text("CONTENT"), text("CONTENT")]


def test_members_of_a_model_have_the_order_of_its_fields() -> None:
    model = MODELS["TEXT_MESSAGE_START"](message_id="m", role="user")
    model.__dict__["message_id"] = model.__dict__.pop("message_id")
    assert [list(event) for event in shown([STARTED, model])[1:2]] == [["type", "role", "messageId"]]
    usual = MODELS["TEXT_MESSAGE_START"](message_id="m", role="user")
    assert list(shown([STARTED, usual])[1]) == ["type", "messageId", "role"]


def test_a_model_with_a_value_that_cannot_be_compared_is_read_like_any_other() -> None:
    class Incomparable(dict[str, int]):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise ValueError("not comparable")

    model = MODELS["TEXT_MESSAGE_START"].model_construct(
        type=EventType.TEXT_MESSAGE_START, message_id="m", role="user", raw_event=Incomparable(k=1)
    )
    assert shown([STARTED, model])[1] == text("START", role="user", rawEvent={"k": 1})


def test_later_changes_to_an_event_have_no_effect() -> None:
    event = {"type": "STATE_SNAPSHOT", "snapshot": {"items": []}}
    recorder, _ = recorded([STARTED, event])
    event["snapshot"]["items"].append("late")
    recorder.feed(FINISHED)
    records = recorder.records()
    assert b"late" not in b"".join(record.frame for record in records)
