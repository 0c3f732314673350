"""How the model is asked, and what a run may change of it."""

from __future__ import annotations

from typing import Any

import pytest

from .client import frontend_tool, only, outline, text_of, user
from .scripts import Scenes, says
from .verifier import NotingClient


def asked(client: NotingClient, scenes: Scenes, agent: str, **members: Any) -> dict[str, Any]:
    """The request that a run makes."""
    scene = scenes.on(says("ok"))
    assert text_of(client.ran(agent, scene, messages=[user(scene)], **members)) == "ok"
    (one,) = scenes.asked(scene)
    request: dict[str, Any] = one.json()
    return request


def test_options_are_members_of_the_request(client: NotingClient, scenes: Scenes) -> None:
    request = asked(client, scenes, "fake-tuned", tools=[frontend_tool("paint")])
    limit = request.pop("max_tokens", None) or request.pop("max_completion_tokens")
    assert limit == 77
    expected = {
        "temperature": 0.5,
        "top_p": 0.25,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "stop": ["END"],
        "seed": 7,
        "tool_choice": "none",
        "service_tier": "flex",
    }
    assert {name: request.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("agent", "model", "key"),
    [
        ("anthropic", "claude-x", "sk-anthropic"),
        ("google", "gemini-x", "sk-google"),
        ("fake-plain", "gpt-4o-mini", "sk-fake"),
        ("ready", "gpt-x", "sk-ready"),
    ],
)
def test_each_provider_has_its_own_key_and_address(
    client: NotingClient, scenes: Scenes, agent: str, model: str, key: str
) -> None:
    scene = scenes.on(says("ok"))
    assert text_of(client.ran(agent, scene, messages=[user(scene)])) == "ok"
    (one,) = scenes.asked(scene)
    assert one.path == "/v1/chat/completions"
    assert one.headers["authorization"] == f"Bearer {key}"
    assert one.json()["model"] == model


def test_what_is_not_set_is_left_to_the_provider(client: NotingClient, scenes: Scenes) -> None:
    request = asked(client, scenes, "fake-plain")
    assert set(request) <= {"messages", "model", "stream", "stream_options"}


OVERRIDES = {
    "temperature": 1.5,
    "model": "openai/gpt-other",
    "maxOutputTokens": 9,
    "prompt": "You are another.",
    "topP": 0.1,
    "providerOptions": {"service_tier": "priority"},
}


def test_a_run_overrides_what_it_may_and_nothing_else(client: NotingClient, scenes: Scenes) -> None:
    request = asked(client, scenes, "fake-overridable", forwardedProps=OVERRIDES)
    assert request["temperature"] == 1.5
    assert request["model"] == "gpt-other"
    assert 9 in (request.get("max_tokens"), request.get("max_completion_tokens"))
    assert request["messages"][0] == {"role": "system", "content": "You are another."}
    assert "top_p" not in request
    assert "service_tier" not in request


def test_a_model_of_the_same_server_needs_no_provider(client: NotingClient, scenes: Scenes) -> None:
    """As where the agent is made: an address alone says whose model it is."""
    assert asked(client, scenes, "fake-overridable", forwardedProps={"model": "llama"})["model"] == "llama"


def test_a_given_key_is_not_sent_to_another_provider(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(says("ok"))
    forwarded = {"model": "anthropic/claude-x"}
    assert text_of(client.ran("fake-overridable", scene, messages=[user(scene)], forwardedProps=forwarded)) == "ok"
    (one,) = scenes.asked(scene)
    assert one.headers["authorization"] == "Bearer sk-anthropic"


def test_a_run_may_force_a_tool_of_its_own_but_not_the_servers(client: NotingClient, scenes: Scenes) -> None:
    def choice(name: str) -> object:
        forced = {"toolChoice": {"type": "function", "function": {"name": name}}}
        tools = [frontend_tool("paint")]
        return asked(client, scenes, "fake-tools", tools=tools, forwardedProps=forced).get("tool_choice", "auto")

    assert choice("paint") == {"type": "function", "function": {"name": "paint"}}
    assert choice("weather") == "auto"


def test_a_run_overrides_nothing_where_nothing_is_allowed(client: NotingClient, scenes: Scenes) -> None:
    request = asked(client, scenes, "fake-plain", forwardedProps={**OVERRIDES, "toolChoice": "none"})
    assert set(request) <= {"messages", "model", "stream", "stream_options"}
    assert request["model"] == "gpt-4o-mini"


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": "hot"}, {"temperature": True}, {"maxOutputTokens": 0}, {"model": 5}, {"toolChoice": "sometimes"}],
)
def test_an_override_that_cannot_be_is_an_error_that_names_it(
    client: NotingClient, scenes: Scenes, wrong: dict[str, Any]
) -> None:
    scene = scenes.on(says("never"))
    events = client.ran("fake-overridable", scene, messages=[user(scene)], forwardedProps=wrong)
    assert outline(events) == ["RUN_STARTED", "RUN_ERROR"]
    (name,) = wrong
    assert name in only(events, "RUN_ERROR")["message"]
    assert scenes.asked(scene) == []


def test_a_model_of_an_unknown_provider_does_not_reach_the_provider(client: NotingClient, scenes: Scenes) -> None:
    """The key must not be sent where only the request says that it should go."""
    scene = scenes.on(says("never"))
    events = client.ran(
        "overridable", scene, messages=[user(scene)], forwardedProps={"model": "http://evil.example/gpt"}
    )
    assert outline(events) == ["RUN_STARTED", "RUN_ERROR"]
