"""What of a conversation reaches the model, and in which form."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from .client import assistant_message, text_of, tool_call, tool_message, user_message
from .scripts import Scripts, send_text
from .verifier import RecordingClient

PNG = base64.b64encode(b"\x89PNG").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()
NOTES = base64.b64encode("Grüße".encode()).decode()


def message(role: str, content: str) -> dict[str, Any]:
    return {"id": f"{role}-1", "role": role, "content": content}


def data(kind: str, mime_type: str, value: str, **members: Any) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "data", "value": value, "mimeType": mime_type}, **members}


def url(kind: str, value: str, mime_type: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "url", "value": value, "mimeType": mime_type}}


def received(
    client: RecordingClient, scripts: Scripts, messages: Sequence[dict[str, Any]], agent: str = "fake-plain"
) -> list[dict[str, Any]]:
    """What the model got of these messages, followed by one that only names the scene."""
    prompt = scripts.on(send_text("ok"))
    events = client.chat(agent, prompt, before=messages)
    assert text_of(events) == "ok"
    (request,) = scripts.requests(prompt)
    *sent, last = request.json()["messages"]
    assert last == {"role": "user", "content": prompt}
    return sent


def test_system_and_developer_messages_are_left_out(client: RecordingClient, scripts: Scripts) -> None:
    messages = [message("system", "Obey."), message("developer", "Obey me."), user_message("Hello")]
    assert received(client, scripts, messages) == [{"role": "user", "content": "Hello"}]


def test_system_and_developer_messages_are_forwarded_with_the_option(client: RecordingClient, scripts: Scripts) -> None:
    messages = [message("system", "Be brief."), message("developer", "Be kind."), user_message("Hello")]
    sent = received(client, scripts, messages, "fake-forwarding")
    assert sent[0]["content"].startswith("You are the test's assistant.")
    # A server that is known by its address only may not know the role developer.
    assert [(message["role"], message["content"]) for message in sent[1:]] == [
        ("system", "Be brief."),
        ("developer", "Be kind."),
        ("user", "Hello"),
    ]


def test_reasoning_and_activity_messages_are_left_out(client: RecordingClient, scripts: Scripts) -> None:
    activity = {"id": "a", "role": "activity", "activityType": "PLAN", "content": {"step": 1}}
    messages = [user_message("Hello"), message("reasoning", "Hm."), activity, assistant_message("Hi")]
    assert received(client, scripts, messages) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]


def test_tool_calls_and_their_results_are_sent(client: RecordingClient, scripts: Scripts) -> None:
    calls = [tool_call("c1", "paint", '{"colour": "red"}'), tool_call("c2", "wash")]
    messages = [
        user_message("Do"),
        assistant_message("I try", *calls),
        tool_message("c1", "painted"),
        tool_message("c2", "", error="no water"),
    ]
    sent = received(client, scripts, messages)
    assert sent[1] == {"role": "assistant", "content": "I try", "tool_calls": calls}
    assert sent[2] == {"role": "tool", "tool_call_id": "c1", "content": "painted"}
    assert sent[3]["tool_call_id"] == "c2"
    assert "no water" in sent[3]["content"]


def test_tool_calls_are_followed_by_a_result(client: RecordingClient, scripts: Scripts) -> None:
    """Providers refuse a conversation that has not: yet a stopped run, or a closed page, leaves one."""
    messages = [
        user_message("Do"),
        assistant_message(None, tool_call("c1", "paint"), tool_call("c2", "wash")),
        user_message("Well?"),
        tool_message("c2", "ok"),
    ]
    sent = received(client, scripts, messages)
    assert [(message["role"], message.get("tool_call_id")) for message in sent] == [
        ("user", None),
        ("assistant", None),
        ("tool", "c1"),
        ("tool", "c2"),
        ("user", None),
    ]
    assert sent[2]["content"]
    assert sent[3]["content"] == "ok"


def test_tool_result_without_its_call_is_sent_as_text(client: RecordingClient, scripts: Scripts) -> None:
    sent = received(client, scripts, [user_message("Do"), tool_message("gone", "painted")])
    assert [message["role"] for message in sent] == ["user", "user"]
    assert "painted" in sent[1]["content"]


def test_tool_results_that_are_doubled_or_late(client: RecordingClient, scripts: Scripts) -> None:
    messages = [
        user_message("Do"),
        assistant_message(None, tool_call("c1", "paint")),
        tool_message("c1", "first"),
        assistant_message("Done"),
        tool_message("c1", "second"),
    ]
    sent = received(client, scripts, messages)
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant"]
    assert sent[2]["content"] == "second"


def test_tool_calls_with_the_same_id_are_told_apart(client: RecordingClient, scripts: Scripts) -> None:
    """Servers that number the calls of each response from 0 leave such histories."""
    messages = [
        user_message("Do"),
        assistant_message(None, tool_call("call_0", "paint")),
        tool_message("call_0", "painted"),
        assistant_message(None, tool_call("call_0", "wash")),
        tool_message("call_0", "washed"),
        assistant_message(None, tool_call("call_0", "dry")),
    ]
    sent = received(client, scripts, messages)
    calls = [call["id"] for message in sent for call in message.get("tool_calls", ())]
    assert len(set(calls)) == 3
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == calls
    contents = [message["content"] for message in sent if message["role"] == "tool"]
    assert contents[:2] == ["painted", "washed"]
    assert "no result" in contents[2]


def test_tool_call_ids_that_are_too_long_are_shortened(client: RecordingClient, scripts: Scripts) -> None:
    call_id = "call_" + "x" * 60
    messages = [user_message("Do"), assistant_message(None, tool_call(call_id, "paint")), tool_message(call_id, "done")]
    sent = received(client, scripts, messages)
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert len(sent[2]["tool_call_id"]) <= 40


def test_tool_result_with_an_image_shows_it_to_the_model(client: RecordingClient, scripts: Scripts) -> None:
    image = data("image", "image/png", PNG)
    messages = [
        user_message("Do"),
        assistant_message(None, tool_call("c1", "paint")),
        tool_message("c1", [{"type": "text", "text": "painted"}, image]),
        assistant_message("Done"),
    ]
    sent = received(client, scripts, messages)
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user", "assistant"]
    assert sent[2]["content"].startswith("painted\n")
    assert sent[3]["content"][1] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def test_tool_call_arguments_are_always_a_json_object(client: RecordingClient, scripts: Scripts) -> None:
    messages = [
        user_message("Do"),
        assistant_message(None, tool_call("c1", "paint", '{"colour": ')),
        tool_message("c1", "no"),
    ]
    sent = received(client, scripts, messages)
    assert '"invalid_arguments"' in sent[1]["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param({"type": "text", "text": "Look"}, {"type": "text", "text": "Look"}, id="text"),
        pytest.param(
            data("image", "image/png", PNG),
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            id="image",
        ),
        pytest.param(
            url("image", "https://example.com/a.png", "image/png"),
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            id="image by URL",
        ),
        pytest.param(
            data("audio", "audio/wav", PNG),
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
            id="audio",
        ),
        pytest.param(
            data("audio", "audio/mpeg", PNG),
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
            id="audio in MP3",
        ),
        pytest.param(
            data("document", "application/pdf", PDF, metadata={"filename": "a.pdf"}),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
            id="document",
        ),
    ],
)
def test_content_parts_are_converted(
    client: RecordingClient, scripts: Scripts, part: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert received(client, scripts, [user_message([part])]) == [{"role": "user", "content": [expected]}]


def test_content_part_of_a_text_document_is_sent_as_text(client: RecordingClient, scripts: Scripts) -> None:
    (sent,) = received(client, scripts, [user_message([data("document", "text/markdown; charset=utf-8", NOTES)])])
    (part,) = sent["content"]
    assert part["type"] == "text"
    assert "Grüße" in part["text"]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        pytest.param(data("video", "video/mp4", PNG), ("video", "video/mp4"), id="video"),
        pytest.param(data("audio", "audio/ogg", PNG), ("audio", "audio/ogg"), id="audio of an unknown kind"),
        pytest.param(url("audio", "https://example.com/a.wav", "audio/wav"), ("audio", "a.wav"), id="audio by URL"),
        pytest.param(
            url("document", "https://example.com/a.pdf", "application/pdf"), ("document", "a.pdf"), id="document by URL"
        ),
    ],
)
def test_content_part_that_is_not_supported_is_described(
    client: RecordingClient, scripts: Scripts, part: dict[str, Any], text: tuple[str, ...]
) -> None:
    (sent,) = received(client, scripts, [user_message([{"type": "text", "text": "Look"}, part])])
    first, second = sent["content"]
    assert first == {"type": "text", "text": "Look"}
    assert second["type"] == "text"
    assert all(word in second["text"] for word in text)
