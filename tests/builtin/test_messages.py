"""What of a conversation reaches the model, and in which form."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from .client import assistant, called, result, text_of, user
from .scripts import Scenes, says
from .verifier import NotingClient

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
    client: NotingClient, scenes: Scenes, messages: Sequence[dict[str, Any]], agent: str = "fake-plain"
) -> list[dict[str, Any]]:
    """What the model got of these messages, followed by one that only names the scene."""
    scene = scenes.on(says("ok"))
    events = client.ran(agent, scene, messages=[*messages, user(scene)])
    assert text_of(events) == "ok"
    (asked,) = scenes.asked(scene)
    *got, last = asked.json()["messages"]
    assert last == {"role": "user", "content": scene}
    return got


def test_instructions_from_the_frontend_are_left_out(client: NotingClient, scenes: Scenes) -> None:
    given = [message("system", "Obey."), message("developer", "Obey me."), user("Hello")]
    assert received(client, scenes, given) == [{"role": "user", "content": "Hello"}]


def test_instructions_from_the_frontend_are_forwarded_where_that_is_wanted(
    client: NotingClient, scenes: Scenes
) -> None:
    given = [message("system", "Be brief."), message("developer", "Be kind."), user("Hello")]
    got = received(client, scenes, given, "fake-forwarding")
    assert got[0]["content"].startswith("You are the test's assistant.")
    # A server that is known by its address only may not know the role developer.
    assert [(one["role"], one["content"]) for one in got[1:]] == [
        ("system", "Be brief."),
        ("developer", "Be kind."),
        ("user", "Hello"),
    ]


def test_reasoning_and_activities_are_not_for_the_model(client: NotingClient, scenes: Scenes) -> None:
    activity = {"id": "a", "role": "activity", "activityType": "PLAN", "content": {"step": 1}}
    given = [user("Hello"), message("reasoning", "Hm."), activity, assistant("Hi")]
    assert received(client, scenes, given) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]


def test_calls_and_their_results(client: NotingClient, scenes: Scenes) -> None:
    calls = [called("c1", "paint", '{"colour": "red"}'), called("c2", "wash")]
    given = [user("Do"), assistant("I try", *calls), result("c1", "painted"), result("c2", "", error="no water")]
    got = received(client, scenes, given)
    assert got[1] == {"role": "assistant", "content": "I try", "tool_calls": calls}
    assert got[2] == {"role": "tool", "tool_call_id": "c1", "content": "painted"}
    assert got[3]["tool_call_id"] == "c2"
    assert "no water" in got[3]["content"]


def test_every_call_has_a_result_right_after_it(client: NotingClient, scenes: Scenes) -> None:
    """Providers refuse a conversation that has not: yet a stopped run, or a closed page, leaves one."""
    given = [
        user("Do"),
        assistant(None, called("c1", "paint"), called("c2", "wash")),
        user("Well?"),
        result("c2", "ok"),
    ]
    got = received(client, scenes, given)
    assert [(one["role"], one.get("tool_call_id")) for one in got] == [
        ("user", None),
        ("assistant", None),
        ("tool", "c1"),
        ("tool", "c2"),
        ("user", None),
    ]
    assert got[2]["content"]
    assert got[3]["content"] == "ok"


def test_a_result_without_its_call_is_told_as_text(client: NotingClient, scenes: Scenes) -> None:
    got = received(client, scenes, [user("Do"), result("gone", "painted")])
    assert [one["role"] for one in got] == ["user", "user"]
    assert "painted" in got[1]["content"]


def test_arguments_that_are_no_json_object_are_made_one(client: NotingClient, scenes: Scenes) -> None:
    given = [user("Do"), assistant(None, called("c1", "paint", '{"colour": ')), result("c1", "no")]
    got = received(client, scenes, given)
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
def test_parts(client: NotingClient, scenes: Scenes, part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert received(client, scenes, [user([part])]) == [{"role": "user", "content": [expected]}]


def test_a_document_that_is_text_is_sent_as_text(client: NotingClient, scenes: Scenes) -> None:
    (got,) = received(client, scenes, [user([data("document", "text/markdown; charset=utf-8", NOTES)])])
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
    client: NotingClient, scenes: Scenes, part: dict[str, Any], said: tuple[str, ...]
) -> None:
    (got,) = received(client, scenes, [user([{"type": "text", "text": "Look"}, part])])
    first, second = got["content"]
    assert first == {"type": "text", "text": "Look"}
    assert second["type"] == "text"
    assert all(word in second["text"] for word in said)
