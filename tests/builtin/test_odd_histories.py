"""Histories that makers refuse, over the APIs of all makers: what is sent must be what each of them accepts."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from .client import assistant_message, frontend_tool, of_type, text_of, tool_call, tool_message, user_message
from .frames import APIS, Text
from .scripts import Scripts, answer_over
from .verifier import RecordingClient

pytestmark = [
    pytest.mark.requirement("AGENT-11"),
    # The adapters do not differ in what they know of models.
    pytest.mark.parametrize("runtime", ["asgi"], indirect=True),
    pytest.mark.parametrize("api", APIS),
]

LONG = "call_" + "x" * 70
IMAGE = {
    "type": "image",
    "source": {"type": "data", "value": base64.b64encode(b"png").decode(), "mimeType": "image/png"},
}


def calls(*ids: str, text: str | None = None) -> dict[str, Any]:
    return assistant_message(text, *(tool_call(call_id, "docs.read") for call_id in ids))


HISTORIES: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "an assistant first": [assistant_message("Hello")],
    "ids of another maker": [user_message("a"), calls("functions.read:0", LONG), tool_message(LONG, "x")],
    "calls without results": [user_message("a"), calls("c1", "c2"), tool_message("c2", "x"), user_message("b")],
    "results without calls": [user_message("a"), tool_message("c9", "x")],
    "doubled and late results": [
        user_message("a"),
        calls("c1"),
        user_message("b"),
        tool_message("c1", "x"),
        tool_message("c1", "y"),
    ],
    "the same id twice": [
        user_message("a"),
        calls("c1"),
        tool_message("c1", "x"),
        calls("c1"),
        tool_message("c1", "y"),
    ],
    "empty messages": [
        user_message(""),
        assistant_message(""),
        user_message(" "),
        assistant_message(" \n"),
        calls("c1"),
    ],
    "two users and two assistants in a row": [
        user_message("a"),
        user_message("b"),
        assistant_message("c"),
        assistant_message("d"),
        calls("c1", text="e"),
        tool_message("c1", "x"),
    ],
    "images in results": [
        user_message("a"),
        calls("c1", "c2"),
        tool_message("c1", [{"type": "text", "text": "see"}, IMAGE]),
        tool_message("c2", "x"),
    ],
    "arguments that are no JSON": [user_message("a"), assistant_message(None, tool_call("c1", "docs.read", '{"a": '))],
}


def check_chat(body: Mapping[str, Any]) -> None:
    messages = body["messages"]
    seen: list[str] = []
    for index, message in enumerate(messages):
        ids = [call["id"] for call in message.get("tool_calls", ())]
        assert all(len(call_id) <= 40 for call_id in ids)
        results = messages[index + 1 : index + 1 + len(ids)]
        assert [result.get("tool_call_id") for result in results] == ids
        assert all(re.fullmatch("[a-zA-Z0-9_-]+", call["function"]["name"]) for call in message.get("tool_calls", ()))
        assert message["role"] == "tool" or message.get("content") or ids
        seen += ids
    assert sum(message["role"] == "tool" for message in messages) == len(seen) == len(set(seen))


def check_responses(body: Mapping[str, Any]) -> None:
    made = [item["call_id"] for item in body["input"] if item.get("type") == "function_call"]
    answered = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
    assert sorted(made) == sorted(answered)
    assert len(set(made)) == len(made)
    assert all(0 < len(call_id) <= 64 for call_id in made)
    assert all(item.get("content", "x") for item in body["input"])


def check_messages(body: Mapping[str, Any]) -> None:
    messages = body["messages"]
    assert [message["role"] for message in messages] == [("user", "assistant")[n % 2] for n in range(len(messages))]
    assert messages[-1]["role"] == "user"
    seen: list[str] = []
    for message, following in zip(messages, [*messages[1:], {"content": []}], strict=True):
        assert message["content"]
        assert all(block["text"].strip() for block in message["content"] if block["type"] == "text")
        ids = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        first = following["content"][: len(ids)]
        assert {block["tool_use_id"] for block in first if block["type"] == "tool_result"} == set(ids)
        assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", call_id) for call_id in ids)
        seen += ids
    results = [block for message in messages for block in message["content"] if block["type"] == "tool_result"]
    assert len(results) == len(seen) == len(set(seen))
    assert not seen or body["tools"]


def check_generate_content(body: Mapping[str, Any]) -> None:
    contents = body["contents"]
    assert [content["role"] for content in contents] == [("user", "model")[n % 2] for n in range(len(contents))]
    assert contents[-1]["role"] == "user"
    for content, following in zip(contents, [*contents[1:], {"parts": []}], strict=True):
        assert content["parts"]
        made = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        answered = [part["functionResponse"]["name"] for part in following["parts"] if "functionResponse" in part]
        assert made == answered
        assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_-]*", name) for name in made)
        assert all(part["text"].strip() for part in content["parts"] if set(part) == {"text"})


CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "chat": check_chat,
    "responses": check_responses,
    "messages": check_messages,
    "generate_content": check_generate_content,
}


@pytest.mark.parametrize("tools", [(), ("docs.read",)], ids=["no tools", "with the tool"])
@pytest.mark.parametrize("case", HISTORIES)
def test_history_is_one_that_the_maker_accepts(
    client: RecordingClient, scripts: Scripts, api: str, case: str, tools: Sequence[str]
) -> None:
    prompt = scripts.on(answer_over(api, Text(["ok"])))
    events = client.chat(f"fake-{api}-bare", prompt, before=HISTORIES[case], tools=list(map(frontend_tool, tools)))
    assert text_of(events) == "ok", of_type(events, "RUN_ERROR")
    (request,) = scripts.requests(prompt)
    CHECKS[api](request.json())
