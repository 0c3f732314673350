"""Chunks of a completion, of servers with habits of their own, as AG-UI events."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from copilot_runtime.agents._builtin.usage import Usage

from .builtin_helpers import ChatCompletion

Event = dict[str, Any]


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> ChatCompletionChunk:
    """A chunk as the SDK makes it: whatever a server sends, unchecked."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return ChatCompletionChunk.construct(**{"choices": choices, **members})


def piece(index: int | None = None, **members: Any) -> dict[str, Any]:
    function = {name: members.pop(name) for name in ("name", "arguments") if name in members}
    return {"index": index, **members, "function": function}


def calls(*pieces: dict[str, Any]) -> ChatCompletionChunk:
    return chunk({"tool_calls": list(pieces)})


def told(answer: ChatCompletion, chunks: Iterable[ChatCompletionChunk]) -> list[Event]:
    events = [event for chunk in chunks for event in answer.feed_chunk(chunk)]
    return [*events, *answer.close()]


def answered(
    *chunks: ChatCompletionChunk, taken: Iterable[str] = (), tools: Collection[str] = ()
) -> tuple[ChatCompletion, list[Event]]:
    answer = ChatCompletion(tools, used_call_ids=taken)
    return answer, told(answer, chunks)


def outline(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def arguments(events: list[Event]) -> dict[str, str]:
    """By the names of the calls."""
    names = {event["toolCallId"]: event["toolCallName"] for event in events if event["type"] == "TOOL_CALL_START"}
    found = dict.fromkeys(names.values(), "")
    for event in events:
        if event["type"] == "TOOL_CALL_ARGS":
            found[names[event["toolCallId"]]] += event["delta"]
    return found


# --- text and reasoning ------------------------------------------------------


def test_text_is_one_message_in_chunks() -> None:
    answer, events = answered(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
    )
    assert outline(events) == ["TEXT_MESSAGE_START", *["TEXT_MESSAGE_CONTENT"] * 2, "TEXT_MESSAGE_END"]
    assert len({event["messageId"] for event in events}) == 1
    assert answer.chat_message() == {"role": "assistant", "content": "Hello"}
    assert answer.finish_reason == "stop"


def test_refusal_is_text() -> None:
    _, events = answered(chunk({"refusal": "No."}))
    assert events[1]["delta"] == "No."


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_under_any_name_ends_before_the_text(name: str) -> None:
    _, events = answered(chunk({name: "hm "}), chunk({name: "so"}), chunk({"content": "Done"}))
    assert outline(events) == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        *["REASONING_MESSAGE_CONTENT"] * 2,
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
    ]
    assert events[0]["messageId"] != events[-1]["messageId"]


def test_reasoning_under_two_names_is_sent_once() -> None:
    _, events = answered(chunk({"reasoning": "hm", "reasoning_content": "hm"}))
    assert outline(events).count("REASONING_MESSAGE_CONTENT") == 1


def test_reasoning_between_texts_makes_two_messages() -> None:
    _, events = answered(chunk({"content": "a"}), chunk({"reasoning": "hm"}), chunk({"content": "b"}))
    assert len({event["messageId"] for event in events}) == 3


def test_choices_other_than_the_first_are_ignored() -> None:
    other = ChatCompletionChunk.construct(choices=[{"index": 1, "delta": {"content": "other"}}])
    _, events = answered(other, ChatCompletionChunk.construct(), chunk(None), chunk({"content": "mine"}))
    assert [event["delta"] for event in events if "delta" in event] == ["mine"]


# --- tool calls --------------------------------------------------------------


def test_tool_calls_in_parallel_are_streamed() -> None:
    answer, events = answered(
        calls(piece(0, id="a", name="add", arguments="")),
        calls(piece(0, arguments='{"x"'), piece(1, id="b", name="sub", arguments='{"y":')),
        calls(piece(0, arguments=":1}")),
        calls(piece(1, arguments="2}")),
        chunk({}, "tool_calls"),
    )
    assert outline(events) == [
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_START",
        *["TOOL_CALL_ARGS"] * 3,
        *["TOOL_CALL_END"] * 2,
    ]
    assert arguments(events) == {"add": '{"x":1}', "sub": '{"y":2}'}
    assert [call.id for call in answer.calls] == ["a", "b"]


HABITS = [
    pytest.param(
        [piece(0, id="a", name="f", arguments="{"), piece(0, id="a", name="f", arguments="}")],
        {"f": "{}"},
        id="id and name repeated",
    ),
    pytest.param(
        [piece(0, id="a", name="f", arguments="{}"), piece(0, id="b", name="g", arguments="[]")],
        {"f": "{}", "g": "[]"},
        id="all at index 0",
    ),
    pytest.param(
        [piece(None, id="a", name="f", arguments="{}"), piece(None, id="b", name="g", arguments="[]")],
        {"f": "{}", "g": "[]"},
        id="no index",
    ),
    pytest.param(
        [piece(0, name="f", arguments="{}"), piece(0, name="g", arguments="[]")],
        {"f": "{}", "g": "[]"},
        id="neither ids nor indexes",
    ),
    pytest.param(
        [piece(0, id="", name="f", arguments="{"), piece(0, id="", arguments="}")], {"f": "{}"}, id="empty ids"
    ),
    pytest.param(
        [piece(0, id="a", name="f", arguments="{"), piece(0, id="x", arguments="}")],
        {"f": "{}"},
        id="a new id for each piece",
    ),
    pytest.param([piece(0, id="a", arguments="{"), piece(0, name="f", arguments="}")], {"f": "{}"}, id="name late"),
    pytest.param([piece(0, id="a", name="f")], {"f": ""}, id="no arguments"),
]


@pytest.mark.parametrize(("pieces", "expected"), HABITS)
def test_tool_calls_are_told_apart_by_index_or_id(pieces: list[dict[str, Any]], expected: dict[str, str]) -> None:
    answer, events = answered(*(calls(piece) for piece in pieces))
    assert arguments(events) == expected
    ids = [call.id for call in answer.calls]
    assert all(ids)
    assert len(set(ids)) == len(expected)


def test_tool_call_without_a_name_is_not_sent() -> None:
    answer, events = answered(calls(piece(0, id="a", arguments="{}")))
    assert events == []
    assert answer.calls == []


def test_tool_call_id_that_the_conversation_has_is_replaced() -> None:
    answer, events = answered(calls(piece(0, id="call_0", name="f", arguments="{}")), taken=["call_0"])
    assert answer.calls[0].id != "call_0"
    assert {event["toolCallId"] for event in events} == {answer.calls[0].id}


def test_tool_calls_belong_to_the_message_before_them() -> None:
    _, events = answered(chunk({"content": "Let me see."}), calls(piece(0, id="a", name="f")))
    assert outline(events)[2:4] == ["TEXT_MESSAGE_END", "TOOL_CALL_START"]
    assert events[3]["parentMessageId"] == events[0]["messageId"]


def test_text_after_a_tool_call_is_a_message_of_its_own() -> None:
    _, events = answered(calls(piece(0, id="a", name="f")), chunk({"content": "Wait."}))
    parents = {event["parentMessageId"] for event in events if "parentMessageId" in event}
    assert events[1]["type"] == "TEXT_MESSAGE_START"
    assert events[1]["messageId"] not in parents


def test_thought_signatures_are_sent_back_with_their_tool_calls() -> None:
    answer, _ = answered(chunk({"reasoning_content": "hm"}), calls(piece(0, id="a", name="f", arguments="{}")))
    assert answer.chat_message()["reasoning_content"] == "hm"
    answer, _ = answered(chunk({"reasoning_content": "hm"}), chunk({"content": "Hello"}))
    assert answer.chat_message() == {"role": "assistant", "content": "Hello"}


def test_thought_signature_of_a_tool_call_reaches_the_client() -> None:
    signature = {"google": {"thought_signature": "abc"}}
    answer, events = answered(calls(piece(0, id="a", name="f", arguments="{}", extra_content=signature)))
    assert answer.chat_message()["tool_calls"][0]["extra_content"] == signature
    assert events[-1]["type"] == "REASONING_ENCRYPTED_VALUE"
    assert events[-1]["entityId"] == "a"
    assert "abc" in events[-1]["encryptedValue"]


# --- breaking off ------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "ends"),
    [
        (chunk({"content": "a"}), ["TEXT_MESSAGE_END"]),
        (chunk({"reasoning": "a"}), ["REASONING_MESSAGE_END", "REASONING_END"]),
        (calls(piece(0, id="a", name="f"), piece(1, id="b", name="g")), ["TOOL_CALL_END", "TOOL_CALL_END"]),
    ],
)
def test_open_messages_are_closed_wherever_the_stream_breaks_off(last: ChatCompletionChunk, ends: list[str]) -> None:
    answer, events = answered(last)
    assert outline(events)[-len(ends) :] == ends
    assert answer.finish_reason is None


# --- usage -------------------------------------------------------------------

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 3}}


def test_usage_that_grows_with_each_chunk_is_counted_once() -> None:
    answer, _ = answered(
        chunk({"content": "a"}, usage={**USAGE, "total_tokens": 1}), chunk({}, "stop"), chunk(None, usage=USAGE)
    )
    assert answer.usage["totalTokens"] == 15


def test_usage_is_summed_over_a_runs_requests() -> None:
    answer, _ = answered(chunk(None, usage=USAGE))
    usage = Usage("openai", "m")
    usage.add(answer.usage)
    usage.add({})
    usage.add(answer.usage)
    assert usage.counts == {"inputTokens": 20, "outputTokens": 10, "totalTokens": 30, "cachedInputTokens": 6}


def test_usage_that_was_not_reported_is_absent() -> None:
    assert Usage("openai", "m").event_fields("RUN_FINISHED") == {}
