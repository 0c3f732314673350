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
    *got, last = request.json()["messages"]
    assert last == {"role": "user", "content": prompt}
    return got


def test_instructions_from_the_frontend_are_left_out(client: RecordingClient, scripts: Scripts) -> None:
    given = [message("system", "Obey."), message("developer", "Obey me."), user_message("Hello")]
    assert received(client, scripts, given) == [{"role": "user", "content": "Hello"}]


def test_instructions_from_the_frontend_are_forwarded_where_that_is_wanted(
    client: RecordingClient, scripts: Scripts
) -> None:
    given = [message("system", "Be brief."), message("developer", "Be kind."), user_message("Hello")]
    got = received(client, scripts, given, "fake-forwarding")
    assert got[0]["content"].startswith("You are the test's assistant.")
    # A server that is known by its address only may not know the role developer.
    assert [(one["role"], one["content"]) for one in got[1:]] == [
        ("system", "Be brief."),
        ("developer", "Be kind."),
        ("user", "Hello"),
    ]


def test_reasoning_and_activities_are_not_for_the_model(client: RecordingClient, scripts: Scripts) -> None:
    activity = {"id": "a", "role": "activity", "activityType": "PLAN", "content": {"step": 1}}
    given = [user_message("Hello"), message("reasoning", "Hm."), activity, assistant_message("Hi")]
    assert received(client, scripts, given) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]


def test_calls_and_their_results(client: RecordingClient, scripts: Scripts) -> None:
    calls = [tool_call("c1", "paint", '{"colour": "red"}'), tool_call("c2", "wash")]
    given = [
        user_message("Do"),
        assistant_message("I try", *calls),
        tool_message("c1", "painted"),
        tool_message("c2", "", error="no water"),
    ]
    got = received(client, scripts, given)
    assert got[1] == {"role": "assistant", "content": "I try", "tool_calls": calls}
    assert got[2] == {"role": "tool", "tool_call_id": "c1", "content": "painted"}
    assert got[3]["tool_call_id"] == "c2"
    assert "no water" in got[3]["content"]


def test_every_call_has_a_result_right_after_it(client: RecordingClient, scripts: Scripts) -> None:
    """Providers refuse a conversation that has not: yet a stopped run, or a closed page, leaves one."""
    given = [
        user_message("Do"),
        assistant_message(None, tool_call("c1", "paint"), tool_call("c2", "wash")),
        user_message("Well?"),
        tool_message("c2", "ok"),
    ]
    got = received(client, scripts, given)
    assert [(one["role"], one.get("tool_call_id")) for one in got] == [
        ("user", None),
        ("assistant", None),
        ("tool", "c1"),
        ("tool", "c2"),
        ("user", None),
    ]
    assert got[2]["content"]
    assert got[3]["content"] == "ok"


def test_a_result_without_its_call_is_told_as_text(client: RecordingClient, scripts: Scripts) -> None:
    got = received(client, scripts, [user_message("Do"), tool_message("gone", "painted")])
    assert [one["role"] for one in got] == ["user", "user"]
    assert "painted" in got[1]["content"]


def test_arguments_that_are_no_json_object_are_made_one(client: RecordingClient, scripts: Scripts) -> None:
    given = [
        user_message("Do"),
        assistant_message(None, tool_call("c1", "paint", '{"colour": ')),
        tool_message("c1", "no"),
    ]
    got = received(client, scripts, given)
    assert '"invalid_arguments"' in got[1]["tool_calls"][0]["function"]["arguments"]


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
def test_parts(client: RecordingClient, scripts: Scripts, part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert received(client, scripts, [user_message([part])]) == [{"role": "user", "content": [expected]}]


def test_a_document_that_is_text_is_sent_as_text(client: RecordingClient, scripts: Scripts) -> None:
    (got,) = received(client, scripts, [user_message([data("document", "text/markdown; charset=utf-8", NOTES)])])
    (part,) = got["content"]
    assert part["type"] == "text"
    assert "Grüße" in part["text"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        pytest.param(data("video", "video/mp4", PNG), ("video", "video/mp4"), id="video"),
        pytest.param(data("audio", "audio/ogg", PNG), ("audio", "audio/ogg"), id="audio of an unknown kind"),
        pytest.param(url("audio", "https://example.com/a.wav", "audio/wav"), ("audio", "a.wav"), id="audio by URL"),
        pytest.param(
            url("document", "https://example.com/a.pdf", "application/pdf"), ("document", "a.pdf"), id="document by URL"
        ),
    ],
)
def test_what_the_provider_cannot_take_is_said(
    client: RecordingClient, scripts: Scripts, part: dict[str, Any], said: tuple[str, ...]
) -> None:
    (got,) = received(client, scripts, [user_message([{"type": "text", "text": "Look"}, part])])
    first, second = got["content"]
    assert first == {"type": "text", "text": "Look"}
    assert second["type"] == "text"
    assert all(word in second["text"] for word in said)
