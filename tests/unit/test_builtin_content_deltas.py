"""Content and reasoning of completions as servers of the Chat Completions API send them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from copilot_runtime.agents._builtin._apis.chat.chunks import ChunkParser
from copilot_runtime.agents._builtin.completion_stream import CompletionTranslator
from copilot_runtime.agents._builtin.conversation import to_messages
from copilot_runtime.agents._builtin.maker_rules import rules_for
from copilot_runtime.agents._builtin.providers import OPENAI_COMPATIBLE, Model
from copilot_runtime.agents._builtin.wire_messages import WireMessages
from copilot_runtime.agents._builtin.wire_tools import WireTools

from .builtin_helpers import chat_messages

CALL = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
SECRET = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "c1", "format": "google-gemini-v1", "index": 0}


def completed(*deltas: Mapping[str, Any], reason: str = "stop") -> tuple[CompletionTranslator, list[dict[str, Any]]]:
    translator, parser = CompletionTranslator("compatible", (), {"f": "f"}), ChunkParser()
    choices = [*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": reason}]
    events = [event for choice in choices for event in translator.feed(parser.deltas({"choices": [choice]}))]
    return translator, [*events, *translator.close()]


def said(events: Sequence[Mapping[str, Any]], kind: str) -> str:
    return "".join(event["delta"] for event in events if event["type"] == kind)


CONTENTS: dict[str, tuple[Any, str, str]] = {
    "null": (None, "", ""),
    "a number": (1.5, "", ""),
    "a text": ("Hi", "", "Hi"),
    "Mistral's parts": (
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
            {"type": "text", "text": "Hi"},
            {"type": "reference", "reference_ids": [1]},
        ],
        "hm",
        "Hi",
    ),
    "thinking as a text": ([{"type": "thinking", "thinking": "hm"}], "hm", ""),
    "a part alone": ({"type": "text", "text": "Hi"}, "", "Hi"),
    "a text with a value": ([{"type": "text", "text": {"value": "Hi", "annotations": []}}], "", "Hi"),
    "output_text": ([{"type": "output_text", "text": "Hi"}], "", "Hi"),
    "parts of other types": ([{"type": "chart", "data": 1}, None, 1, {"text": None}], "", ""),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_content_of_any_form(case: str) -> None:
    content, reasoning, text = CONTENTS[case]
    for _, events in (completed({"content": content}), completed({"content": content}, {"content": None})):
        assert said(events, "TEXT_MESSAGE_CONTENT") == text
        assert said(events, "REASONING_MESSAGE_CONTENT") == reasoning


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("value", ["hm", [{"type": "text", "text": "hm"}], {"content": "hm"}])
def test_reasoning_of_any_form(name: str, value: Any) -> None:
    _, events = completed({name: value}, {"content": "Hi"})
    assert said(events, "REASONING_MESSAGE_CONTENT") == "hm"


def sent_back(completion: CompletionTranslator) -> dict[str, Any]:
    message = completion.message()
    assert message is not None
    (converted,) = chat_messages([message], OPENAI_COMPATIBLE)
    return converted


def test_reasoning_details_are_shown_once_and_sent_back() -> None:
    def piece(text: str, **members: Any) -> dict[str, Any]:
        detail = {"type": "reasoning.text", "text": text, "index": 0, "format": "anthropic-claude-v1", **members}
        return {"reasoning": text, "reasoning_details": [detail]}

    completion, events = completed(piece("h"), piece("m"), piece("", signature="s"), CALL, reason="tool_calls")
    assert said(events, "REASONING_MESSAGE_CONTENT") == "hm"
    converted = sent_back(completion)
    assert converted["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "index": 0, "format": "anthropic-claude-v1", "signature": "s"}
    ]
    assert converted["reasoning"] == "hm"
    assert converted["tool_calls"][0]["id"] == "c1"


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_details": [SECRET]}, CALL],
        [{"reasoning_details": [SECRET], **CALL}],
        [CALL, {"content": "", "reasoning_details": [SECRET]}],
    ],
    ids=["before the call", "with the call", "after the call"],
)
def test_reasoning_details_that_are_encrypted_are_sent_back(deltas: list[dict[str, Any]]) -> None:
    completion, events = completed(*deltas, reason="tool_calls")
    assert said(events, "REASONING_MESSAGE_CONTENT") == ""
    assert sent_back(completion)["reasoning_details"] == [SECRET]


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("text", ["", "hm"])
def test_reasoning_details_survive_a_reload(is_late: bool, text: str) -> None:
    """Clients store them, and send them with the next run; also those that came after the call."""
    from ag_ui.core import AssistantMessage, ReasoningMessage, ToolMessage

    delta = {"reasoning_details": [SECRET], "reasoning": text}
    _, events = completed(*([CALL, delta] if is_late else [delta, CALL]), reason="tool_calls")
    (value,) = [event["encryptedValue"] for event in events if event["type"] == "REASONING_ENCRYPTED_VALUE"]
    assert json.loads(value)["reasoning_details"] == [SECRET]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    reasoning = {"id": "r", "role": "reasoning", "content": text, "encryptedValue": value}
    response = [
        ReasoningMessage.model_validate(reasoning),
        AssistantMessage.model_validate({"id": "a", "role": "assistant", "toolCalls": [call]}),
    ]
    history = [
        *(reversed(response) if is_late else response),
        ToolMessage(id="t", role="tool", tool_call_id="c1", content="x"),
    ]
    messages = to_messages(history, "compatible", resumed_results={}, forward_system=False, forward_developer=False)
    rules = rules_for(Model(OPENAI_COMPATIBLE, "m"))
    first, _ = chat_messages(WireMessages(rules, WireTools([], rules)).update(messages), OPENAI_COMPATIBLE)
    assert first["reasoning_details"] == [SECRET]
