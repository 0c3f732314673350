"""Tools that run on the server: called, answered, and asked again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http_client import fresh

from .aimock import Aimock
from .client import CALL, TEXT, calls_of, frontend_tool, of_type, only, outline, text_of, user, whole
from .fake_provider import Script, call, chunk
from .scripts import Scenes, roles, says, sends, steps
from .verifier import NotingClient

CALLED = [*CALL, "TOOL_CALL_RESULT"]


def calls(*named: tuple[str, str]) -> Script:
    """A script that calls tools, with their arguments in JSON: the n-th by the id ``cN``."""
    return sends(*(call(n, arguments, f"c{n}", name) for n, (name, arguments) in enumerate(named)))


def results(events: Any) -> dict[str, str]:
    return {one["toolCallId"]: one["content"] for one in of_type(events, "TOOL_CALL_RESULT")}


@pytest.mark.client
def test_a_tool_is_run_and_the_model_told_its_result(client: NotingClient, mock: Aimock) -> None:
    ask = f"{fresh('question')}."
    wanted = {"id": "call_1", "name": "weather", "arguments": {"city": "Köln"}}
    mock.on({"userMessage": ask, "hasToolResult": False}, {"toolCalls": [wanted]})
    mock.on({"userMessage": ask, "hasToolResult": True}, {"content": "It is grey."})
    events = client.ran("tools", "t-" + ask, messages=[user(ask)])
    assert outline(events) == whole(*CALLED, *TEXT)
    shown = only(events, "TOOL_CALL_RESULT")
    assert shown["toolCallId"] == "call_1"
    assert json.loads(shown["content"]) == {"city": "Köln", "sky": "grey", "days": 1}
    assert text_of(events) == "It is grey."
    first, second = mock.asked(ask)
    offered = next(one["function"] for one in first["tools"] if one["function"]["name"] == "weather")
    assert offered["description"] == "The weather of a city."
    assert offered["parameters"]["required"] == ["city"]
    assert set(offered["parameters"]["properties"]) == {"city", "days"}
    assert roles(second["messages"]) == ["user", "assistant", "tool"]
    assert json.loads(second["messages"][2]["content"])["sky"] == "grey"


def test_with_one_step_the_model_is_not_asked_again(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(calls(("shout", '{"text": "hi"}')))
    events = client.ran("fake-one-step", scene, messages=[user(scene)])
    assert outline(events) == whole(*CALLED)
    assert results(events) == {"c0": "HI"}
    assert len(scenes.asked(scene)) == 1


def test_the_steps_have_an_end(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(calls(("shout", '{"text": "hi"}')))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert outline(events) == whole(*CALLED * 4)
    assert len(scenes.asked(scene)) == 4
    # The server counts its calls from c0 each time; the conversation must not.
    assert len(calls_of(events)) == 4


def test_calls_in_parallel_run_at_once(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(calls(("meet", '{"name": "Ann"}'), ("meet", '{"name": "Bob"}')), says("Both.")))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert results(events) == {"c0": "Ann met", "c1": "Bob met"}
    assert text_of(events) == "Both."


def test_calls_whose_arguments_come_in_turns(client: NotingClient, scenes: Scenes) -> None:
    first = sends(
        call(0, "", "c0", "shout"),
        call(1, "", "c1", "shout"),
        call(0, '{"text":'),
        call(1, '{"text":'),
        call(0, ' "one"}'),
        call(1, ' "two"}'),
    )
    scene = scenes.on(steps(first, says("done")))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert calls_of(events) == {"c0": ("shout", '{"text": "one"}'), "c1": ("shout", '{"text": "two"}')}
    assert results(events) == {"c0": "ONE", "c1": "TWO"}


def test_text_and_reasoning_around_calls(client: NotingClient, scenes: Scenes) -> None:
    first = sends(
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Let me see."}),
        call(0, '{"text": "a"}', "c0", "shout"),
    )
    scene = scenes.on(steps(first, sends(chunk({"reasoning_content": "So."}), chunk({"content": "A."}), reason="stop")))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert text_of(events) == "Let me see.A."
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "Hm.So."
    assert results(events) == {"c0": "A"}
    assert len({one["messageId"] for one in of_type(events, "TEXT_MESSAGE_START")}) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        pytest.param("weather", '{"city": ', "JSON", id="no JSON"),
        pytest.param("weather", "[1]", "object", id="no object"),
        pytest.param("weather", "{}", "city", id="an argument is missing"),
        pytest.param("weather", '{"city": "x", "days": "many"}', "days", id="an argument of another type"),
        pytest.param("weather", '{"city": "x", "hours": 1}', "hours", id="an argument that it does not have"),
        pytest.param("explode", "{}", "sk-secret", id="it raises"),
        pytest.param("invented", "{}", "invented", id="there is no such tool"),
    ],
)
def test_what_goes_wrong_with_a_tool_is_told_to_the_model(
    client: NotingClient, scenes: Scenes, name: str, arguments: str, told: str
) -> None:
    scene = scenes.on(steps(calls((name, arguments)), says("Sorry.")))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert outline(events) == whole(*CALLED, *TEXT)
    assert text_of(events) == "Sorry."
    _, again = scenes.asked(scene)
    said = again.json()["messages"][-1]
    assert said["role"] == "tool"
    assert told in said["content"]
    assert "sk-secret" not in json.dumps(events)


def test_a_frontends_call_beside_a_servers(client: NotingClient, scenes: Scenes) -> None:
    """The server's has its result; the model is asked again by the frontend, with both."""
    scene = scenes.on(calls(("shout", '{"text": "a"}'), ("paint", "{}")))
    events = client.ran("fake-tools", scene, messages=[user(scene)], tools=[frontend_tool("paint")])
    assert set(calls_of(events)) == {"c0", "c1"}
    assert results(events) == {"c0": "A"}
    assert len(scenes.asked(scene)) == 1


def test_the_servers_tool_wins_over_the_frontends_of_the_same_name(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(calls(("shout", '{"text": "a"}')), says("done")))
    events = client.ran("fake-tools", scene, messages=[user(scene)], tools=[frontend_tool("shout")])
    assert results(events) == {"c0": "A"}
    first, _ = scenes.asked(scene)
    names = [one["function"]["name"] for one in first.json()["tools"]]
    assert names.count("shout") == 1


def test_a_tool_has_the_runs_context(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(calls(("whoami", "{}")), says("You.")))
    body = {
        "threadId": scene,
        "runId": fresh("run"),
        "messages": [user(scene)],
        "tools": [],
        "context": [],
        "state": {"count": 1},
    }
    with client.ask("POST", "/agent/fake-tools/run", body, {"x-tenant": "acme"}) as stream:
        events = list(stream.events())
    assert json.loads(results(events)["c0"]) == {"tenant": "acme", "state": {"count": 1}}
    first, _ = scenes.asked(scene)
    offered = next(one["function"] for one in first.json()["tools"] if one["function"]["name"] == "whoami")
    assert offered["parameters"]["properties"] == {}


def test_a_required_tool_is_required_once(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(calls(("shout", '{"text": "a"}')), says("done")))
    client.ran("fake-required", scene, messages=[user(scene)])
    first, second = (one.json() for one in scenes.asked(scene))
    assert first["tool_choice"] == "required"
    assert second.get("tool_choice", "auto") == "auto"
