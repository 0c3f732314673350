"""Tools that run on the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http_client import unique

from .aimock import Aimock
from .client import (
    CALL,
    TEXT,
    event_types,
    finished_run,
    frontend_tool,
    of_type,
    only_event,
    text_of,
    tool_calls,
    user_message,
)
from .fake_provider import Script, chunk, tool_call_chunk
from .scripts import Scripts, by_step, roles, send_chunks, send_text
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("AGENT-02")

CALLED = [*CALL, "TOOL_CALL_RESULT"]


def calls(*named: tuple[str, str]) -> Script:
    """A script that calls tools, with their arguments in JSON: the n-th by the id ``cN``."""
    return send_chunks(*(tool_call_chunk(n, arguments, f"c{n}", name) for n, (name, arguments) in enumerate(named)))


def results(events: Any) -> dict[str, str]:
    return {event["toolCallId"]: event["content"] for event in of_type(events, "TOOL_CALL_RESULT")}


@pytest.mark.client
def test_server_tool_result_is_sent_to_the_model(client: RecordingClient, mock: Aimock) -> None:
    prompt = f"{unique('question')}."
    wanted = {"id": "call_1", "name": "weather", "arguments": {"city": "Köln"}}
    mock.add_fixture({"userMessage": prompt, "hasToolResult": False}, {"toolCalls": [wanted]})
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "It is grey."})
    events = client.chat("tools", prompt)
    assert event_types(events) == finished_run(*CALLED, *TEXT)
    results = only_event(events, "TOOL_CALL_RESULT")
    assert results["toolCallId"] == "call_1"
    assert json.loads(results["content"]) == {"city": "Köln", "sky": "grey", "days": 1}
    assert text_of(events) == "It is grey."
    first, second = mock.requests(prompt)
    offered = next(tool["function"] for tool in first["tools"] if tool["function"]["name"] == "weather")
    assert offered["description"] == "The weather of a city."
    assert offered["parameters"]["required"] == ["city"]
    assert set(offered["parameters"]["properties"]) == {"city", "days"}
    assert roles(second["messages"]) == ["user", "assistant", "tool"]
    assert json.loads(second["messages"][2]["content"])["sky"] == "grey"


def test_max_steps_one_calls_the_model_once(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(calls(("shout", '{"text": "hi"}')))
    events = client.chat("fake-one-step", prompt)
    assert event_types(events) == finished_run(*CALLED)
    assert results(events) == {"c0": "HI"}
    assert len(scripts.requests(prompt)) == 1


def test_max_steps_ends_the_run(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(calls(("shout", '{"text": "hi"}')))
    events = client.chat("fake-tools", prompt)
    assert event_types(events) == finished_run(*CALLED * 4)
    assert len(scripts.requests(prompt)) == 4
    # The server counts its calls from c0 each time; the conversation must not.
    assert len(tool_calls(events)) == 4


def test_server_tools_called_in_parallel_run_concurrently(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(calls(("meet", '{"name": "Ann"}'), ("meet", '{"name": "Bob"}')), send_text("Both.")))
    events = client.chat("fake-tools", prompt)
    assert results(events) == {"c0": "Ann met", "c1": "Bob met"}
    assert text_of(events) == "Both."


def test_server_tools_whose_arguments_are_interleaved(client: RecordingClient, scripts: Scripts) -> None:
    first = send_chunks(
        tool_call_chunk(0, "", "c0", "shout"),
        tool_call_chunk(1, "", "c1", "shout"),
        tool_call_chunk(0, '{"text":'),
        tool_call_chunk(1, '{"text":'),
        tool_call_chunk(0, ' "one"}'),
        tool_call_chunk(1, ' "two"}'),
    )
    prompt = scripts.on(by_step(first, send_text("done")))
    events = client.chat("fake-tools", prompt)
    assert tool_calls(events) == {"c0": ("shout", '{"text": "one"}'), "c1": ("shout", '{"text": "two"}')}
    assert results(events) == {"c0": "ONE", "c1": "TWO"}


def test_server_tools_between_text_and_reasoning(client: RecordingClient, scripts: Scripts) -> None:
    first = send_chunks(
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Let me see."}),
        tool_call_chunk(0, '{"text": "a"}', "c0", "shout"),
    )
    prompt = scripts.on(
        by_step(first, send_chunks(chunk({"reasoning_content": "So."}), chunk({"content": "A."}), reason="stop"))
    )
    events = client.chat("fake-tools", prompt)
    assert text_of(events) == "Let me see.A."
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "Hm.So."
    assert results(events) == {"c0": "A"}
    assert len({event["messageId"] for event in of_type(events, "TEXT_MESSAGE_START")}) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        pytest.param("weather", '{"city": ', "JSON", id="no JSON"),
        pytest.param("weather", "[1]", "object", id="no object"),
        pytest.param("weather", "{}", "city", id="an argument is missing"),
        pytest.param("weather", '{"city": "x", "days": "many"}', "days", id="an argument of another type"),
        pytest.param("weather", '{"city": "x", "hours": 1}', "hours", id="an argument that it does not have"),
        pytest.param("explode", "{}", "sk-secret", id="it raises"),
        pytest.param("invented", "{}", "invented", id="unknown tool"),
    ],
)
def test_server_tool_errors_are_sent_to_the_model(
    client: RecordingClient, scripts: Scripts, name: str, arguments: str, error: str
) -> None:
    prompt = scripts.on(by_step(calls((name, arguments)), send_text("Sorry.")))
    events = client.chat("fake-tools", prompt)
    assert event_types(events) == finished_run(*CALLED, *TEXT)
    assert text_of(events) == "Sorry."
    _, rerun = scripts.requests(prompt)
    text = rerun.json()["messages"][-1]
    assert text["role"] == "tool"
    assert error in text["content"]
    assert "sk-secret" not in json.dumps(events)


def test_server_tool_beside_a_frontend_tool(client: RecordingClient, scripts: Scripts) -> None:
    """The server's has its result; the frontend calls the model again, with both."""
    prompt = scripts.on(calls(("shout", '{"text": "a"}'), ("paint", "{}")))
    events = client.chat("fake-tools", prompt, tools=[frontend_tool("paint")])
    assert set(tool_calls(events)) == {"c0", "c1"}
    assert results(events) == {"c0": "A"}
    assert len(scripts.requests(prompt)) == 1


def test_server_tool_wins_over_a_frontend_tool_of_the_same_name(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(calls(("shout", '{"text": "a"}')), send_text("done")))
    events = client.chat("fake-tools", prompt, tools=[frontend_tool("shout")])
    assert results(events) == {"c0": "A"}
    first, _ = scripts.requests(prompt)
    names = [tool["function"]["name"] for tool in first.json()["tools"]]
    assert names.count("shout") == 1


def test_server_tool_gets_the_run_context(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(calls(("whoami", "{}")), send_text("You.")))
    body = {
        "threadId": prompt,
        "runId": unique("run"),
        "messages": [user_message(prompt)],
        "tools": [],
        "context": [],
        "state": {"count": 1},
    }
    with client.open("POST", "/agent/fake-tools/run", body, {"x-tenant": "acme"}) as stream:
        events = stream.rest()
    assert json.loads(results(events)["c0"]) == {"tenant": "acme", "state": {"count": 1}}
    first, _ = scripts.requests(prompt)
    offered = next(tool["function"] for tool in first.json()["tools"] if tool["function"]["name"] == "whoami")
    assert offered["parameters"]["properties"] == {}


def test_tool_choice_required_applies_to_the_first_step_only(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(calls(("shout", '{"text": "a"}')), send_text("done")))
    client.chat("fake-required", prompt)
    first, second = (exchange.json() for exchange in scripts.requests(prompt))
    assert first["tool_choice"] == "required"
    assert second.get("tool_choice", "auto") == "auto"
