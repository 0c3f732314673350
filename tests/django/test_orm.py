"""Hooks and agents of every kind can use the ORM, and their database connections are closed."""

from __future__ import annotations

import time

import pytest

from ..http_client import TIMEOUT_SECONDS, types, unique
from ..test_streams import set_event, steps
from .browser import Browser
from .site.agents import ORM
from .site.hooks import HOOKS

pytestmark = pytest.mark.requirement("DJANGO-03")

EVERYBODY = "alice,bob"


@pytest.fixture(scope="module", params=["wsgi", "asgi", "before"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def all_closed(browser: Browser) -> int:
    """Waits until no connection is open, and returns how many have been opened.

    A request's own connection may be closed only after its response has been sent.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (counted := browser.connections())["opened"] != counted["closed"]:
        assert time.monotonic() < deadline, f"connections stay open: {counted}"
    return counted["opened"]


@pytest.mark.parametrize("agent", ORM)
def test_django_orm_connections_of_an_agent_are_closed(browser: Browser, agent: str) -> None:
    before = all_closed(browser)
    for _ in range(3):
        assert browser.text_chunks(agent) == [EVERYBODY, EVERYBODY]
    assert all_closed(browser) == before + 3, "each run has one of its own"


@pytest.mark.parametrize("agent", ORM)
def test_django_orm_connections_are_closed_after_a_disconnect(browser: Browser, agent: str) -> None:
    """What the request has begun outlives it, in a thread that is not the request's."""
    before = all_closed(browser)
    gate, thread = unique("gate"), unique("thread")
    with browser.start_run(agent, thread, forwardedProps={"gate": gate}) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    with browser.connect(agent, thread) as joined:
        joined.until("TEXT_MESSAGE_CONTENT")
        set_event(browser, gate)
        rest = joined.rest()
    assert types(rest) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert rest[0]["delta"] == EVERYBODY
    assert all_closed(browser) == before + 1, "the thread is the same one before and after"


@pytest.mark.parametrize("agent", ["orm-async", "orm-threaded"])
def test_django_orm_connections_are_closed_after_a_stop(browser: Browser, agent: str) -> None:
    thread = unique("thread")
    with browser.start_run(agent, thread, forwardedProps={"gate": unique("never")}) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert browser.stop(agent, thread)["stopped"] is True
        assert types(stream.rest()) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    all_closed(browser)


def test_django_orm_concurrent_runs_do_not_wait_for_each_other(browser: Browser) -> None:
    gate = unique("gate")
    threads = [unique("thread") for _ in range(4)]
    streams = [browser.start_run("orm-threaded", thread, forwardedProps={"gate": gate}) for thread in threads]
    for stream in streams:
        stream.until("TEXT_MESSAGE_CONTENT")
    set_event(browser, gate)
    for stream in streams:
        with stream:
            assert types(stream.rest())[-1] == "RUN_FINISHED"
    all_closed(browser)


@pytest.mark.parametrize("kind", HOOKS)
def test_django_orm_connections_of_hooks_and_agents_factory_are_closed(browser: Browser, kind: str) -> None:
    at = browser.at(f"/{kind}/copilotkit")
    before = all_closed(browser)
    for method, path, status in (("GET", "/info", 200), ("GET", "/nowhere", 404), ("DELETE", "/info", 405)):
        with at.open(method, path) as response:
            assert response.status == status
            assert (response.headers["x-request-users"], response.headers["x-response-users"]) == (EVERYBODY, EVERYBODY)
    assert at.text_chunks("orm-plain") == [EVERYBODY, EVERYBODY]
    assert all_closed(browser) > before


@pytest.mark.parametrize("kind", HOOKS)
def test_django_orm_connections_of_on_run_end_are_closed(browser: Browser, kind: str) -> None:
    """Long after the run's request, if its client has left."""
    gate, thread, run = unique("gate"), unique("thread"), unique("run")
    at = browser.at(f"/{kind}/copilotkit")
    with browser.start_run("play", unique("watch"), **steps(("wait", f"ended-{run}"), ("say", "told"))) as watcher:
        with at.start_run("play", thread, run, **steps(("say", "a"), ("wait", gate))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
        set_event(browser, gate)
        watcher.until("RUN_FINISHED")
    all_closed(browser)


@pytest.mark.parametrize("base", ["/plain/copilotkit", "/async/copilotkit", "/members/copilotkit"])
def test_django_orm_connections_are_not_held_by_an_open_stream(browser: Browser, base: str) -> None:
    """Or a chat that is open would cost the database a connection, however quiet it is."""
    at = browser.sign_in("alice").at(base)
    gate = unique("gate")
    with at.start_run("play", unique("thread"), **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        all_closed(browser)
        set_event(browser, gate)
        assert types(stream.rest())[-1] == "RUN_FINISHED"
