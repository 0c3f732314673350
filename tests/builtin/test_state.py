"""The application's state: sent to the model, and changed by it."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import pytest

from tests.http_client import unique

from .aimock import Aimock
from .client import event_types, of_type, only_event, text_of
from .fake_provider import Script, tool_call_chunk
from .scripts import Scripts, by_step, send_chunks, send_text
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("AGENT-02")

SNAPSHOT, DELTA = "AGUISendStateSnapshot", "AGUISendStateDelta"


def changes(name: str, **arguments: Any) -> Script:
    return send_chunks(tool_call_chunk(0, json.dumps(arguments), "c0", name))


def set_count(value: int, path: str = "/count") -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


@pytest.mark.client
def test_state_snapshot_tool(client: RecordingClient, mock: Aimock) -> None:
    prompt = f"{unique('question')}."
    expected = {"id": "c0", "name": SNAPSHOT, "arguments": {"snapshot": {"count": 2}}}
    mock.add_fixture({"userMessage": prompt, "hasToolResult": False}, {"toolCalls": [expected]})
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "Two."})
    events = client.chat("stateful", prompt, state={"count": 1})
    assert only_event(events, "STATE_SNAPSHOT")["snapshot"] == {"count": 2}
    assert text_of(events) == "Two."
    first, second = mock.requests(prompt)
    assert {tool["function"]["name"] for tool in first["tools"]} == {SNAPSHOT, DELTA}
    assert "count" in first["messages"][0]["content"]
    assert json.loads(second["messages"][-1]["content"]) == {"success": True}


def test_state_delta_tool(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(changes(DELTA, delta=[set_count(2)]), send_text("Two.")))
    events = client.chat("fake-stateful", prompt, state={"count": 1})
    assert only_event(events, "STATE_DELTA")["delta"] == [set_count(2)]
    assert event_types(events).index("STATE_DELTA") < event_types(events).index("TOOL_CALL_RESULT")


def test_state_deltas_follow_each_other_across_steps(client: RecordingClient, scripts: Scripts) -> None:
    # Each applies only to what the one before has left.
    first = changes(DELTA, delta=[{"op": "add", "path": "/items", "value": []}])
    second = changes(DELTA, delta=[{"op": "add", "path": "/items/0", "value": "x"}])
    prompt = scripts.on(by_step(changes(SNAPSHOT, snapshot={}), first, second, send_text("One item.")))
    events = client.chat("fake-stateful", prompt, state={"items": {}})
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
def test_state_delta_that_does_not_apply_is_an_error_for_the_model(
    client: RecordingClient, scripts: Scripts, delta: Any
) -> None:
    prompt = scripts.on(by_step(changes(DELTA, delta=delta), changes(DELTA, delta=[set_count(9)]), send_text("Nine.")))
    events = client.chat("fake-stateful", prompt, state={"count": 1, "items": []})
    assert only_event(events, "STATE_DELTA")["delta"] == [set_count(9)]
    _, second, third = (exchange.json()["messages"] for exchange in scripts.requests(prompt))
    assert second[-1]["content"].startswith("Error")
    assert json.loads(third[-1]["content"]) == {"success": True}


def test_state_snapshot_that_is_not_an_object_is_an_error_for_the_model(
    client: RecordingClient, scripts: Scripts
) -> None:
    prompt = scripts.on(by_step(changes(SNAPSHOT, snapshot="all"), send_text("Sorry.")))
    events = client.chat("fake-stateful", prompt)
    assert of_type(events, "STATE_SNAPSHOT") == []
    assert scripts.requests(prompt)[1].json()["messages"][-1]["content"].startswith("Error")


@pytest.mark.parametrize("state", [{}, {"state": None}])
def test_state_delta_without_a_state_can_be_applied_by_the_client(
    client: RecordingClient, scripts: Scripts, state: dict[str, Any]
) -> None:
    adding = changes(DELTA, delta=[{"op": "add", "path": "/count", "value": 1}])
    prompt = scripts.on(by_step(adding, send_text("One.")))
    events = client.chat("fake-stateful", prompt, **state)
    messages: Any = {}  # what a client has where there is no state
    for event in of_type(events, "STATE_SNAPSHOT", "STATE_DELTA"):
        messages = event["snapshot"] if "snapshot" in event else jsonpatch.apply_patch(messages, event["delta"])
    assert messages == {"count": 1}


def test_state_changes_are_in_threads_state(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(changes(SNAPSHOT, snapshot={"count": 5}), send_text("Five.")))
    client.chat("fake-stateful", prompt)
    with client.open("GET", f"/threads/{prompt}/state") as state:
        assert state.json()["state"] == {"count": 5}
