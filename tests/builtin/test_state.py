"""The application's state: told to the model, and changed by it."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import pytest

from tests.http_client import fresh

from .aimock import Aimock
from .client import of_type, only, outline, text_of, user
from .fake_provider import Script, call
from .scripts import Scenes, says, sends, steps
from .verifier import NotingClient

SNAPSHOT, DELTA = "AGUISendStateSnapshot", "AGUISendStateDelta"


def changes(name: str, **arguments: Any) -> Script:
    return sends(call(0, json.dumps(arguments), "c0", name))


def set_count(value: int, path: str = "/count") -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


@pytest.mark.client
def test_a_snapshot(client: NotingClient, mock: Aimock) -> None:
    ask = f"{fresh('question')}."
    wanted = {"id": "c0", "name": SNAPSHOT, "arguments": {"snapshot": {"count": 2}}}
    mock.on({"userMessage": ask, "hasToolResult": False}, {"toolCalls": [wanted]})
    mock.on({"userMessage": ask, "hasToolResult": True}, {"content": "Two."})
    events = client.ran("stateful", "t-" + ask, messages=[user(ask)], state={"count": 1})
    assert only(events, "STATE_SNAPSHOT")["snapshot"] == {"count": 2}
    assert text_of(events) == "Two."
    first, second = mock.asked(ask)
    assert {one["function"]["name"] for one in first["tools"]} == {SNAPSHOT, DELTA}
    assert "count" in first["messages"][0]["content"]
    assert json.loads(second["messages"][-1]["content"]) == {"success": True}


def test_a_delta(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(changes(DELTA, delta=[set_count(2)]), says("Two.")))
    events = client.ran("fake-stateful", scene, messages=[user(scene)], state={"count": 1})
    assert only(events, "STATE_DELTA")["delta"] == [set_count(2)]
    assert outline(events).index("STATE_DELTA") < outline(events).index("TOOL_CALL_RESULT")


def test_deltas_follow_each_other_across_steps(client: NotingClient, scenes: Scenes) -> None:
    # Each applies only to what the one before has left.
    first = changes(DELTA, delta=[{"op": "add", "path": "/items", "value": []}])
    second = changes(DELTA, delta=[{"op": "add", "path": "/items/0", "value": "x"}])
    scene = scenes.on(steps(changes(SNAPSHOT, snapshot={}), first, second, says("One item.")))
    events = client.ran("fake-stateful", scene, messages=[user(scene)], state={"items": {}})
    changed = of_type(events, "STATE_SNAPSHOT", "STATE_DELTA")
    assert [event["type"] for event in changed] == ["STATE_SNAPSHOT", "STATE_DELTA", "STATE_DELTA"]
    assert text_of(events) == "One item."


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param([set_count(2, "/missing")], id="does not apply"),
        pytest.param([set_count(2), set_count(3, "/missing")], id="applies in part"),
        pytest.param([{"op": "add", "path": "/items/7", "value": 1}], id="beyond a list's end"),
        pytest.param([{"op": "levitate", "path": "/count", "value": 1}], id="no operation"),
        pytest.param([{"op": "add", "path": "/__proto__/x", "value": 1}], id="into a prototype"),
        pytest.param([{"op": "add", "path": "count", "value": 1}], id="no pointer"),
        pytest.param([{"op": "replace", "path": "/count"}], id="no value"),
        pytest.param({"count": 2}, id="no list"),
    ],
)
def test_a_delta_that_does_not_apply_is_an_error_to_the_model_and_not_sent(
    client: NotingClient, scenes: Scenes, delta: Any
) -> None:
    scene = scenes.on(steps(changes(DELTA, delta=delta), changes(DELTA, delta=[set_count(9)]), says("Nine.")))
    events = client.ran("fake-stateful", scene, messages=[user(scene)], state={"count": 1, "items": []})
    assert only(events, "STATE_DELTA")["delta"] == [set_count(9)]
    _, second, third = (one.json()["messages"] for one in scenes.asked(scene))
    assert second[-1]["content"].startswith("Error")
    assert json.loads(third[-1]["content"]) == {"success": True}


def test_a_snapshot_that_is_no_object_is_an_error_to_the_model(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(changes(SNAPSHOT, snapshot="all"), says("Sorry.")))
    events = client.ran("fake-stateful", scene, messages=[user(scene)])
    assert of_type(events, "STATE_SNAPSHOT") == []
    assert scenes.asked(scene)[1].json()["messages"][-1]["content"].startswith("Error")


@pytest.mark.parametrize("state", [{}, {"state": None}])
def test_a_delta_to_no_state_is_something_the_client_can_apply(
    client: NotingClient, scenes: Scenes, state: dict[str, Any]
) -> None:
    adding = changes(DELTA, delta=[{"op": "add", "path": "/count", "value": 1}])
    scene = scenes.on(steps(adding, says("One.")))
    events = client.ran("fake-stateful", scene, messages=[user(scene)], **state)
    shown: Any = {}  # what a client has where there is no state
    for event in of_type(events, "STATE_SNAPSHOT", "STATE_DELTA"):
        shown = event["snapshot"] if "snapshot" in event else jsonpatch.apply_patch(shown, event["delta"])
    assert shown == {"count": 1}


def test_what_the_model_changed_is_there_to_look_at_later(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(changes(SNAPSHOT, snapshot={"count": 5}), says("Five.")))
    client.ran("fake-stateful", scene, messages=[user(scene)])
    with client.ask("GET", f"/threads/{scene}/state") as answer:
        assert answer.json()["state"] == {"count": 5}
