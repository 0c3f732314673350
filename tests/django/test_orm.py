"""Hooks and agents of every kind use the ORM, and none of their connections stays open."""

from __future__ import annotations

import time

import pytest

from ..http_client import PATIENCE, fresh, types
from ..test_streams import opened, steps
from .browser import Visitor
from .site.agents import ORM
from .site.hooks import HOOKS

EVERYBODY = "alice,bob"


@pytest.fixture(scope="module", params=["wsgi", "asgi", "before"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def all_closed(visitor: Visitor) -> int:
    """Waits until no connection is open; how many have been opened by then.

    A request's own may be closed after its answer is through.
    """
    deadline = time.monotonic() + PATIENCE
    while (counted := visitor.connections())["opened"] != counted["closed"]:
        assert time.monotonic() < deadline, f"connections stay open: {counted}"
    return counted["opened"]


@pytest.mark.parametrize("agent", ORM)
def test_an_agent_leaves_no_connection(visitor: Visitor, agent: str) -> None:
    before = all_closed(visitor)
    for _ in range(3):
        assert visitor.said(agent) == [EVERYBODY, EVERYBODY]
    assert all_closed(visitor) == before + 3, "each run has one of its own"


@pytest.mark.parametrize("agent", ORM)
def test_an_agent_whose_client_left_leaves_no_connection(visitor: Visitor, agent: str) -> None:
    """What the request has begun outlives it, in a thread that is not the request's."""
    before = all_closed(visitor)
    gate, thread = fresh("gate"), fresh("thread")
    with visitor.run(agent, thread, forwardedProps={"gate": gate}) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    with visitor.connect(agent, thread) as joined:
        joined.until("TEXT_MESSAGE_CONTENT")
        opened(visitor, gate)
        rest = list(joined.events())
    assert types(rest) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert rest[0]["delta"] == EVERYBODY
    assert all_closed(visitor) == before + 1, "the thread is the same one before and after"


@pytest.mark.parametrize("agent", ["orm-async", "orm-threaded"])
def test_an_agent_that_was_stopped_leaves_no_connection(visitor: Visitor, agent: str) -> None:
    thread = fresh("thread")
    with visitor.run(agent, thread, forwardedProps={"gate": fresh("never")}) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert visitor.stop(agent, thread)["stopped"] is True
        assert types(list(stream.events())) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    all_closed(visitor)


def test_runs_at_the_same_time_do_not_wait_for_each_others_database(visitor: Visitor) -> None:
    gate = fresh("gate")
    threads = [fresh("thread") for _ in range(4)]
    streams = [visitor.run("orm-threaded", thread, forwardedProps={"gate": gate}) for thread in threads]
    for stream in streams:
        stream.until("TEXT_MESSAGE_CONTENT")
    opened(visitor, gate)
    for stream in streams:
        with stream:
            assert types(list(stream.events()))[-1] == "RUN_FINISHED"
    all_closed(visitor)


@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_and_factories_use_the_orm_and_leave_no_connection(visitor: Visitor, kind: str) -> None:
    at = visitor.at(f"/{kind}/copilotkit")
    before = all_closed(visitor)
    for method, path, status in (("GET", "/info", 200), ("GET", "/nowhere", 404), ("DELETE", "/info", 405)):
        with at.ask(method, path) as answer:
            assert answer.status == status
            assert (answer.headers["x-asked"], answer.headers["x-answered"]) == (EVERYBODY, EVERYBODY)
    assert at.said("orm-plain") == [EVERYBODY, EVERYBODY]
    assert all_closed(visitor) > before


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_that_is_told_of_a_runs_end_leaves_no_connection(visitor: Visitor, kind: str) -> None:
    """Long after the run's request, if its client has left."""
    gate, thread, run = fresh("gate"), fresh("thread"), fresh("run")
    at = visitor.at(f"/{kind}/copilotkit")
    with visitor.run("play", fresh("watch"), **steps(("wait", f"told-{run}"), ("say", "told"))) as watching:
        with at.run("play", thread, run, **steps(("say", "a"), ("wait", gate))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
        opened(visitor, gate)
        watching.until("RUN_FINISHED")
    all_closed(visitor)


@pytest.mark.parametrize("base", ["/plain/copilotkit", "/async/copilotkit", "/members/copilotkit"])
def test_an_open_stream_holds_no_connection_of_its_request(visitor: Visitor, base: str) -> None:
    """Or a chat that is open would cost the database a connection, however quiet it is."""
    at = visitor.sign_in("alice").at(base)
    gate = fresh("gate")
    with at.run("play", fresh("thread"), **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        all_closed(visitor)
        opened(visitor, gate)
        assert types(list(stream.events()))[-1] == "RUN_FINISHED"
