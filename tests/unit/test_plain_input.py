"""Run inputs that are not validated are those that validation would accept, and leave, as they are."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import math
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any

import pytest
from ag_ui.core import RunAgentInput, UserMessage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_core import to_json

from copilot_runtime import (
    CopilotRuntime,
    EventStream,
    Headers,
    InputLimits,
    Request,
    create_copilot_runtime_handler,
)
from copilot_runtime._events import decode
from copilot_runtime._events.shapes import RUN_INPUT
from copilot_runtime._server.endpoints import input_models, plain_input
from copilot_runtime._server.endpoints.input_models import DeferredRunAgentInput, LenientRunAgentInput, build_input
from copilot_runtime._server.endpoints.plain_input import read_plain
from copilot_runtime._server.endpoints.run_input import parse_input, size_in_memory
from copilot_runtime._server.errors import InvalidRunInput
from copilot_runtime._strict_json import loads
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import ThreadKey

from .recorder_helpers import FINISHED, STARTED, run_input

pytestmark = pytest.mark.requirement("BODY-11")

JSON = (("content-type", "application/json"),)
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CONVERSATION = [
    {"id": "s", "role": "system", "content": "Be brief."},
    {"id": "u", "role": "user", "content": "What is the weather?"},
    {"id": "a", "role": "assistant", "toolCalls": [CALL]},
    {"id": "t", "role": "tool", "toolCallId": "c", "content": "rain"},
    {"id": "b", "role": "assistant", "content": "Rain."},
]
ACTIVITY = {
    "id": "c",
    "role": "activity",
    "activityType": "a2ui-surface",
    "content": {"operations": [{"n": 1.5}, None]},
}
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "default": None}}
PLAIN = run_input(
    messages=CONVERSATION,
    tools=[TOOL],
    context=[{"description": "d", "value": "v"}],
    state={"n": [1.5, None]},
    forwardedProps={"a": {"b": []}},
)

NOT_PLAIN: Mapping[str, dict[str, Any]] = {
    "no messages": {"messages": None},
    "messages that are none": {"messages": [7]},
    "no role": {"messages": [{"id": "u", "content": "x"}]},
    "a role that is no string": {"messages": [{"id": "u", "role": ["user"], "content": "x"}]},
    "an activity that has no object": {
        "messages": [{"id": "u", "role": "activity", "activityType": "x", "content": "x"}]
    },
    "an activity with a number that is too large": {"messages": [{**ACTIVITY, "content": {"n": math.inf}}]},
    "no id": {"messages": [{"role": "user", "content": "x"}]},
    "no content": {"messages": [{"id": "u", "role": "user"}]},
    "parts": {"messages": [{"id": "u", "role": "user", "content": [{"type": "text", "text": "x"}]}]},
    "a null": {"messages": [{"id": "u", "role": "assistant", "content": None}]},
    "a member of a message": {"messages": [{"id": "u", "role": "user", "content": "x", "other": "x"}]},
    "a member of a message by its Python name": {
        "messages": [{"id": "u", "role": "tool", "content": "x", "toolCallId": "c", "tool_call_id": "d"}]
    },
    "calls of a user": {"messages": [{"id": "u", "role": "user", "content": "x", "toolCalls": []}]},
    "a call of another type": {"messages": [{"id": "u", "role": "assistant", "toolCalls": [{**CALL, "type": "x"}]}]},
    "a call without a function": {"messages": [{"id": "u", "role": "assistant", "toolCalls": [{"id": "c"}]}]},
    "arguments that are no text": {
        "messages": [
            {"id": "u", "role": "assistant", "toolCalls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}
        ]
    },
    "a tool without parameters": {"tools": [{"name": "f", "description": "d"}]},
    "tools that are none": {"tools": {}},
    "a member of a tool": {"tools": [{**TOOL, "metadata": {}}]},
    "context that is no text": {"context": [{"description": "d", "value": 1}]},
    "responses to interrupts": {"resume": [{"interruptId": "i", "status": "resolved"}]},
    "another member": {"other": 1},
    "a member by its Python name": {"thread_id": "t"},
    "an id that is no text": {"threadId": 1},
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_plain_input_is_not_one_with(name: str) -> None:
    assert read_plain(PLAIN) is not None
    assert read_plain({**PLAIN, **NOT_PLAIN[name]}) is None


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [{"id": "u", "role": "user", "content": "x", **dict.fromkeys("abcdef", 1)}]},
        {"messages": [{"id": "a", "role": "assistant", "toolCalls": [{**CALL, **dict.fromkeys("abcdef", 1)}]}]},
        {"tools": [{**TOOL, **dict.fromkeys("abcdef", 1)}]},
        {"context": [dict.fromkeys("abcdef", 1)]},
        {"messages": [1, 2, 3]},
    ],
)
def test_plain_input_has_one_error_for_all_that_is_wrong_in_a_list(value: Mapping[str, Any]) -> None:
    if "messages" in value:
        validator, checked = plain_input._MESSAGES_VALIDATOR, value["messages"]
    else:
        validator, checked = plain_input._INPUT_VALIDATOR, {**PLAIN, **value}
    with pytest.raises(ValidationError) as raised:
        validator.validate_python(checked)
    assert raised.value.error_count() == 1


@pytest.mark.parametrize("value", ["x", None])
@pytest.mark.parametrize("name", ["parentRunId", "protocolVersion"])
def test_plain_input_may_have_other_ids_if_the_installed_models_know_them(name: str, value: Any) -> None:
    is_known = name in {field.alias for field in RunAgentInput.model_fields.values()}
    assert (read_plain({**PLAIN, name: value}) is not None) == is_known


@pytest.mark.parametrize("value", [[], "x", None, 1, {}])
def test_plain_input_is_an_object_with_ids_and_messages(value: Any) -> None:
    assert read_plain(value) is None


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".0"])
@pytest.mark.parametrize("member", ["state", "forwardedProps"])
def test_plain_input_has_no_number_that_is_too_large(member: str, number: str) -> None:
    body = json.dumps({**PLAIN, member: ["@"]}).replace('"@"', number).encode()
    with pytest.raises(InvalidRunInput, match="the body is not JSON"):
        parse_input(body, InputLimits())


def test_plain_input_may_have_the_word_infinity() -> None:
    body = json.dumps({**PLAIN, "state": "Infinity NaN"}).encode()
    assert parse_input(body, InputLimits()).model.state == "Infinity NaN"


TEXTS = st.sampled_from(["", "x", "role", "NaN", "é\n", "\U0001f600"])
VALUES = st.one_of(TEXTS, TEXTS, st.none(), st.just(1), st.just([]), st.just({}), st.just([CALL]))


def objects(*names: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that mostly are as they should be."""
    return st.builds(
        lambda base, odd, missing: {name: value for name, value in {**base, **odd}.items() if name not in missing},
        st.fixed_dictionaries({**dict.fromkeys(names, TEXTS), **members}),
        st.one_of(st.just({}), st.dictionaries(st.sampled_from(sorted(_NAMES)), VALUES, max_size=1)),
        st.one_of(st.just([]), st.lists(st.sampled_from([*names, *members]), max_size=1)),
    )


_NAMES = {
    "id", "role", "content", "name", "toolCalls", "toolCallId", "tool_call_id", "error", "encryptedValue", "metadata",
    "subagentRunId", "activityType", "description", "value", "parameters", "parentRunId", "protocolVersion", "extra",
}  # fmt: skip
ROLES = st.sampled_from(["developer", "system", "user", "assistant", "tool", "reasoning", "activity", "other"])
_TEXT_ROLES = ["developer", "system", "user", "assistant", "reasoning"]
CALLS = st.lists(objects("id", type=st.just("function"), function=objects("name", "arguments")), max_size=2)
MESSAGES = st.one_of(
    objects("id", "content", role=ROLES),
    objects("id", "content", "toolCallId", role=st.just("tool")),
    objects("id", role=st.just("assistant"), toolCalls=CALLS),
    objects("id", "activityType", role=st.just("activity"), content=st.sampled_from([{}, {"x": [{"n": 1.5}, None]}])),
)
INPUTS = objects(
    "threadId",
    "runId",
    messages=st.one_of(st.lists(MESSAGES, max_size=3), st.lists(MESSAGES, min_size=5, max_size=6)),
    tools=st.lists(objects("name", "description", parameters=st.just({"type": "object"})), max_size=2),
    context=st.lists(objects("description", "value"), max_size=2),
    state=VALUES,
    forwardedProps=VALUES,
)


@given(st.lists(MESSAGES, max_size=2), st.integers(0, 5))
def test_texts_are_no_messages_that_the_validator_refuses(others: list[Any], place: int) -> None:
    many: list[Any] = [{"id": f"m{at}", "role": "user", "content": "x"} for at in range(5)]
    assert not plain_input._are_texts(others) or plain_input._are_messages(others)
    assert plain_input._are_texts(many)
    many[place:place] = others
    assert not plain_input._are_texts(many) or plain_input._are_messages(many)


@pytest.mark.parametrize(
    "other",
    [
        {"id": "a", "role": "assistant", "toolCalls": [CALL]},
        {"id": "a", "role": "assistant", "content": "x", "toolCalls": [CALL]},
        {"id": "a", "role": "tool", "content": "x"},
        {"id": "a", "role": "activity", "activityType": "x", "content": {}},
        {"id": "a", "role": "activity", "content": "x"},
        {"id": "a", "role": "user"},
        {"id": "a", "role": "user", "content": "x", "name": "n"},
        {"id": "a", "role": "user", "content": ["x"]},
        {"id": "a", "role": ["user"], "content": "x"},
        {"id": 1, "role": "user", "content": "x"},
        "text",
        ["id", "role", "content"],
        None,
    ],
)
def test_texts_have_nothing_but_an_id_a_role_and_a_text(other: Any) -> None:
    assert not plain_input._are_texts([*({"id": "m", "role": role, "content": "x"} for role in _TEXT_ROLES), other])


@pytest.mark.parametrize("messages", [{}, "texts", None, 5, []])
def test_texts_are_a_list(messages: Any) -> None:
    assert not plain_input._are_texts(messages)


def test_plain_input_of_texts_is_known_to_have_no_tool_calls() -> None:
    texts = [{"id": f"m{at}", "role": "user", "content": "x"} for at in range(5)]
    calls = {"id": "a", "role": "assistant", "toolCalls": [CALL]}
    known = read_plain({**PLAIN, "messages": texts}), read_plain({**PLAIN, "messages": [*texts, calls]})
    assert [plain is not None and plain.has_only_texts for plain in known] == [True, False]
    parsed = parse_input(json.dumps({**PLAIN, "messages": texts * 100}).encode(), InputLimits())
    assert parsed.parts == 0
    with pytest.raises(InvalidRunInput, match="messages: has 500 items"):
        parse_input(json.dumps({**PLAIN, "messages": texts * 100}).encode(), InputLimits(max_messages=499))


@given(INPUTS)
def test_usual_input_is_none_that_the_validator_refuses(wire: dict[str, Any]) -> None:
    assert not plain_input._is_usual(wire) or plain_input._is_input(wire)


USUAL = {**PLAIN, "state": {}, "tools": [], "context": [], "forwardedProps": {"n": 1}}


def test_usual_input_has_any_state() -> None:
    assert plain_input._is_usual(USUAL)
    assert plain_input._is_usual({**USUAL, "state": [None], "forwardedProps": None})


@pytest.mark.parametrize(
    "other",
    [{"tools": [TOOL]}, {"tools": ()}, {"context": None}, {"context": {}}, {"threadId": 1}, {"runId": None}, {"x": 1}],
)
def test_usual_input_has_nothing_else(other: Mapping[str, Any]) -> None:
    assert not plain_input._is_usual({**USUAL, **other})
    assert not plain_input._is_usual({name: value for name, value in USUAL.items() if name not in other} | {"y": []})


@given(INPUTS)
def test_plain_input_is_accepted_by_models_and_by_clients_as_it_is(wire: dict[str, Any]) -> None:
    if read_plain(wire) is None:
        return
    body = json.dumps(wire).encode()
    eager = build_input(body)
    parsed = parse_input(body, InputLimits())
    assert isinstance(parsed.model, DeferredRunAgentInput)
    assert parsed.model.model_fields_set == eager.model_fields_set
    assert parsed.model == eager
    assert parsed.model.model_dump() == eager.model_dump()
    assert not any(message.role == "activity" for message in parsed.model.messages)
    if parsed.wire.can_be_echoed:
        assert RUN_INPUT(wire) is wire


@given(INPUTS)
def test_plain_and_validated_inputs_are_read_alike(wire: dict[str, Any]) -> None:
    body = json.dumps(wire).encode()

    def read() -> Any:
        try:
            parsed = parse_input(body, InputLimits(max_parts=1))
        except InvalidRunInput as error:
            return str(error)
        return parsed.model.model_dump(), dict(parsed.wire), parsed.agent_body, parsed.parts

    read_as_is = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_input, "_IS_SUPPORTED", False)
        assert read() == read_as_is


@pytest.mark.parametrize("message", [*CONVERSATION, ACTIVITY], ids=lambda message: message["role"])
def test_plain_and_validated_inputs_take_as_much_memory(message: dict[str, Any]) -> None:
    body = json.dumps({**PLAIN, "messages": [message] * 1000}).encode()
    as_plain = size_in_memory(parse_input(body, InputLimits()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_input, "_IS_SUPPORTED", False)
        assert size_in_memory(parse_input(body, InputLimits())) == pytest.approx(as_plain, rel=0.1)


def test_plain_input_is_supported_by_the_installed_models() -> None:
    assert plain_input._IS_SUPPORTED


@pytest.mark.parametrize("member", ["thread_id", "run_id"])
def test_plain_input_is_not_supported_by_models_that_refuse_empty_strings(
    member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = create_model(
        "Strict", __base__=LenientRunAgentInput, **{member: (Annotated[str, Field(min_length=1)], ...)}
    )
    monkeypatch.setattr(plain_input, "LenientRunAgentInput", strict)
    assert not plain_input._are_examples_accepted()


# --- what RUN_STARTED repeats, and what is stored


async def play(bodies: Sequence[bytes]) -> tuple[list[Any], Any]:
    """The inputs that RUN_STARTED repeats for runs of one thread, and the thread's messages after them."""

    async def agent(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
        yield STARTED
        yield FINISHED

    store = MemoryStore()
    handler = create_copilot_runtime_handler(runtime=CopilotRuntime(agents={"a": agent}, store=store))
    echoes = []
    for body in bodies:
        response = await handler(Request(method="POST", path="/agent/a/run", headers=Headers(JSON), body=body))
        assert isinstance(response.body, EventStream)
        stream = b"".join([chunk async for chunk in response.body])
        echoes.append(decode(stream.partition(b"\n\n")[0] + b"\n\n")["input"])
    return echoes, store.messages(ThreadKey("", "t"))


BODIES: Mapping[str, dict[str, Any]] = {
    "as clients send it": {"separators": (",", ":")},
    "with spaces": {},
    "on several lines": {"indent": 2},
    "with non-ASCII characters": {"ensure_ascii": False},
}


@pytest.mark.parametrize("form", BODIES)
def test_plain_input_is_repeated_and_stored_whatever_its_form(form: str) -> None:
    members = {**PLAIN, "messages": [*CONVERSATION, {"id": "é", "role": "user", "content": "größe\n\u2028"}]}
    [echo], messages = asyncio.run(play([json.dumps(members, **BODIES[form]).encode()]))
    assert echo == members
    assert messages == members["messages"]


def test_plain_input_is_repeated_and_stored_with_activities_which_agents_do_not_get() -> None:
    body = json.dumps({**PLAIN, "messages": [*CONVERSATION, ACTIVITY]}).encode()
    model = parse_input(body, InputLimits()).model
    assert type(model) is DeferredRunAgentInput
    assert model == build_input(BODY)
    [echo], messages = asyncio.run(play([body]))
    assert echo["messages"] == messages == [*CONVERSATION, ACTIVITY]


@pytest.mark.parametrize("depth", [1, 90, 95])
def test_plain_input_is_limited_in_the_depth_of_activities(depth: int) -> None:
    content: Any = {}
    for _ in range(depth):
        content = {"x": [content]}
    body = json.dumps({**PLAIN, "messages": [{**ACTIVITY, "content": content}]}).encode()
    for maximum, is_refused in ((2 * depth + 3, True), (2 * depth + 4, False)):
        with pytest.raises(InvalidRunInput, match="nested") if is_refused else contextlib.nullcontext():
            parse_input(body, InputLimits(max_depth=maximum))


def test_plain_input_is_repeated_without_what_the_thread_has() -> None:
    more = [*CONVERSATION, {"id": "n", "role": "user", "content": "And tomorrow?"}]
    bodies = [json.dumps({**PLAIN, "messages": messages}).encode() for messages in (CONVERSATION, more, more)]
    echoes, messages = asyncio.run(play(bodies))
    assert [echo["messages"] for echo in echoes] == [CONVERSATION, more[-1:], []]
    assert messages == more


@pytest.mark.parametrize("missing", ["tools", "context"])
def test_plain_input_is_repeated_with_what_clients_require(missing: str) -> None:
    members = {name: value for name, value in PLAIN.items() if name != missing}
    [echo], _ = asyncio.run(play([json.dumps({**members, "state": None}).encode()]))
    assert echo == {**{name: value for name, value in members.items() if name != "state"}, missing: []}


def test_messages_are_kept_as_the_body_that_has_them_unless_that_has_much_else() -> None:
    few, many = ([message] * number for message in CONVERSATION[:1] for number in (1, 100))
    large = {"state": "x" * 2000}
    stands = {
        name: parse_input(json.dumps(run_input(**members)).encode(), InputLimits()).wire.stands_for_messages
        for name, members in {
            "one message": {"messages": few},
            "no message": {"messages": []},
            "one message and a large state": {"messages": few, **large},
            "many messages and a large state": {"messages": many, **large},
        }.items()
    }
    assert stands == {
        "one message": True,
        "no message": False,
        "one message and a large state": False,
        "many messages and a large state": True,
    }


# --- the model that is built when it is looked at


BODY = json.dumps(PLAIN).encode()


class Holder(BaseModel):
    """A model that has an input."""

    input: RunAgentInput | None = None
    anything: Any = None


LOOKS: Mapping[str, Callable[[RunAgentInput], Any]] = {
    "messages": lambda model: model.messages,
    "tools": lambda model: model.tools,
    "parent_run_id": lambda model: model.parent_run_id,
    "an attribute that is not there": lambda model: getattr(model, "other", "none"),
    "repr": repr,
    "str": str,
    "vars": vars,
    "dict": dict,
    "model_dump": lambda model: model.model_dump(),
    "model_dump of what was set": lambda model: model.model_dump(exclude_unset=True, by_alias=True),
    "model_dump_json": lambda model: model.model_dump_json(by_alias=True),
    "to_json": to_json,
    "to_json of something else": lambda model: to_json({"input": [model]}),
    "serialisation as part of a model": lambda model: [
        Holder(input=model).model_dump(),
        Holder(anything=model).model_dump_json(),
    ],
    "model_copy": lambda model: model.model_copy(update={"messages": []}),
    "model_copy, deep": lambda model: model.model_copy(deep=True),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "model_extra": lambda model: model.model_extra,
    "validation": RunAgentInput.model_validate,
    "assignment": lambda model: setattr(model, "messages", []) or model,
    "assignment of another member": lambda model: setattr(model, "other", 1) or model,
    "deletion": lambda model: delattr(model, "messages") or getattr(model, "messages", "none"),
    "deletion of plain JSON": lambda model: delattr(model, "state") or getattr(model, "state", "none"),
    "a change of what was set": lambda model: model.model_fields_set.add("resume") or model.model_fields_set,
    "state for others than pickle": lambda model: model.__getstate__(),
    "equality": lambda model: [model == build_input(BODY), build_input(BODY) == model, model == 1, model != 1],
}


def deferred() -> RunAgentInput:
    model = parse_input(BODY, InputLimits()).model
    assert type(model) is DeferredRunAgentInput
    return model


@pytest.mark.parametrize("name", LOOKS)
def test_deferred_input_is_the_same_as_one_that_was_built_at_once(name: str) -> None:
    model, eager = deferred(), build_input(BODY)
    assert LOOKS[name](model) == LOOKS[name](eager)
    assert model == eager
    assert type(model) is LenientRunAgentInput


def test_deferred_input_never_has_to_be_built_as_a_class() -> None:
    for member in ("__pydantic_serializer__", "__pydantic_validator__"):
        assert getattr(DeferredRunAgentInput, member) is getattr(LenientRunAgentInput, member)


def test_deferred_input_has_its_ids_and_plain_json_without_being_built() -> None:
    model = deferred()
    assert (model.thread_id, model.run_id) == ("t", "r")
    assert model.state == {"n": [1.5, None]}
    assert model.forwarded_props == {"a": {"b": []}}
    assert model.state is model.state
    assert type(model) is DeferredRunAgentInput


def test_deferred_input_keeps_what_an_agent_has_changed_in_it() -> None:
    parsed = parse_input(BODY, InputLimits())
    model = parsed.model
    model.state["n"] = "changed"
    assert isinstance(model.messages[1], UserMessage)
    assert model.state == {"n": "changed"}
    assert parsed.wire["state"] == {"n": [1.5, None]}
    model.messages.append(UserMessage(id="n", role="user", content="new"))
    assert len(model.messages) == len(CONVERSATION) + 1
    assert len(parsed.wire["messages"]) == len(CONVERSATION)


@pytest.mark.parametrize("missing", [{}, {"state": None, "forwardedProps": None}])
def test_deferred_input_has_the_defaults_of_the_model(missing: dict[str, Any]) -> None:
    body = json.dumps({"threadId": "t", "runId": "r", "messages": CONVERSATION, **missing}).encode()
    model = parse_input(body, InputLimits()).model
    assert (model.state, model.forwarded_props) == (None, {})
    assert model.model_fields_set == build_input(body).model_fields_set
    assert model == build_input(body)


CALLS: Mapping[str, tuple[Any, ...]] = {
    "__setattr__": ("other", 1),
    "__delattr__": ("other",),
    "__getstate__": (),
    "__copy__": (),
    "__deepcopy__": (),
    "__reduce_ex__": (4,),
    "__eq__": (build_input(BODY),),
}


def test_deferred_input_may_be_built_by_another_thread_at_any_time() -> None:
    model, eager = deferred(), build_input(BODY)
    assert model == eager  # so it has been built
    members = vars(DeferredRunAgentInput)
    for name in ("__dict__", "model_fields_set"):
        assert members[name].__get__(model) == getattr(eager, name)
    assert members["__getattr__"](model, "state") == eager.state
    for name, arguments in CALLS.items():
        # What a thread does that has looked the method up before.
        assert members[name](model, *arguments) == getattr(eager, name)(*arguments)


def test_deferred_input_is_built_once_for_all_threads() -> None:
    model = deferred()
    barrier = threading.Barrier(4)
    seen: list[Any] = []

    def look() -> None:
        barrier.wait()
        seen.append(model.messages)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert all(each is model.messages for each in seen)


def test_deferred_input_keeps_what_another_thread_has_changed_while_it_was_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = deferred()

    def change() -> None:
        del model.context
        model.parent_run_id = "p"  # type: ignore[attr-defined, unused-ignore] # which older versions do not know

    def build(body: bytes) -> LenientRunAgentInput:
        built = build_input(body)
        monkeypatch.undo()
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        return built

    monkeypatch.setattr(input_models, "build_input", build)
    assert model.tools
    expected = build_input(BODY)
    del expected.context
    expected.parent_run_id = "p"  # type: ignore[attr-defined, unused-ignore]
    assert vars(model) == vars(expected)
    assert model.model_fields_set == expected.model_fields_set
    assert model.model_extra == expected.model_extra


def test_model_of_a_deferred_input_validates_like_any_other() -> None:
    kind = type(deferred())
    assert kind.model_validate(loads(BODY)) == kind.model_validate(loads(BODY))
    with pytest.raises(ValidationError):
        kind.model_validate({"threadId": "t"})
