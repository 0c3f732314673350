"""`messages` and `state` of the events that a middleware receives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from ag_ui.core import RunAgentInput
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._events import apply_events
from copilot_runtime.middleware._thread_view import ThreadView

from .cost_helpers import assert_linear
from .random_run_helpers import runs
from .recorder_helpers import Event, call, run_input, text

pytestmark = pytest.mark.requirement("MIDDLEWARE-01")

MESSAGES = [{"id": "u", "role": "user", "content": "hi"}, {"id": "a", "role": "assistant", "content": "before"}]


def view_of(**members: Any) -> ThreadView:
    input = run_input(messages=MESSAGES, state={"fromClient": "x"}, forwardedProps={}, **members)
    return ThreadView(RunAgentInput.model_validate(input))


@given(runs(), st.sets(st.integers(0, 60)))
def test_thread_view_is_the_same_whenever_it_is_read(events: list[Event], reads: set[int]) -> None:
    eager, lazy = view_of(), view_of()
    before = copy.deepcopy(events)
    for number, event in enumerate(events):
        for view in (eager, lazy):
            view.note(event)
        eager.messages()
        eager.state()
        if number in reads:
            assert lazy.messages() == apply_events(MESSAGES, before[: number + 1])
    assert lazy.messages() == eager.messages() == apply_events(MESSAGES, before)
    assert lazy.state() == eager.state()
    assert events == before


@pytest.mark.parametrize("reading", [False, True])
def test_thread_view_keeps_what_a_snapshot_of_messages_does_not_have(reading: bool) -> None:
    """Activities and reasoning, as clients keep them; but not other messages."""
    activity = {"type": "ACTIVITY_SNAPSHOT", "messageId": "plan", "activityType": "PLAN", "content": {"steps": []}}
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": MESSAGES[:1]}
    events = [activity, text("START", "m"), snapshot, text("START", "n"), snapshot]
    view = view_of()
    for event in events:
        view.note(copy.deepcopy(event))
        if reading:
            view.messages()
    assert [message["id"] for message in view.messages()] == ["u", "plan"]
    assert view.messages() == apply_events(MESSAGES, events)


def test_thread_view_does_not_collect_snapshots_of_messages() -> None:
    view = view_of()
    for _ in range(100):
        view.note({"type": "MESSAGES_SNAPSHOT", "messages": MESSAGES})
    assert view._events == []


def test_thread_view_has_messages_that_a_middleware_has_put_in_place_of_models() -> None:
    input = RunAgentInput.model_validate(run_input(messages=MESSAGES, state={}, forwardedProps={}))
    assert ThreadView(input.model_copy(update={"messages": MESSAGES[:1]})).messages() == MESSAGES[:1]


@pytest.mark.parametrize(
    "event",
    [
        text("CONTENT", message="unknown"),
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": 5},
        {"type": "TEXT_MESSAGE_CONTENT", "delta": "x"},
        {"type": "TEXT_MESSAGE_START"},
        {"type": "TOOL_CALL_RESULT", "messageId": "r"},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{}]},
        {"type": "STATE_DELTA", "delta": [{"op": "nonsense"}]},
        {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/missing"}]},
    ],
)
def test_thread_view_ignores_events_that_clients_would_reject(event: Event) -> None:
    """The engine reports them, if a middleware passes them on."""
    view = view_of()
    view.note(text("START", message="m"))
    view.note(event)
    view.note(text("CONTENT", message="m", delta="good"))
    assert view.messages() == [*MESSAGES, {"id": "m", "role": "assistant", "content": "good"}]
    assert view.state() == {"fromClient": "x"}


def _noting(size: int, *, reading: bool) -> Callable[[], object]:
    view = view_of()
    events = [
        *(event for index in range(size) for event in (text("START", f"m{index}"), text("CONTENT", f"m{index}"))),
        *(event for index in range(size) for event in (call("START", f"c{index}"), call("ARGS", f"c{index}"))),
        *({"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/n", "value": 1}]} for _ in range(size)),
    ]

    def note() -> None:
        for event in events:
            view.note(event)
            if reading:
                view.messages()
                view.state()

    return note


@pytest.mark.parametrize("reading", [False, True])
def test_thread_view_takes_steps_for_what_has_changed(reading: bool) -> None:
    assert_linear(lambda size: _noting(size, reading=reading), size=25)


def test_thread_view_keeps_deltas_and_not_their_events() -> None:
    view = view_of()
    view.note(text("START"))
    for _ in range(1000):
        view.note(text("CONTENT", delta="x"))
    assert len(view._events) == 2
    assert view.messages()[-1]["content"] == "x" * 1000
