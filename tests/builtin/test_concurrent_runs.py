"""Many runs at once, of one agent in one process: each keeps to itself."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.http_client import Event, run_input, unique

from .aimock import Aimock
from .client import (
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
from .fake_provider import TIMEOUT_SECONDS, Exchange, Script, tool_call_chunk
from .scripts import Scripts, by_step, send_chunks
from .verifier import RecordingClient

CROWD = 100


def all_started(client: RecordingClient, agent: str, bodies: list[dict[str, Any]]) -> list[list[Event]]:
    """Runs these bodies concurrently, each with headers of its own; returns their events."""

    def run(numbered: tuple[int, dict[str, Any]]) -> list[Event]:
        number, body = numbered
        with client.open("POST", f"/agent/{agent}/run", body, {"x-tenant": f"tenant-{number}"}) as stream:
            assert stream.status == 200, stream.read()
            return stream.rest()

    with ThreadPoolExecutor(len(bodies)) as pool:
        runs = list(pool.map(run, enumerate(bodies)))
    client.streams += runs
    return runs


@pytest.mark.requirement("FORWARD-05")
def test_concurrent_runs_keep_tools_headers_and_state_apart(client: RecordingClient, scripts: Scripts) -> None:
    # The model sends no response before all requests have arrived, so that all runs are active at once.
    together = threading.Barrier(CROWD)

    def first(number: int) -> Script:
        changes = json.dumps({"delta": [{"op": "replace", "path": "/mine", "value": f"new {number}"}]})
        answer = send_chunks(
            tool_call_chunk(0, "{}", "c0", "whoami"), tool_call_chunk(1, changes, "c1", "AGUISendStateDelta")
        )

        def script(exchange: Exchange) -> None:
            together.wait(TIMEOUT_SECONDS)
            answer(exchange)

        return script

    numbers = range(CROWD)
    prompts = [
        scripts.on(by_step(first(n), send_chunks(tool_call_chunk(0, f'{{"n":{n}}}', f"p{n}", f"paint_{n}"))))
        for n in numbers
    ]
    bodies = [
        run_input(
            prompts[n],
            unique("run"),
            messages=[user_message(prompts[n])],
            tools=[frontend_tool(f"paint_{n}")],
            state={"mine": f"old {n}"},
        )
        for n in numbers
    ]
    for n, events in enumerate(all_started(client, "fake-crowd", bodies)):
        assert {event["threadId"] for event in of_type(events, "RUN_STARTED", "RUN_FINISHED")} == {prompts[n]}
        results = {event["toolCallId"]: json.loads(event["content"]) for event in of_type(events, "TOOL_CALL_RESULT")}
        assert results == {"c0": {"tenant": f"tenant-{n}", "state": {"mine": f"old {n}"}}, "c1": {"success": True}}
        assert only_event(events, "STATE_DELTA")["delta"][0]["value"] == f"new {n}"
        assert tool_calls(events)[f"p{n}"] == (f"paint_{n}", f'{{"n":{n}}}')
        for request in scripts.requests(prompts[n]):
            offered = [tool["function"]["name"] for tool in request.json()["tools"]]
            assert [name for name in offered if name.startswith("paint_")] == [f"paint_{n}"]
            assert f"old {n}" in json.dumps(request.json()["messages"][0])


@pytest.mark.client
def test_concurrent_runs_against_aimock(client: RecordingClient, mock: Aimock) -> None:
    prompts = [f"{unique('question')}." for _ in range(CROWD)]
    for number, prompt in enumerate(prompts):
        mock.add_fixture(prompt, {"content": f"Answer {number}."}, chunkSize=3, latency=1)
    bodies = [run_input(f"t-{prompt}", unique("run"), messages=[user_message(prompt)]) for prompt in prompts]
    runs = all_started(client, "plain", bodies)
    assert [text_of(events) for events in runs] == [f"Answer {number}." for number in range(CROWD)]
    assert all(event_types(events) == finished_run(*TEXT) for events in runs)
