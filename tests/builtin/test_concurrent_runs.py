"""Many runs at once, of one agent in one process: each keeps to itself."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.http_client import Event, fresh, run_input

from .aimock import Aimock
from .client import TEXT, calls_of, frontend_tool, of_type, only, outline, text_of, user, whole
from .fake_provider import PATIENCE_SECONDS, Exchange, Script, call
from .scripts import Scenes, sends, steps
from .verifier import NotingClient

CROWD = 100


def everybody(client: NotingClient, agent: str, bodies: list[dict[str, Any]]) -> list[list[Event]]:
    """Runs with these bodies, all at once, each with headers of its own; gives their events."""

    def one(numbered: tuple[int, dict[str, Any]]) -> list[Event]:
        number, body = numbered
        with client.ask("POST", f"/agent/{agent}/run", body, {"x-tenant": f"tenant-{number}"}) as stream:
            assert stream.status == 200, stream.rest()
            return list(stream.events())

    with ThreadPoolExecutor(len(bodies)) as pool:
        runs = list(pool.map(one, enumerate(bodies)))
    client.streams += runs
    return runs


def test_a_crowd_keeps_tools_headers_and_state_apart(client: NotingClient, scenes: Scenes) -> None:
    # The model answers nobody before all have asked, so that all runs are under way together.
    together = threading.Barrier(CROWD)

    def first(number: int) -> Script:
        changes = json.dumps({"delta": [{"op": "replace", "path": "/mine", "value": f"new {number}"}]})
        answer = sends(call(0, "{}", "c0", "whoami"), call(1, changes, "c1", "AGUISendStateDelta"))

        def script(exchange: Exchange) -> None:
            together.wait(PATIENCE_SECONDS)
            answer(exchange)

        return script

    numbers = range(CROWD)
    asks = [scenes.on(steps(first(n), sends(call(0, f'{{"n":{n}}}', f"p{n}", f"paint_{n}")))) for n in numbers]
    bodies = [
        run_input(
            asks[n],
            fresh("run"),
            messages=[user(asks[n])],
            tools=[frontend_tool(f"paint_{n}")],
            state={"mine": f"old {n}"},
        )
        for n in numbers
    ]
    for n, events in enumerate(everybody(client, "fake-crowd", bodies)):
        assert {event["threadId"] for event in of_type(events, "RUN_STARTED", "RUN_FINISHED")} == {asks[n]}
        shown = {one["toolCallId"]: json.loads(one["content"]) for one in of_type(events, "TOOL_CALL_RESULT")}
        assert shown == {"c0": {"tenant": f"tenant-{n}", "state": {"mine": f"old {n}"}}, "c1": {"success": True}}
        assert only(events, "STATE_DELTA")["delta"][0]["value"] == f"new {n}"
        assert calls_of(events)[f"p{n}"] == (f"paint_{n}", f'{{"n":{n}}}')
        for asked in scenes.asked(asks[n]):
            offered = [one["function"]["name"] for one in asked.json()["tools"]]
            assert [name for name in offered if name.startswith("paint_")] == [f"paint_{n}"]
            assert f"old {n}" in json.dumps(asked.json()["messages"][0])


@pytest.mark.client
def test_a_crowd_at_aimock(client: NotingClient, mock: Aimock) -> None:
    asks = [f"{fresh('question')}." for _ in range(CROWD)]
    for number, ask in enumerate(asks):
        mock.on(ask, {"content": f"Answer {number}."}, chunkSize=3, latency=1)
    bodies = [run_input(f"t-{ask}", fresh("run"), messages=[user(ask)]) for ask in asks]
    runs = everybody(client, "plain", bodies)
    assert [text_of(events) for events in runs] == [f"Answer {number}." for number in range(CROWD)]
    assert all(outline(events) == whole(*TEXT) for events in runs)
