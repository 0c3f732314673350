"""Contexts are popped exactly once: the request's when its view has returned, a run's when the run ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ..fixtures.events import named_event, notes
from ..fixtures.flask_site import PLAIN, create_app
from ..http_client import run_input, unique

pytestmark = pytest.mark.requirement("FLASK-02")

OVER = ["request", "context"]


@pytest.fixture(scope="module")
def browser() -> FlaskClient:
    client = create_app().test_client()
    client.post("/login/ada")
    return client


def start(browser: FlaskClient, mark: str, agent: str, run: str, *steps: tuple[str, str]) -> TestResponse:
    """The answer to a run that has begun; nothing of it has been read but what a server needs to send the headers."""
    body = run_input(f"thread-of-{run}", run, forwardedProps={"steps": steps})
    response = browser.post(f"{PLAIN}/agent/{agent}/run", json=body, headers={"x-mark": mark})
    assert notes.wait(run)
    return response


def read(browser: FlaskClient, response: TestResponse, agent: str, run: str, gate: str) -> None:
    named_event(gate).set()
    response.get_data()
    response.close()


def leave(browser: FlaskClient, response: TestResponse, agent: str, run: str, gate: str) -> None:
    response.close()
    assert notes.read(f"torn-{run}") == [], "the run goes on"
    named_event(gate).set()


def stop(browser: FlaskClient, response: TestResponse, agent: str, run: str, gate: str) -> None:
    assert browser.post(f"{PLAIN}/agent/{agent}/stop/thread-of-{run}").get_json()["stopped"] is True
    read(browser, response, agent, run, gate)


def nothing(browser: FlaskClient, response: TestResponse, agent: str, run: str, gate: str) -> None:
    """The run ends by itself."""


Ending = Callable[[FlaskClient, TestResponse, str, str, str], None]
CASES = [
    *((agent, ending) for agent in ("play", "play-sync") for ending in (read, leave, stop)),
    *((agent, ending) for agent in ("fails", "fails-sync") for ending in (read, nothing)),
]


@pytest.mark.parametrize(("agent", "ending"), CASES)
def test_flask_contexts_are_popped_once(browser: FlaskClient, agent: str, ending: Ending) -> None:
    mark, run, gate = unique("mark"), unique("run"), unique("gate")
    response = start(browser, mark, agent, run, ("say", "a"), ("wait", gate))
    assert notes.read(f"torn-{mark}") == OVER, "before anything of the stream is read"
    ending(browser, response, agent, run, gate)
    assert notes.wait(f"torn-{run}") == ["context"]
    response.close()
    following = unique("run")
    start(browser, unique("mark"), agent, following).close()
    notes.wait(f"torn-{following}")
    assert notes.read(f"torn-{run}") == ["context"], "and not again"
    assert notes.read(f"torn-{mark}") == OVER


def test_flask_contexts_of_concurrent_runs_do_not_mix(browser: FlaskClient) -> None:
    gate, agents = unique("gate"), {unique("run"): agent for agent in ("play", "play", "play-sync", "play-sync")}
    responses = [start(browser, unique("mark"), agent, run, ("wait", gate)) for run, agent in agents.items()]
    named_event(gate).set()
    for run, response in zip(agents, responses, strict=True):
        response.get_data()
        first, *others = notes.read(run)
        assert first["g"] is None
        assert {note["g"] for note in others} == {run}
        assert notes.wait(f"torn-{run}") == ["context"]


@pytest.mark.parametrize("path", ["/info", "/nothing", ""])
def test_flask_contexts_are_popped_after_a_response_without_a_stream(browser: FlaskClient, path: str) -> None:
    mark = unique("mark")
    browser.get(PLAIN + path, headers={"x-mark": mark}).close()
    assert notes.read(f"torn-{mark}") == OVER
