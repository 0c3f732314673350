"""The tools with which a model changes the application's state."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from copilot_runtime._events.shared_state import apply_state_events
from copilot_runtime.agents._builtin.state_tools import SharedState
from copilot_runtime.agents._tools import ToolError


def change(state: SharedState, tool: str, **arguments: Any) -> Any:
    (found,) = [offered for offered in state.tools() if offered.name == tool]
    return asyncio.run(found.call(arguments, None))


def snapshot(state: SharedState, value: Any) -> Any:
    return change(state, "AGUISendStateSnapshot", snapshot=value)


def delta(state: SharedState, *operations: Any) -> Any:
    return change(state, "AGUISendStateDelta", delta=list(operations))


ADD = {"op": "add", "path": "/items/-", "value": "milk"}


def test_state_snapshot_replaces_the_state() -> None:
    state = SharedState({"old": 1})
    assert snapshot(state, {"new": None}) == {"success": True}
    assert state.drain_events() == [{"type": "STATE_SNAPSHOT", "snapshot": {"new": None}}]
    assert state.drain_events() == []


def test_state_delta_changes_parts_of_the_state() -> None:
    state = SharedState({"items": []})
    assert delta(state, ADD) == {"success": True}
    assert state.drain_events() == [{"type": "STATE_DELTA", "delta": [ADD]}]


def test_state_changes_build_on_each_other() -> None:
    given = {"items": []}
    before = copy.deepcopy(given)
    state = SharedState(given)
    delta(state, ADD, ADD)
    delta(state, {"op": "replace", "path": "/items/1", "value": {"name": "eggs"}})
    delta(state, {"op": "add", "path": "/items/1/count", "value": 6}, {"op": "remove", "path": "/items/0"})
    assert given == before  # what the run was given is not ours to change
    assert apply_state_events(given, state.drain_events()) == {"items": [{"name": "eggs", "count": 6}]}


def test_state_delta_without_a_state_becomes_a_snapshot() -> None:
    state = SharedState(None)
    delta(state, {"op": "add", "path": "/a", "value": 1})
    delta(state, {"op": "add", "path": "/b", "value": 2})
    assert [event["type"] for event in state.drain_events()] == ["STATE_SNAPSHOT", "STATE_DELTA"]


WRONG = [
    pytest.param([{"op": "replace", "path": "/missing", "value": 1}], id="no such member"),
    pytest.param([{"op": "remove", "path": "/items/7"}], id="no such index"),
    pytest.param([{"op": "add", "path": "/items/7", "value": 1}], id="beyond the end"),
    pytest.param([{"op": "add", "path": "no-slash", "value": 1}], id="no pointer"),
    pytest.param([{"op": "add", "path": "/name/0", "value": "x"}], id="into a string"),
    pytest.param([{"op": "add", "path": "/a"}], id="no value"),
    pytest.param([{"op": "move", "from": "/name", "path": "/a"}], id="an operation that is not offered"),
    pytest.param([{"op": ["add"], "path": "/a", "value": 1}], id="op is no string"),
    pytest.param([{"op": "add", "path": 1, "value": 1}], id="path is no string"),
    pytest.param([{"op": "add", "path": "/__proto__/x", "value": 1}], id="a JavaScript prototype"),
    pytest.param([{"op": "add", "path": "/constructor/prototype", "value": 1}], id="the same by another way"),
    pytest.param(["add"], id="no operation"),
    pytest.param([ADD, {"op": "remove", "path": "/missing"}], id="half of it applies"),
]


@pytest.mark.parametrize("operations", WRONG)
def test_state_delta_that_does_not_apply_is_an_error(operations: list[Any]) -> None:
    state = SharedState({"items": [], "name": "x"})
    with pytest.raises(ToolError):
        delta(state, *operations)
    assert state.drain_events() == []
    delta(state, {"op": "replace", "path": "/items", "value": [1]})  # what was not changed can be, still
    assert apply_state_events({"items": [], "name": "x"}, state.drain_events()) == {"items": [1], "name": "x"}


@pytest.mark.parametrize("value", [None, 1, "text", [1]])
def test_state_snapshot_must_be_an_object(value: Any) -> None:
    state = SharedState({})
    with pytest.raises(ToolError, match="object"):
        snapshot(state, value)
    assert state.drain_events() == []


@pytest.mark.parametrize("value", [None, {}, "text"])
def test_state_delta_must_be_a_list(value: Any) -> None:
    with pytest.raises(ToolError, match="list"):
        change(SharedState({}), "AGUISendStateDelta", delta=value)
