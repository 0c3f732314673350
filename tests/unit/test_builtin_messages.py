"""AG-UI's messages as those of the API: every role and part, and what is said of what cannot be sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime.agents._builtin.encrypted_values import encode_encrypted
from copilot_runtime.agents._builtin.media import flatten_text, read_parts
from copilot_runtime.agents._builtin.messages import UserMessage
from copilot_runtime.agents._builtin.providers import OPENAI_COMPATIBLE, PROVIDERS, Provider

from .builtin_helpers import chat_messages, chat_request_messages

BY_NAME = {provider.name: provider for provider in (*PROVIDERS, OPENAI_COMPATIBLE)}
OPENAI = BY_NAME["openai"]


def read(messages: list[dict[str, Any]]) -> list[Any]:
    body = {"threadId": "t", "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return RunAgentInput.model_validate({**body, "messages": messages}).messages


def sent(
    *messages: dict[str, Any],
    provider: Provider = OPENAI,
    answers: Mapping[str, str] = {},
    system: bool = False,
    developer: bool = False,
) -> list[dict[str, Any]]:
    numbered = [{"id": f"m{number}", **message} for number, message in enumerate(messages)]
    return chat_request_messages(
        read(numbered), provider, resumed_results=answers, forward_system=system, forward_developer=developer
    )


def content_parts(*parts: Any) -> list[dict[str, Any]]:
    (message,) = chat_messages([UserMessage(read_parts(parts))], OPENAI)
    content: list[dict[str, Any]] = message["content"]
    return content


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def media(kind: str, mime_type: str = "", *, data: str = "", url: str = "", filename: str = "") -> dict[str, Any]:
    source = {"type": "url", "value": url} if url else {"type": "data", "value": data}
    part = {"type": kind, "source": {**source, "mimeType": mime_type}}
    return {**part, "metadata": {"filename": filename}} if filename else part


def call(call_id: str, arguments: str = "{}", name: str = "add") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "toolCallId": call_id, "content": content, **more}


# --- roles -------------------------------------------------------------------


def test_messages_of_a_conversation() -> None:
    assert sent(
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "assistant", "content": "Let me add.", "toolCalls": [call("c1", '{"a":1}')]},
        result("c1", "3"),
    ) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "assistant", "content": "Let me add.", "tool_calls": [call("c1", '{"a":1}')]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]


def test_messages_of_system_and_developer_are_optional() -> None:
    messages = ({"role": "system", "content": "s"}, {"role": "developer", "content": "d"})
    assert sent(*messages) == []
    assert sent(*messages, system=True) == [{"role": "system", "content": "s"}]
    assert sent(*messages, developer=True) == [{"role": "developer", "content": "d"}]
    assert sent(*messages, developer=True, provider=BY_NAME["anthropic"]) == [{"role": "system", "content": "d"}]


def test_messages_of_reasoning_and_activity_are_not_sent() -> None:
    assert (
        sent(
            {"role": "reasoning", "content": "hm"},
            {"role": "activity", "activityType": "PLAN", "content": {}},
            {"role": "user", "content": ""},
            {"role": "assistant", "content": ""},
        )
        == []
    )


# --- tool calls and their results --------------------------------------------


def test_tool_call_without_a_result_gets_a_placeholder() -> None:
    made = sent({"role": "assistant", "toolCalls": [call("c1"), call("c2")]}, result("c2", "two"))
    assert [message["tool_call_id"] for message in made[1:]] == ["c1", "c2"]
    assert "no result" in made[1]["content"]
    assert made[2]["content"] == "two"


def test_tool_results_follow_their_calls() -> None:
    made = sent(
        {"role": "assistant", "toolCalls": [call("c1")]},
        {"role": "user", "content": "still there?"},
        result("c1", "late"),
    )
    assert [message["role"] for message in made] == ["assistant", "tool", "user"]


def test_tool_result_without_a_call_is_text() -> None:
    (made,) = sent(result("gone", "42"))
    assert made["role"] == "user"
    assert "42" in made["content"]


def test_tool_results_from_resume() -> None:
    made = sent({"role": "assistant", "toolCalls": [call("c1")]}, answers={"c1": "yes"})
    assert made[1] == {"role": "tool", "tool_call_id": "c1", "content": "yes"}


def test_tool_results_the_later_of_two_counts() -> None:
    made = sent({"role": "assistant", "toolCalls": [call("c1")]}, result("c1", "wait"), result("c1", "done"))
    assert [message["content"] for message in made if message["role"] == "tool"] == ["done"]


def test_tool_result_error_is_sent() -> None:
    made = sent({"role": "assistant", "toolCalls": [call("c1")]}, result("c1", "partly", error="it broke"))
    assert made[1]["content"] == "partly\nError: it broke"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": [1]}', {"a": [1]}),
        ("", {}),
        ("  ", {}),
        ('{"a": ', {"invalid_arguments": '{"a": '}),
        ("[1]", {"invalid_arguments": "[1]"}),
        ("NaN", {"invalid_arguments": "NaN"}),
        ('{"a": 1e400}', {"invalid_arguments": '{"a": 1e400}'}),
    ],
)
def test_tool_call_arguments_are_a_json_object(arguments: str, expected: Any) -> None:
    made = sent({"role": "assistant", "toolCalls": [call("c1", arguments)]})
    assert json.loads(made[0]["tool_calls"][0]["function"]["arguments"]) == expected


def test_thought_signature_is_sent_to_its_own_provider_only() -> None:
    google, signature = BY_NAME["google"], {"extra_content": {"google": {"thought_signature": "abc"}}}
    message = {
        "role": "assistant",
        "toolCalls": [{**call("c1"), "encryptedValue": encode_encrypted(signature, google.name)}],
    }
    assert sent(message, provider=google)[0]["tool_calls"][0]["extra_content"] == signature["extra_content"]
    assert "extra_content" not in sent(message, provider=OPENAI)[0]["tool_calls"][0]


@pytest.mark.parametrize("value", ["opaque", "[]", "{}", '{"provider": "openai"}'])
def test_encrypted_value_of_another_origin_is_ignored(value: str) -> None:
    message = {"role": "assistant", "toolCalls": [{**call("c1"), "encryptedValue": value}]}
    assert sent(message)[0]["tool_calls"] == [call("c1")]


# --- parts -------------------------------------------------------------------

TEXT = base64.b64encode("größe,1".encode()).decode()


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ({"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}),
        (
            media("image", "image/png", data="QUJD"),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        ),
        (
            media("image", url="https://x.example/a.png"),
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        ),
        (
            media("audio", "audio/mpeg", data="QUJD"),
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        ),
        (
            media("audio", "audio/wav; codecs=1", data="QUJD"),
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        ),
        (
            media("document", "application/pdf", data="QUJD", filename="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
        ),
        (
            media("document", "text/csv", data=TEXT, filename="a.csv"),
            {"type": "text", "text": "[Attached: a.csv]\ngröße,1"},
        ),
        (
            media("document", "application/json; charset=utf-8", data=TEXT),
            {"type": "text", "text": "[Attached: application/json]\ngröße,1"},
        ),
    ],
)
def test_content_part_for_openai(part: dict[str, Any], made: dict[str, Any]) -> None:
    assert sent(user(part)) == [{"role": "user", "content": [made]}]


NOT_TAKEN = [
    ("openai", media("video", "video/mp4", data="QUJD"), "video/mp4"),
    ("openai", media("video", "video/mp4", url="https://x.example/v.mp4"), "https://x.example/v.mp4"),
    ("openai", media("audio", "audio/ogg", data="QUJD"), "audio/ogg"),
    ("openai", media("audio", "audio/mpeg", url="https://x.example/a.mp3"), "https://x.example/a.mp3"),
    ("openai", media("document", "application/pdf", url="https://x.example/a.pdf"), "https://x.example/a.pdf"),
    ("anthropic", media("audio", "audio/mpeg", data="QUJD"), "audio/mpeg"),
    ("anthropic", media("document", "application/pdf", data="QUJD", filename="a.pdf"), "a.pdf"),
    ("google", media("document", "application/pdf", data="QUJD"), "application/pdf"),
    ("compatible", media("document", "application/pdf", data="QUJD"), "application/pdf"),
    ("anthropic", media("document", "text/plain", data="not base64!"), "text/plain"),
    ("anthropic", media("document", "text/plain", data="/////w=="), "text/plain"),
]


@pytest.mark.parametrize(("provider", "part", "says"), NOT_TAKEN)
def test_content_part_that_is_not_supported_is_described_and_logged(
    provider: str, part: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = sent(user({"type": "text", "text": "Look"}, part), provider=BY_NAME[provider])
    text, said = message["content"]
    assert text == {"type": "text", "text": "Look"}
    assert said["type"] == "text"
    assert says in said["text"]
    assert "cannot" in said["text"]
    assert part["type"] in caplog.text


@pytest.mark.parametrize("provider", BY_NAME.values(), ids=lambda one: one.name)
def test_content_part_image_for_every_provider(provider: Provider) -> None:
    (message,) = sent(user(media("image", "image/png", data="QUJD")), provider=provider)
    assert message["content"][0]["type"] == "image_url"


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"mime_type": "image/png", "data": "QUJD"}, "image_url"),
        ({"mime_type": "image/png", "url": "https://x.example/a.png"}, "image_url"),
        ({"mime_type": "audio/wav", "data": "QUJD"}, "input_audio"),
        ({"mime_type": "application/pdf", "data": "QUJD", "filename": "a.pdf"}, "file"),
        ({"mime_type": "application/pdf", "id": "file-1"}, "file"),
        ({"mime_type": "image/png", "id": "file-1"}, "text"),
        ({"mime_type": "image/png", "id": "file-1", "url": "https://x.example/a.png", "data": "QUJD"}, "image_url"),
        ({"mime_type": "video/mp4", "data": "QUJD"}, "text"),
    ],
)
def test_content_part_binary_is_read_by_its_media_type(members: dict[str, Any], kind: str) -> None:
    """AG-UI 0.1 has it, 1.x has not: so it is made by hand here."""
    part = SimpleNamespace(type="binary", **{"id": None, "url": None, "data": None, "filename": None, **members})
    (made,) = content_parts(part)
    assert made["type"] == kind


@pytest.mark.parametrize(("kind", "made"), [("document", "file"), ("image", "text")])
def test_content_part_file_id(kind: str, made: str) -> None:
    """AG-UI 1.x has such sources, 0.1 has not."""
    source = SimpleNamespace(type="file", value="file-1", mime_type=None)
    (part,) = content_parts(SimpleNamespace(type=kind, source=source, metadata=None))
    assert part["type"] == made
    assert "file-1" in json.dumps(part)


def test_content_part_without_content_is_described() -> None:
    (message,) = sent(user(media("image", "image/png", data="")))
    assert message["content"] == [
        {"type": "text", "text": "[Attachment that is empty: image (image/png, about 0 bytes)]"}
    ]


def test_content_part_in_a_tool_result_is_described() -> None:
    source = SimpleNamespace(type="data", value="QUJD", mime_type="image/png")
    parts = [SimpleNamespace(type="text", text="A chart:"), SimpleNamespace(type="image", source=source)]
    assert flatten_text(parts).startswith("A chart:\n[Attachment that cannot be displayed to you: image (image/png")
