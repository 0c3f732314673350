"""What is visible from outside, on every server that Flask applications are run on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from ..fixtures.flask_site import FRONTEND, LATER, MAX_BODY, PLAIN
from ..http_client import PATIENCE, fresh, run_input, types
from ..servers import RunningServer
from ..test_streams import opened, steps
from .servers import Site

PLAYERS = ["play", "play-sync"]


@pytest.mark.parametrize("agent", PLAYERS)
def test_events_leave_before_the_next_is_made(site: Site, agent: str) -> None:
    first, second = fresh("gate"), fresh("gate")
    told = steps(("wait", first), ("say", "a"), ("wait", second), ("say", "b"))
    with site.run(agent, fresh("thread"), **told) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.event()["type"] == "RUN_STARTED"
        opened(site, first)
        assert types([stream.event(), stream.event()]) == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"]
        opened(site, second)
        assert types(list(stream.events())) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.mark.parametrize("agent", PLAYERS)
def test_a_run_goes_on_in_its_context_when_its_reader_has_left(site: Site, agent: str) -> None:
    thread, run, gate = fresh("thread"), fresh("run"), fresh("gate")
    told = steps(("say", "a"), ("wait", gate), ("say", "b"))
    with site.run(agent, thread, run, **told) as stream:
        begun = stream.until("TEXT_MESSAGE_CONTENT")
    with site.connect(agent, thread) as joined:
        assert [joined.event() for _ in begun] == begun
        assert site.noted(f"torn-{run}", "read") == []
        opened(site, gate)
        assert types(list(joined.events())) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert site.noted(f"torn-{run}") == ["context"]
    assert site.noted(f"ended-{run}") == ["website"]


@pytest.mark.parametrize("agent", PLAYERS)
def test_a_stop_ends_a_run_that_nobody_reads_and_its_context(site: Site, agent: str) -> None:
    thread, run, gate = fresh("thread"), fresh("run"), fresh("gate")
    with site.run(agent, thread, run, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    assert site.stop(agent, thread, run)["stopped"] is True
    opened(site, gate)  # a thread that blocks can be told to end only once it goes on
    with site.connect(agent, thread) as joined:
        assert types(list(joined.events()))[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert site.noted(f"torn-{run}") == ["context"]


@pytest.mark.parametrize("path", [PLAIN, LATER])
@pytest.mark.parametrize("agent", PLAYERS)
def test_hooks_factory_and_users_see_the_request_and_agents_the_application(
    server: RunningServer, path: str, agent: str
) -> None:
    site = Site(server, path)
    mark, run, gate = fresh("mark"), fresh("run"), fresh("gate")
    told = steps(("say", "a"), ("wait", gate), ("say", "b"))
    with site.run_marked(mark, agent, fresh("thread"), run, **told) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert site.noted(f"torn-{mark}") == ["request", "context"]
        opened(site, gate)
        stream.until("RUN_FINISHED")
    visits = {"on_request": 1, "identify_user": 2, "on_before_handler": 2, "agents": 3, "on_response": 3}
    seen = {"app": "website", "method": "POST", "prefix": site.outer, "user": "ada"}
    assert site.noted(mark) == [{**seen, "what": what, "visits": count} for what, count in visits.items()]
    first, *others = site.noted(run)
    assert first == {"app": "website", "g": None}
    assert others == [{"app": "website", "g": run}] * 6


def test_what_hooks_put_into_the_session_is_sent(site: Site) -> None:
    mark = fresh("mark")
    with site.run_marked(mark, "play", fresh("thread"), fresh("run")) as stream:
        assert "session=" in stream.headers["set-cookie"]
        cookie = stream.headers["set-cookie"].partition(";")[0]
    with site.ask("GET", "/info", headers={"x-mark": mark, "cookie": cookie}):
        assert site.noted(mark)[5]["visits"] == 4


def test_whom_flask_login_does_not_know_is_refused(site: Site) -> None:
    with site.ask("GET", "/info", headers={"cookie": "session=forged"}) as answer:
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_what_is_over_flasks_limit_is_refused_as_the_core_does_it(site: Site, chunked: bool) -> None:
    data = json.dumps(run_input(fresh("thread"), fresh("run"), state="x" * MAX_BODY)).encode()

    def pieces() -> Iterator[bytes]:
        yield data[:MAX_BODY]
        yield data[MAX_BODY:]

    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    headers = {**site.headers, "content-type": "application/json", "origin": FRONTEND}
    target = f"{site.base}/agent/play/run"
    connection.request("POST", target, pieces() if chunked else data, headers, encode_chunked=chunked)
    answer = connection.getresponse()
    refused = json.loads(answer.read())
    connection.close()
    assert (answer.status, refused["error"]) == (413, "request_too_large")
    assert str(MAX_BODY) in refused["message"]
    assert answer.headers["access-control-allow-origin"] == FRONTEND


def test_a_chunked_body_within_the_limit_is_taken(site: Site) -> None:
    data = json.dumps(run_input(fresh("thread"), fresh("run"), **steps(("say", "x" * 10_000)))).encode()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    headers = {**site.headers, "content-type": "application/json", "transfer-encoding": "chunked"}
    connection.request("POST", f"{site.base}/agent/play/run", iter([data]), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"RUN_FINISHED" in answer.read()
    connection.close()
