"""What `/threads/{id}/events`, `/state` and `/messages` cost: no event loop decodes or serialises a long thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._server.endpoints import threads
from copilot_runtime.testing import AsyncTestClient, TestClient

pytestmark = pytest.mark.requirement("COST-02")

TEXT = 'says "STATE_SNAPSHOT", \\ and ends\n\n'


async def agent(input: Any) -> Any:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"messageId": f"{input.run_id}-m", "type": "TEXT_MESSAGE_CHUNK", "delta": TEXT}
    for snapshot in input.state or ():
        yield {"snapshot": snapshot, "type": "STATE_SNAPSHOT"}
    yield {"type": "CUSTOM", "name": "STATE_SNAPSHOT", "value": {"state": 1}}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def state_after(client: TestClient, *states: Any) -> Any:
    for state in states:
        client.run("a", "hi", thread_id="t", state=state)
    return client.request("GET", "/threads/t/state").json()["state"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([[{"a": 1}, {"a": 2}]], {"a": 2}),
        ([[{"a": 1}], [{"b": TEXT}]], {"b": TEXT}),
        ([[{"a": 1}], []], {"a": 1}),
        ([[]], None),
        ([[{"a": 1}, [1]]], None),
    ],
    ids=["last of a run", "last run", "not of the last run", "none", "no object"],
)
def test_threads_state_is_that_of_the_last_snapshot(states: list[Any], expected: Any) -> None:
    with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
        # An input state counts as a snapshot only if the agent emits one.
        assert state_after(client, *states) == expected


def test_threads_state_decodes_no_other_events(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = threads.decode
    monkeypatch.setattr(threads, "decode", lambda frame: decoded.append(frame) or decode(frame))
    with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
        for _ in range(20):
            client.run("a", "hi", thread_id="t", state=[{"a": 1}])
        assert client.request("GET", "/threads/t/state").json()["state"] == {"a": 1}
    # The custom event, whose name is that of a snapshot, and the snapshot itself.
    assert len(decoded) <= 2


def test_threads_events_are_those_that_were_stored() -> None:
    with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
        client.run("a", "hi", thread_id="t", state=[{"a": 1}])
        client.run("a", "hi", thread_id="t")
        response = client.request("GET", "/threads/t/events")
        assert response.headers["content-type"] == "application/json"
        replayed = client.connect("a", "t").events
        assert response.json()["events"] == [dict(event) for event in replayed]

        assert client.request("GET", "/threads/other/events").json() == {"events": []}


@pytest.mark.parametrize(
    ("view", "function"), [("events", "event_data"), ("state", "_state_snapshot"), ("messages", "_message_json")]
)
def test_threads_views_are_made_on_a_worker_thread(monkeypatch: pytest.MonkeyPatch, view: str, function: str) -> None:
    used: set[int] = set()
    original = getattr(threads, function)

    def noted(value: Any) -> Any:
        used.add(threading.get_ident())
        return original(value)

    monkeypatch.setattr(threads, function, noted)

    async def check() -> Mapping[str, Any]:
        async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
            await client.run("a", "hi", thread_id="t", state=[{"a": 1}])
            members: Mapping[str, Any] = (await client.request("GET", f"/threads/t/{view}")).json()
            return members

    assert asyncio.run(check())[view]
    assert used
    assert threading.get_ident() not in used
