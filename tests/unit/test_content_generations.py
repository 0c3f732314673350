"""Content parts of both generations of AG-UI, whichever line of ag-ui-protocol is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime._server.endpoints.run_input import parse_input
from copilot_runtime._server.errors import InvalidRunInput
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime.agents._builtin.conversation import to_messages
from copilot_runtime.agents._builtin.messages import ToolMessage
from copilot_runtime.agents._builtin.providers import PROVIDERS
from copilot_runtime.testing import TestClient

from .builtin_helpers import chat_request_messages
from .recorder_helpers import FINISHED, STARTED, run_input

Part = dict[str, Any]
OPENAI = next(provider for provider in PROVIDERS if provider.name == "openai")
DATA = {"type": "data", "value": "QUJD", "mimeType": "image/png"}
URL = "https://x.example/a.png"


def user(*parts: Part) -> Part:
    return {"id": "u", "role": "user", "content": list(parts)}


def tool(content: Any) -> list[Part]:
    function = {"name": "f", "arguments": "{}"}
    return [
        {"id": "a", "role": "assistant", "toolCalls": [{"id": "c", "type": "function", "function": function}]},
        {"id": "r", "role": "tool", "toolCallId": "c", "content": content},
    ]


def binary(**members: Any) -> Part:
    return {"type": "binary", "mimeType": "image/png", **members}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": URL}}
PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}

# By part: what a model is sent for it.
USER_PARTS: Mapping[str, tuple[Part, Part]] = {
    "text": ({"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}),
    "text of 1.0": ({"type": "text", "text": "hi", "id": "p", "metadata": {}}, {"type": "text", "text": "hi"}),
    "image": ({"type": "image", "source": DATA}, IMAGE),
    "image with an id": ({"type": "image", "source": DATA, "id": "p", "metadata": None}, IMAGE),
    "binary with data": (binary(data="QUJD"), IMAGE),
    "binary with a URL": (binary(url=URL), IMAGE_URL),
    "binary with all": (binary(data="QUJD", url=URL, id="file-1", filename=None), IMAGE),
    "binary document": (binary(mimeType="application/pdf", data="QUJD", filename="a.pdf"), PDF),
    "binary with an id": (
        binary(mimeType="application/pdf", id="file-1"),
        {"type": "file", "file": {"file_id": "file-1"}},
    ),
    "file": (
        {"type": "document", "source": {"type": "file", "value": "file-1"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ),
}


@pytest.mark.requirement("EVENT-05")
@pytest.mark.parametrize("name", USER_PARTS)
def test_content_parts_of_a_user_reach_the_model(name: str) -> None:
    part, sent = USER_PARTS[name]
    wire = run_input(messages=[user({"type": "text", "text": "Look:"}, part)], x={"unknown": None})
    parsed = parse_input(json.dumps(wire).encode(), InputLimits())
    assert parsed.wire == wire
    [message] = chat_request_messages(
        parsed.model.messages, OPENAI, resumed_results={}, forward_system=False, forward_developer=False
    )
    assert message == {"role": "user", "content": [{"type": "text", "text": "Look:"}, sent]}


@pytest.mark.requirement("EVENT-05")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("3", ["3"]),
        ([], [""]),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], ["one\ntwo"]),
        ([{"type": "text", "text": "one"}, {"type": "image", "source": DATA}], ["one", "image", "image/png"]),
        ([{"type": "document", "source": {"type": "file", "value": "file-1"}}], ["document", "file-1"]),
        ([binary(data="QUJD")], ["image", "image/png"]),
    ],
)
def test_content_parts_of_a_tool_reach_the_model(content: Any, expected: list[str]) -> None:
    parsed = parse_input(json.dumps(run_input(messages=tool(content))).encode(), InputLimits())
    [_, result] = to_messages(
        parsed.model.messages, OPENAI.name, resumed_results={}, forward_system=False, forward_developer=False
    )
    assert isinstance(result, ToolMessage)
    # Images follow in a message of their own, since no maker accepts them in every result.
    received = "\n".join((result.text, *map(str, result.media)))
    assert all(text in received for text in expected)


@pytest.mark.requirement("EVENT-05")
def test_content_parts_of_both_generations_in_one_history() -> None:
    """What a thread's client sends again with every run must never make the thread unusable."""
    messages = [
        user(binary(data="QUJD"), {"type": "document", "source": {"type": "file", "value": "file-1"}}),
        *tool([{"type": "text", "text": "one"}]),
        {"id": "t", "role": "reasoning", "content": "hm", "encryptedValue": "e"},
        {"id": "p", "role": "activity", "activityType": "PLAN", "content": {}},
    ]
    bodies = []

    def agent(input: Any, context: RunContext) -> Any:
        bodies.append(dict(context.body))
        return [STARTED, FINISHED]

    with TestClient(CopilotRuntime(agents={"a": agent})) as client:
        for _ in range(2):
            result = client.run("a", messages, thread_id="t")
            assert (result.status, result.events[-1]["type"]) == (200, "RUN_FINISHED")
        [started, _] = client.connect("a", "t").events[:2]
    assert [body["messages"] for body in bodies] == [messages, messages]
    # In the form that clients of every version can read: see test_events_schema.py.
    assert started["input"]["messages"][0]["content"] == [
        binary(data="QUJD"),
        {"type": "binary", "mimeType": "application/octet-stream", "id": "file-1"},
    ]
    assert started["input"]["messages"][2]["content"] == "one"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (user(binary()), "messages.0.user"),
        (user(binary(mimeType=None, data="QUJD")), "messages.0.user"),
        (user({"type": "image_url", "image_url": {"url": URL}}), "image_url"),
        (user({"type": "image", "source": {"type": "attachment", "value": "x"}}), "messages.0.user"),
        (user({"type": "image"}), "messages.0.user"),
        ({"id": "x", "role": "ai", "content": "x"}, "role"),
        ({"id": "x", "role": "tool", "content": [], "toolCallId": None}, "toolCallId"),
        ({"id": "x", "role": "tool", "content": [7], "toolCallId": "c"}, "content"),
        ("x", "messages.0"),
    ],
)
def test_content_parts_of_no_generation_are_refused(message: Any, problem: str) -> None:
    for body in (run_input(messages=[message]), run_input(messages=[user(binary(data="QUJD")), message])):
        with pytest.raises(InvalidRunInput, match=problem.replace("0", r"\d").replace(".", r"\.")):
            parse_input(json.dumps(body).encode(), InputLimits())
