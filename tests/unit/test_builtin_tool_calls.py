"""Tool calls from their pieces: the call that was meant, or a fault in place of its result."""

from __future__ import annotations

from typing import Any

import pytest
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk

from .builtin_helpers import ChatCompletion

FAULT = "a fault"
TOOLS = ("f", "g", "get_weather")
Call = tuple[str, str]


def chunk(choice: dict[str, Any]) -> Any:
    """A chunk as the SDK makes it of what a server sends."""
    return construct_type(type_=ChatCompletionChunk, value={"choices": [{"index": 0, **choice}]})


def piece(index: Any = None, **members: Any) -> dict[str, Any]:
    function = {name: members.pop(name) for name in ("name", "arguments") if name in members}
    return {**({} if index is None else {"index": index}), **members, "function": function}


def completed(*deltas: Any, finish: str | None = "tool_calls") -> tuple[ChatCompletion, list[dict[str, Any]]]:
    """The completion of these deltas; a list is the tool calls of one, a dict a whole delta."""
    completion = ChatCompletion(TOOLS)
    events: list[dict[str, Any]] = []
    for delta in deltas:
        given = {"tool_calls": delta} if isinstance(delta, list) else delta
        events += completion.feed_chunk(chunk({"delta": given, "finish_reason": None}))
    events += completion.feed_chunk(chunk({"delta": {}, "finish_reason": finish}))
    return completion, [*events, *completion.close()]


def calls_of(completion: ChatCompletion) -> list[Call]:
    return [(call.name, FAULT if call.fault else call.arguments) for call in completion.calls]


X, Y = '{"x":1}', '{"y":2}'
HEAD = piece(0, id="a", name="f", arguments="")

MEANT: dict[str, tuple[list[Any], list[Call]]] = {
    "index runs on with each piece": (
        [[piece(0, id="a", name="f", arguments="")], [piece(1, arguments='{"x"')], [piece(2, arguments=":1}")]],
        [("f", X)],
    ),
    "index runs on over two calls": (
        [
            [piece(0, id="a", name="f", arguments="")],
            [piece(1, arguments=X)],
            [piece(2, id="b", name="g", arguments="")],
            [piece(3, arguments=Y)],
        ],
        [("f", X), ("g", Y)],
    ),
    "index runs on, id repeated": (
        [[piece(0, id="a", name="f", arguments="")], [piece(1, id="a", arguments=X)]],
        [("f", X)],
    ),
    "index starts at 1": (
        [[piece(1, id="a", name="f", arguments="")], [piece(1, arguments=X)], [piece(2, id="b", name="g")]],
        [("f", X), ("g", "")],
    ),
    "index is a string": ([[piece("0", id="a", name="f")], [piece("0", arguments=X)]], [("f", X)]),
    "index missing": (
        [
            [piece(id="a", name="f", arguments="")],
            [piece(arguments=X)],
            [piece(id="b", name="g", arguments="")],
            [piece(arguments=Y)],
        ],
        [("f", X), ("g", Y)],
    ),
    "index missing, interleaved by id": (
        [
            [piece(id="a", name="f"), piece(id="b", name="f")],
            [piece(id="b", arguments=Y)],
            [piece(id="a", arguments=X)],
        ],
        [("f", X), ("f", Y)],
    ),
    "index missing after the first piece": ([[HEAD], [piece(arguments='{"x"')], [piece(arguments=":1}")]], [("f", X)]),
    "index repeated by calls with ids": (
        [[piece(0, id="a", name="f", arguments=X)], [piece(0, id="b", name="f", arguments=Y)]],
        [("f", X), ("f", Y)],
    ),
    "index repeated, interleaved by id": (
        [
            [piece(0, id="a", name="f", arguments="")],
            [piece(0, id="b", name="f", arguments="")],
            [piece(0, id="a", arguments=X)],
            [piece(0, id="b", arguments=Y)],
        ],
        [("f", X), ("f", Y)],
    ),
    "id and name in every piece": (
        [[piece(0, id="a", name="f", arguments=part)] for part in ("", '{"x"', ":1}", "")],
        [("f", X)],
    ),
    "name in every piece": ([[piece(0, name="f", arguments=part)] for part in ("", '{"x"', ":1}")], [("f", X)]),
    "name in every piece, index missing": (
        [[piece(name="f", arguments=part)] for part in ("", '{"x"', ":1}")],
        [("f", X)],
    ),
    "name in pieces": (
        [[piece(0, id="a", name="get_", arguments="")], [piece(0, name="weather")], [piece(0, arguments=X)]],
        [("get_weather", X)],
    ),
    "name in pieces, each with all of it so far": (
        [[piece(0, id="a", name="get")], [piece(0, id="a", name="get_weather")], [piece(0, arguments=X)]],
        [("get_weather", X)],
    ),
    "name after the arguments": ([[piece(0, id="a", arguments=X)], [piece(0, name="f")]], [("f", X)]),
    "no id": ([[piece(0, name="f", arguments="")], [piece(0, arguments=X)]], [("f", X)]),
    "id late": ([[piece(0, name="f", arguments="")], [piece(0, id="a", arguments=X)]], [("f", X)]),
    "id changes": ([[HEAD], [piece(0, id="b", arguments='{"x"')], [piece(0, id="c", arguments=":1}")]], [("f", X)]),
    "id is a number": (
        [[piece(id=7, name="f")], [piece(id=8, name="g")], [piece(id=7, arguments=X)]],
        [("f", X), ("g", "")],
    ),
    "the same id for all calls": (
        [[piece(0, id="a", name="f", arguments=X)], [piece(1, id="a", name="f", arguments=Y)]],
        [("f", X), ("f", Y)],
    ),
    "neither id nor index": ([[piece(name="f", arguments=X)], [piece(name="g", arguments=Y)]], [("f", X), ("g", Y)]),
    "whole call in one chunk": ([[piece(0, id="a", name="f", arguments=X)]], [("f", X)]),
    "two calls in one chunk": (
        [[piece(0, id="a", name="f", arguments=X), piece(1, id="b", name="g", arguments=Y)]],
        [("f", X), ("g", Y)],
    ),
    "two calls in one chunk, neither ids nor indexes": (
        [[piece(name="f", arguments=X), piece(name="f", arguments=Y)]],
        [("f", X), ("f", Y)],
    ),
    "two equal calls in one chunk": (
        [[piece(name="f", arguments=X), piece(name="f", arguments=X)]],
        [("f", X), ("f", X)],
    ),
    "first and second piece in one chunk": ([[HEAD, piece(0, arguments=X)]], [("f", X)]),
    "whole call repeated at the end": (
        [[HEAD], [piece(0, arguments=X)], [piece(0, id="a", name="f", arguments=X)]],
        [("f", X)],
    ),
    "empty arguments": ([[HEAD]], [("f", "")]),
    "no arguments": ([[piece(0, id="a", name="f")]], [("f", "")]),
    "arguments are null": ([[piece(0, id="a", name="f", arguments=None)], [piece(0, arguments=X)]], [("f", X)]),
    "arguments are an object": ([[piece(0, id="a", name="f", arguments={"x": 1})]], [("f", X)]),
    "arguments are an empty object": ([[piece(0, id="a", name="f", arguments={})]], [("f", "")]),
    "arguments are an empty object at first": (
        [[piece(0, id="a", name="f", arguments={})], [piece(0, arguments=X)]],
        [("f", X)],
    ),
    "an empty piece at an index of its own": ([[HEAD], [piece(0, arguments=X)], [piece(1, arguments="")]], [("f", X)]),
    "tool_calls is an object": ([{"tool_calls": piece(0, id="a", name="f", arguments=X)}], [("f", X)]),
    "function_call": (
        [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": X}}],
        [("f", X)],
    ),
    "function_call beside tool_calls": (
        [{"function_call": {"name": "f", "arguments": X}, "tool_calls": [piece(0, id="a", name="f", arguments=X)]}],
        [("f", X)],
    ),
    "half a character in each piece": (
        [[HEAD], [piece(0, arguments='{"x":"\ud83d')], [piece(0, arguments='\ude00"}')]],
        [("f", '{"x":"😀"}')],
    ),
}


@pytest.mark.parametrize(("deltas", "expected"), MEANT.values(), ids=MEANT)
def test_tool_call_that_was_meant(deltas: list[Any], expected: list[Call]) -> None:
    completion, events = completed(*deltas)
    assert calls_of(completion) == expected
    assert len({call.id for call in completion.calls}) == len(expected)
    assert sent_calls(events) == [(call.id, call.name, "".join(call.deltas)) for call in completion.calls]


def sent_calls(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    starts = [event for event in events if event["type"] == "TOOL_CALL_START"]
    ends = [event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_END"]
    assert [start["toolCallId"] for start in starts] == ends
    return [
        (
            start["toolCallId"],
            start["toolCallName"],
            "".join(
                event["delta"]
                for event in events
                if event.get("toolCallId") == start["toolCallId"] and "delta" in event
            ),
        )
        for start in starts
    ]


NOT_RUN: dict[str, tuple[list[Any], list[Call]]] = {
    "no name": ([[piece(0, id="a", arguments=X)]], [("unnamed_tool", FAULT)]),
    "neither name nor id": ([[piece(0, arguments=X)]], [("unnamed_tool", FAULT)]),
    "neither name nor arguments": ([[piece(0, id="a")]], [("unnamed_tool", FAULT)]),
    "name is no string": ([[piece(0, id="a", name={"x": 1}, arguments=X)]], [("unnamed_tool", FAULT)]),
    "name is blank": ([[piece(0, id="a", name=" ", arguments=X)]], [("unnamed_tool", FAULT)]),
    "no name of the second": (
        [[piece(0, id="a", name="f", arguments=X)], [piece(1, id="b", arguments=Y)]],
        [("f", X), ("unnamed_tool", FAULT)],
    ),
    "arguments that may be of a call without a name": (
        [[HEAD], [piece(1, id="b", arguments=Y)]],
        [("f", FAULT), ("unnamed_tool", FAULT)],
    ),
    "arguments that may be of either call": (
        [[HEAD, piece(1, id="b", name="g", arguments="")], [piece(2, arguments='{"x"')], [piece(3, arguments=":1}")]],
        [("f", FAULT), ("g", FAULT), ("unnamed_tool", FAULT)],
    ),
    "arguments that are cut": ([[HEAD], [piece(0, arguments='{"x":')]], [("f", FAULT)]),
    "arguments without their beginning": ([[HEAD], [piece(0, arguments=":1}")]], [("f", FAULT)]),
    "two objects": ([[HEAD], [piece(0, arguments="{}")], [piece(0, arguments=X)]], [("f", FAULT)]),
    "two objects in one piece": ([[piece(0, id="a", name="f", arguments=X + Y)]], [("f", FAULT)]),
    "all arguments so far in each piece": (
        [[HEAD], [piece(0, arguments='{"x"')], [piece(0, arguments=X)]],
        [("f", FAULT)],
    ),
    "all arguments repeated at the end": ([[HEAD], [piece(0, arguments=X)], [piece(0, arguments=X)]], [("f", FAULT)]),
    "arguments are a list": ([[piece(0, id="a", name="f", arguments=[1])]], [("f", FAULT)]),
    "arguments are a number": ([[piece(0, id="a", name="f", arguments=0)]], [("f", FAULT)]),
    "arguments are encoded twice": ([[piece(0, id="a", name="f", arguments='"{}"')]], [("f", FAULT)]),
    "arguments go on under another id and the name": (
        [[piece(0, id="a", name="f", arguments="")], [piece(0, id="b", name="f", arguments=X)]],
        [("f", FAULT), ("f", X)],
    ),
    "arguments go on under another name": (
        [[piece(0, id="a", name="f", arguments='{"x"')], [piece(0, id="a", name="g", arguments=":1}")]],
        [("f", FAULT), ("g", FAULT)],
    ),
}


@pytest.mark.parametrize(("deltas", "expected"), NOT_RUN.values(), ids=NOT_RUN)
def test_tool_call_with_missing_pieces_has_a_fault(deltas: list[Any], expected: list[Call]) -> None:
    completion, events = completed(*deltas)
    assert calls_of(completion) == expected
    assert [name for _, name, _ in sent_calls(events)] == [name for name, _ in expected]


JUNK: list[Any] = [
    *(None, "text", 1, [], {"content": 1}, {"content": [None, "x", {"text": 1}]}, {"tool_calls": "x"}),
    *(
        {"tool_calls": [None, 1, "x", [], {}]},
        {"tool_calls": [{"function": "f"}]},
        {"tool_calls": [{"function": None}]},
    ),
    *({"function_call": "f"}, {"reasoning": 1}, {"tool_calls": [{"index": [], "id": [], "function": []}]}),
]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_junk_in_a_delta_is_ignored(junk: Any) -> None:
    completion, events = completed(junk, [piece(0, id="a", name="f", arguments=X)])
    assert calls_of(completion) == [("f", X)]
    assert [event["type"] for event in events] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]


@pytest.mark.parametrize("junk", ["text", 1, None, [], {"choices": "x"}, {"choices": [None, "x", {}]}, {"choices": {}}])
def test_junk_in_place_of_a_chunk_is_ignored(junk: Any) -> None:
    completion = ChatCompletion()
    assert list(completion.feed_chunk(construct_type(type_=ChatCompletionChunk, value=junk))) == []
    assert completion.finish is None


def test_message_in_place_of_the_delta() -> None:
    completion = ChatCompletion()
    message = {"content": "Hi", "tool_calls": [piece(id="a", name="f", arguments=X)]}
    events = [*completion.feed_chunk(chunk({"message": message, "finish_reason": "tool_calls"})), *completion.close()]
    assert [event["delta"] for event in events if "delta" in event] == ["Hi", X]
    assert calls_of(completion) == [("f", X)]


def test_message_after_deltas_is_not_repeated() -> None:
    completion = ChatCompletion()
    events = [
        *completion.feed_chunk(chunk({"delta": {"content": "Hi"}})),
        *completion.feed_chunk(chunk({"message": {"content": "Hi"}, "finish_reason": "stop"})),
    ]
    assert [event["delta"] for event in events if "delta" in event] == ["Hi"]
    assert completion.finish_reason == "stop"


# --- truncated and failed completions ----------------------------------------


def test_length_stops_the_call_that_was_being_written() -> None:
    completion, _ = completed(
        [HEAD], [piece(0, arguments=X)], [piece(1, id="b", name="g", arguments=Y)], finish="length"
    )
    assert calls_of(completion) == [("f", X), ("g", FAULT)]
    assert "token limit" in str(completion.calls[1].fault)


@pytest.mark.parametrize("arguments", ["", '{"x":', X])
def test_length_inside_a_call_whatever_its_arguments(arguments: str) -> None:
    completion, _ = completed([HEAD], [piece(0, arguments=arguments)], finish="length")
    assert calls_of(completion) == [("f", FAULT)]


def test_length_in_the_text_after_a_call_leaves_the_call() -> None:
    completion, _ = completed([piece(0, id="a", name="f", arguments=X)], {"content": "Well"}, finish="length")
    assert calls_of(completion) == [("f", X)]


@pytest.mark.parametrize("finish", [None, "", "error", "content_filter"])
def test_failed_completion_leaves_no_call_to_run(finish: str | None) -> None:
    completion, events = completed([piece(0, id="a", name="f", arguments=X)], [piece(1, arguments=Y)], finish=finish)
    assert calls_of(completion) == [("f", FAULT)]
    assert [name for _, name, _ in sent_calls(events)] == ["f"]


def test_finish_reason_that_is_worse_counts() -> None:
    completion, _ = completed([HEAD], finish="error")
    list(completion.feed_chunk(chunk({"delta": {}, "finish_reason": "stop"})))
    assert completion.finish_reason == "error"
    assert completion.has_failed


# --- when a call is sent -----------------------------------------------------


def test_tool_call_is_sent_as_soon_as_its_name_is_known() -> None:
    completion = ChatCompletion(TOOLS)
    events = completion.feed_chunk(chunk({"delta": {"tool_calls": [HEAD]}}))
    assert [event["type"] for event in events] == ["TOOL_CALL_START"]


def test_tool_call_whose_name_may_go_on_is_sent_with_its_arguments() -> None:
    completion = ChatCompletion(("f", "fg"))
    assert list(completion.feed_chunk(chunk({"delta": {"tool_calls": [HEAD]}}))) == []
    text = completion.feed_chunk(chunk({"delta": {"content": "Well"}}))
    assert [event["type"] for event in text][:2] == ["TOOL_CALL_START", "TEXT_MESSAGE_START"]


def test_half_a_character_in_the_text_is_joined_for_the_next_request() -> None:
    completion, _ = completed({"content": "\ud83d"}, {"content": "\ude00 \ud83d"}, finish="stop")
    assert completion.chat_message()["content"] == "😀 \ufffd"
