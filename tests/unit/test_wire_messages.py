"""Histories as makers of models accept them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from copilot_runtime.agents._builtin.maker_rules import MakerRules
from copilot_runtime.agents._builtin.messages import (
    AssistantMessage,
    Call,
    Media,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolMessage,
    UserMessage,
)
from copilot_runtime.agents._builtin.wire_messages import WireMessages
from copilot_runtime.agents._builtin.wire_tools import WireTools

from .test_wire_tools import ANTHROPIC, GOOGLE, MISTRAL, OPENAI, OTHER

ALL = [OPENAI, ANTHROPIC, GOOGLE, MISTRAL, OTHER]
STRICT = [ANTHROPIC, GOOGLE, MISTRAL]
HI = UserMessage("Hi")
ANSWER = AssistantMessage((Text("Hello"),))


def convert(rules: MakerRules, *messages: Message) -> list[Message]:
    return WireMessages(rules, WireTools([], rules)).update(messages)


def call(call_id: str, name: str = "paint") -> AssistantMessage:
    return AssistantMessage((Call(call_id, name, "{}"),))


IDS = ["c1", "call_" + "a" * 60, "toolu_01A", "functions.paint:0", "ä", "", "abcdefgh1"]


@pytest.mark.parametrize("rules", ALL)
def test_call_ids_are_those_that_the_maker_accepts(rules: MakerRules) -> None:
    conversation: list[Message] = [HI]
    for call_id in IDS:
        conversation += [call(call_id), ToolMessage(call_id, "paint", "painted")]
    converted = convert(rules, *conversation)
    calls = [part.id for each in converted if isinstance(each, AssistantMessage) for part in each.calls]
    assert calls == [each.call_id for each in converted if isinstance(each, ToolMessage)]
    assert len(set(calls)) == len(IDS)
    assert all(rules.call_id.fullmatch(each) for each in calls)
    kept = [identity for identity in IDS if rules.call_id.fullmatch(identity)]
    assert [identity for identity in calls if identity in IDS] == kept


@pytest.mark.parametrize("rules", ALL)
def test_call_of_a_tool_whose_name_is_not_accepted_is_renamed(rules: MakerRules) -> None:
    _, message, result, *_ = convert(
        rules, HI, call("abcdefgh1", "docs.read"), ToolMessage("abcdefgh1", "docs.read", "x")
    )
    assert isinstance(message, AssistantMessage)
    assert isinstance(result, ToolMessage)
    assert message.calls[0].name == result.name == "docs_read"


@pytest.mark.parametrize("rules", STRICT)
@pytest.mark.parametrize(
    "conversation",
    [
        (),
        (ANSWER,),
        (ANSWER, HI),
        (HI, ANSWER),
        (SystemMessage("s"), ANSWER),
        (UserMessage(" \n"),),
        (AssistantMessage((Text(" "),)),),
    ],
)
def test_history_begins_and_ends_as_the_maker_wants(rules: MakerRules, conversation: Sequence[Message]) -> None:
    converted = [each for each in convert(rules, *conversation) if not isinstance(each, SystemMessage)]
    assert isinstance(converted[0], UserMessage)
    assert isinstance(converted[-1], UserMessage)
    assert not any(isinstance(each, UserMessage) and not str(each.content).strip() for each in converted)
    assert [each for each in converted if each in (HI, ANSWER)] == [
        each for each in conversation if each in (HI, ANSWER)
    ]


@pytest.mark.parametrize("rules", STRICT)
def test_instructions_in_the_middle_are_moved_to_the_beginning(rules: MakerRules) -> None:
    first, second = SystemMessage("first"), SystemMessage("second", is_developer=True)
    assert convert(rules, first, HI, second, ANSWER, HI) == [first, second, HI, ANSWER, HI]
    assert convert(OPENAI, first, HI, second) == [first, HI, second]


@pytest.mark.parametrize("rules", STRICT)
def test_blank_texts_are_left_out(rules: MakerRules) -> None:
    image = Media("image", "image/png", "", data="AA==")
    assert convert(rules, UserMessage((Text(""), image, Text(" "))), UserMessage("")) == [UserMessage((image,))]


@pytest.mark.parametrize("rules", ALL)
def test_reasoning_without_what_it_led_to_and_blank_instructions_are_left_out(rules: MakerRules) -> None:
    thought = Reasoning("Hm.", {"signature": "s"})
    blank = AssistantMessage((thought, Text(" ")))
    led_on = AssistantMessage((thought, Text("So")))
    converted = convert(rules, SystemMessage(" "), HI, blank, led_on, HI)
    assert converted == [HI, led_on, HI]


def test_users_and_models_take_turns() -> None:
    image = Media("image", "image/png", "", data="AA==")
    result = ToolMessage("abcdefgh1", "paint", "painted")
    converted = convert(MISTRAL, HI, UserMessage((image,)), ANSWER, call("abcdefgh1"), result, HI, HI)
    assert [type(each).__name__ for each in converted] == [
        "UserMessage", "AssistantMessage", "ToolMessage", "AssistantMessage", "UserMessage"
    ]  # fmt: skip
    assert converted[0] == UserMessage((Text("Hi"), image))


@pytest.mark.parametrize("rules", ALL)
def test_images_in_results_stay_there_or_follow_the_results(rules: MakerRules) -> None:
    image = Media("image", "image/png", "", data="AA==")
    calls = AssistantMessage((Call("abcdefgh1", "a", "{}"), Call("abcdefgh2", "b", "{}")))
    results = (ToolMessage("abcdefgh1", "a", "see", (image,)), ToolMessage("abcdefgh2", "b", "x"))
    converted = convert(rules, HI, calls, *results)
    assert [type(each) for each in converted[:4]] == [UserMessage, AssistantMessage, ToolMessage, ToolMessage]
    if "image" in rules.media_in_results:
        assert converted[2] == results[0]
        assert len(converted) == 4
        return
    assert converted[2] == ToolMessage("abcdefgh1", "a", "see")
    (shown,) = [each for each in converted[4:] if isinstance(each, UserMessage)]
    assert image in shown.content


@pytest.mark.parametrize("rules", ALL)
def test_later_steps_only_add_messages(rules: MakerRules) -> None:
    messages = WireMessages(rules, WireTools([], rules))
    conversation: list[Any] = []
    before = list(messages.update(conversation))
    for step in range(3):
        conversation += [call(f"abcdefgh{step}"), ToolMessage(f"abcdefgh{step}", "paint", "painted")]
        after = list(messages.update(conversation))
        assert after[: len(before)] == before
        assert len(after) == len(before) + 2
        before = after


def test_tools_that_are_called_in_the_history_are_defined_where_the_maker_wants_it() -> None:
    tools = WireTools([], ANTHROPIC)
    messages = WireMessages(ANTHROPIC, tools)
    messages.update([HI, call("c1", "docs.read"), ToolMessage("c1", "docs.read", "x"), call("c2", "docs.read")])
    (stand_in,) = tools.with_called(messages.called_tools())
    assert re.fullmatch("docs_read", stand_in.name)
    assert WireTools([], OPENAI).with_called(messages.called_tools()) == []


def test_images_in_results_of_later_steps_follow_in_turns() -> None:
    image = Media("image", "image/png", "", data="AA==")
    messages = WireMessages(MISTRAL, WireTools([], MISTRAL))
    conversation: list[Message] = [HI]
    messages.update(conversation)
    conversation += [call("abcdefgh1"), ToolMessage("abcdefgh1", "paint", "see", (image,))]
    kinds = [type(each).__name__ for each in messages.update(conversation)]
    assert kinds == ["UserMessage", "AssistantMessage", "ToolMessage", "AssistantMessage", "UserMessage"]
