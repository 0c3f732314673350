"""The options of the model's request, and which of them a run may override."""

from __future__ import annotations

from typing import Any

import pytest

from .client import event_types, frontend_tool, of_type, only_event, text_of
from .frames import Text
from .scripts import Scripts, answer_over, send_text
from .test_server_tools import calls
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("AGENT-02")

SERVER_TOOLS_OFF = "Error: The call was not run: the server's tools cannot be called in this run."


def model_request(client: RecordingClient, scripts: Scripts, agent: str, **members: Any) -> dict[str, Any]:
    """Returns the body of the request that a run sends to the model."""
    prompt = scripts.on(send_text("ok"))
    assert text_of(client.chat(agent, prompt, **members)) == "ok"
    (exchange,) = scripts.requests(prompt)
    body: dict[str, Any] = exchange.json()
    return body


def test_model_options_are_members_of_the_request(client: RecordingClient, scripts: Scripts) -> None:
    request = model_request(client, scripts, "fake-tuned", tools=[frontend_tool("paint")])
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
def test_model_provider_key_and_base_url(
    client: RecordingClient, scripts: Scripts, agent: str, model: str, key: str
) -> None:
    prompt = scripts.on(send_text("ok"))
    assert text_of(client.chat(agent, prompt)) == "ok"
    (exchange,) = scripts.requests(prompt)
    assert exchange.path == "/v1/chat/completions"
    assert exchange.headers["authorization"] == f"Bearer {key}"
    assert exchange.json()["model"] == model


def test_model_options_that_are_not_set_are_not_sent(client: RecordingClient, scripts: Scripts) -> None:
    request = model_request(client, scripts, "fake-plain")
    assert set(request) <= {"messages", "model", "stream", "stream_options"}


OVERRIDES = {
    "temperature": 1.5,
    "model": "openai/gpt-other",
    "maxOutputTokens": 9,
    "prompt": "You are another.",
    "topP": 0.1,
    "providerOptions": {"service_tier": "priority"},
}


def test_overridable_options_only_are_overridden(client: RecordingClient, scripts: Scripts) -> None:
    request = model_request(client, scripts, "fake-overridable", forwardedProps=OVERRIDES)
    assert request["temperature"] == 1.5
    assert request["model"] == "gpt-other"
    assert 9 in (request.get("max_tokens"), request.get("max_completion_tokens"))
    assert request["messages"][0] == {"role": "system", "content": "You are another."}
    assert "top_p" not in request
    assert "service_tier" not in request


def test_overridable_model_of_the_same_server_needs_no_provider(client: RecordingClient, scripts: Scripts) -> None:
    """As at construction: a base URL alone says whose model it is."""
    assert model_request(client, scripts, "fake-overridable", forwardedProps={"model": "llama"})["model"] == "llama"


def test_api_key_is_not_sent_to_another_provider(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(answer_over("messages", Text(["ok"])))
    forwarded = {"model": "anthropic/claude-x"}
    assert text_of(client.chat("fake-overridable", prompt, forwardedProps=forwarded)) == "ok"
    (exchange,) = scripts.requests(prompt)
    assert exchange.path == "/v1/messages"
    assert exchange.keys() == ["sk-anthropic"]


def test_tool_choice_may_force_a_frontend_tool_only(client: RecordingClient, scripts: Scripts) -> None:
    def choice(name: str) -> object:
        forced = {"toolChoice": {"type": "function", "function": {"name": name}}}
        tools = [frontend_tool("paint")]
        return model_request(client, scripts, "fake-tools", tools=tools, forwardedProps=forced).get(
            "tool_choice", "auto"
        )

    assert choice("paint") == {"type": "function", "function": {"name": "paint"}}
    assert choice("weather") == "auto"


@pytest.mark.requirement("AGENT-07")
@pytest.mark.parametrize("agent", ["fake-tools", "fake-without-tools"])
def test_tool_choice_never_forces_a_server_tool_that_the_frontend_names(
    client: RecordingClient, scripts: Scripts, agent: str
) -> None:
    forced = {"toolChoice": {"type": "function", "function": {"name": "shout"}}}
    request = model_request(client, scripts, agent, tools=[frontend_tool("shout")], forwardedProps=forced)
    assert request.get("tool_choice", "auto") in ("auto", "none")
    descriptions = [each["function"]["description"] for each in request["tools"] if each["function"]["name"] == "shout"]
    assert descriptions == ["Says it louder."]


@pytest.mark.requirement("AGENT-07")
@pytest.mark.parametrize("forced", [None, "paint", "shout"])
def test_tool_choice_none_runs_no_server_tool(client: RecordingClient, scripts: Scripts, forced: str | None) -> None:
    """Neither if the frontend forces one of its own tools, nor if the model calls a tool all the same."""
    prompt = scripts.on(calls(("shout", '{"text": "hi"}')))
    forwarded = {"toolChoice": {"type": "function", "function": {"name": forced}}} if forced else {}
    tools = [frontend_tool("paint"), frontend_tool("shout")]
    events = client.chat("fake-without-tools", prompt, tools=tools, forwardedProps=forwarded)
    assert {event["content"] for event in of_type(events, "TOOL_CALL_RESULT")} == {SERVER_TOOLS_OFF}
    assert events[-1]["type"] == "RUN_FINISHED"


@pytest.mark.requirement("AGENT-07")
def test_tool_choice_that_a_frontend_forces_runs_no_server_tool(client: RecordingClient, scripts: Scripts) -> None:
    """A frontend must not get around a choice of the application by forcing a tool of its own."""
    prompt = scripts.on(calls(("shout", '{"text": "hi"}'), ("paint", "{}")))
    forced = {"toolChoice": {"type": "function", "function": {"name": "paint"}}}
    events = client.chat("fake-required", prompt, tools=[frontend_tool("paint")], forwardedProps=forced)
    assert [event["content"] for event in of_type(events, "TOOL_CALL_RESULT")] == [SERVER_TOOLS_OFF]


def test_overridable_empty_overrides_nothing(client: RecordingClient, scripts: Scripts) -> None:
    request = model_request(client, scripts, "fake-plain", forwardedProps={**OVERRIDES, "toolChoice": "none"})
    assert set(request) <= {"messages", "model", "stream", "stream_options"}
    assert request["model"] == "gpt-4o-mini"


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": "hot"}, {"temperature": True}, {"maxOutputTokens": 0}, {"model": 5}, {"toolChoice": "sometimes"}],
)
def test_overridable_option_that_is_invalid_is_an_error(
    client: RecordingClient, scripts: Scripts, wrong: dict[str, Any]
) -> None:
    prompt = scripts.on(send_text("never"))
    events = client.chat("fake-overridable", prompt, forwardedProps=wrong)
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
    (name,) = wrong
    assert name in only_event(events, "RUN_ERROR")["message"]
    assert scripts.requests(prompt) == []


def test_overridable_model_of_an_unknown_provider_is_an_error(client: RecordingClient, scripts: Scripts) -> None:
    """The key must not be sent to a provider that only the request names."""
    prompt = scripts.on(send_text("never"))
    events = client.chat("overridable", prompt, forwardedProps={"model": "http://evil.example/gpt"})
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
