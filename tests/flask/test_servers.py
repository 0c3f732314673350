"""What clients see, on every server that is common for Flask."""

from __future__ import annotations

import json

import pytest

from ..fixtures.flask_site import FRONTEND, LATER, MAX_BODY, PLAIN
from ..http_client import run_input, types, unique
from ..servers import RunningServer
from ..test_streams import set_event, steps
from .servers import Site

PLAYERS = ["play", "play-sync"]
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("agent", PLAYERS)
def test_flask_each_event_is_sent_before_the_next(site: Site, agent: str) -> None:
    first, second = unique("gate"), unique("gate")
    script = steps(("wait", first), ("say", "a"), ("wait", second), ("say", "b"))
    with site.start_run(agent, unique("thread"), **script) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.event()["type"] == "RUN_STARTED"
        set_event(site, first)
        assert types([stream.event(), stream.event()]) == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"]
        set_event(site, second)
        assert types(stream.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.mark.parametrize("agent", PLAYERS)
def test_flask_run_continues_in_its_context_after_a_disconnect(site: Site, agent: str) -> None:
    thread, run, gate = unique("thread"), unique("run"), unique("gate")
    script = steps(("say", "a"), ("wait", gate), ("say", "b"))
    with site.start_run(agent, thread, run, **script) as stream:
        start = stream.until("TEXT_MESSAGE_CONTENT")
    with site.connect(agent, thread) as joined:
        assert [joined.event() for _ in start] == start
        assert site.notes(f"torn-{run}", "read") == []
        set_event(site, gate)
        assert types(joined.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert site.notes(f"torn-{run}") == ["context"]
    assert site.notes(f"ended-{run}") == ["website"]


@pytest.mark.parametrize("agent", PLAYERS)
def test_flask_stop_ends_a_run_without_readers_and_its_context(site: Site, agent: str) -> None:
    thread, run, gate = unique("thread"), unique("run"), unique("gate")
    with site.start_run(agent, thread, run, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    assert site.stop(agent, thread, run)["stopped"] is True
    set_event(site, gate)  # a blocked thread can end only after it continues
    with site.connect(agent, thread) as joined:
        assert types(joined.rest())[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert site.notes(f"torn-{run}") == ["context"]


@pytest.mark.parametrize("path", [PLAIN, LATER])
@pytest.mark.parametrize("agent", PLAYERS)
def test_flask_request_is_seen_by_hooks_and_agents_see_the_application(
    server: RunningServer, path: str, agent: str
) -> None:
    site = Site(server, path)
    mark, run, gate = unique("mark"), unique("run"), unique("gate")
    script = steps(("say", "a"), ("wait", gate), ("say", "b"))
    with site.start_run(agent, unique("thread"), run, headers={"x-mark": mark}, **script) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert site.notes(f"torn-{mark}") == ["request", "context"]
        set_event(site, gate)
        stream.until("RUN_FINISHED")
    visits = {"on_request": 1, "identify_user": 2, "on_before_handler": 2, "agents": 3, "on_response": 3}
    seen = {"app": "website", "method": "POST", "prefix": site.outer, "user": "ada"}
    assert site.notes(mark) == [{**seen, "what": what, "visits": count} for what, count in visits.items()]
    first, *others = site.notes(run)
    assert first == {"app": "website", "g": None}
    assert others == [{"app": "website", "g": run}] * 6


def test_flask_session_set_by_hooks_is_sent(site: Site) -> None:
    mark = unique("mark")
    with site.start_run("play", unique("thread"), unique("run"), headers={"x-mark": mark}) as stream:
        assert "session=" in stream.headers["set-cookie"]
        cookie = stream.headers["set-cookie"].partition(";")[0]
    with site.open("GET", "/info", headers={"x-mark": mark, "cookie": cookie}):
        assert site.notes(mark)[5]["visits"] == 4


def test_flask_login_unknown_user_gets_401(site: Site) -> None:
    with site.open("GET", "/info", headers={"cookie": "session=forged"}) as response:
        assert (response.status, response.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_flask_max_content_length_413_is_the_cores(site: Site, chunked: bool) -> None:
    data = json.dumps(run_input(unique("thread"), state="x" * MAX_BODY)).encode()
    body = iter([data[:MAX_BODY], data[MAX_BODY:]]) if chunked else data
    response = site.request("POST", "/agent/play/run", body, {**JSON, "origin": FRONTEND})
    assert (response.status, response.json()["error"]) == (413, "request_too_large")
    assert str(MAX_BODY) in response.json()["message"]
    assert response.headers["access-control-allow-origin"] == FRONTEND


def test_flask_chunked_body_is_accepted(site: Site) -> None:
    data = json.dumps(run_input(unique("thread"), **steps(("say", "x" * 10_000)))).encode()
    response = site.request("POST", "/agent/play/run", iter([data]), JSON)
    assert response.status == 200
    assert types(response.events())[-1] == "RUN_FINISHED"
