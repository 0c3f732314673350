"""Streams through a project's middleware, and runs that outlive their requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..http_client import types, unique
from ..test_streams import set_event, steps
from . import settings as ours
from .browser import Browser
from .conftest import site

PLAYERS = ["play", "play-sync"]
COMPRESSED = {"accept-encoding": "gzip, deflate, br"}
"""Makes Django's GZipMiddleware compress a response."""


@pytest.fixture(scope="module", params=["wsgi", "asgi", "before"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("agent", PLAYERS)
@pytest.mark.parametrize("base", ["/api/copilotkit", "/members/copilotkit", "/own/copilotkit"])
def test_django_each_event_is_sent_before_the_next_through_gzip_middleware(
    browser: Browser, agent: str, base: str
) -> None:
    """With Accept-Encoding, through middleware for sessions, ETags and compression."""
    at = browser.sign_in("alice").at(base)
    gates = [unique("gate") for _ in range(3)]
    script = steps(*(pair for gate in gates for pair in (("wait", gate), ("say", gate))))
    with at.start_run(agent, unique("thread"), headers=COMPRESSED, **script) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers.get("content-encoding", "identity") == "identity"
        assert "etag" not in stream.headers
        assert stream.event()["type"] == "RUN_STARTED"
        set_event(browser, gates[0])
        assert stream.event()["type"] == "TEXT_MESSAGE_START"
        assert stream.event()["delta"] == gates[0]
        for gate in gates[1:]:
            set_event(browser, gate)
            assert stream.event()["delta"] == gate


def test_django_gzip_middleware_compresses_other_responses(browser: Browser, stack: str) -> None:
    with browser.open("GET", "/info", headers=COMPRESSED) as response:
        assert response.headers.get("content-encoding") == (None if stack == "before" else "gzip")


@pytest.mark.parametrize("agent", PLAYERS)
@pytest.mark.parametrize("base", ["/members/copilotkit", "/own/copilotkit"])
def test_django_run_continues_after_a_disconnect(browser: Browser, agent: str, base: str) -> None:
    """Another joins it, and ends it."""
    at = browser.sign_in("alice").at(base)
    thread, run, gate = unique("thread"), unique("run"), unique("gate")
    script = steps(("say", "a"), ("wait", gate), ("say", "b"), ("wait", unique("never")))
    with at.start_run(agent, thread, run, **script) as stream:
        start = stream.until("TEXT_MESSAGE_CONTENT")
    with at.connect("whoami", thread) as joined:
        assert [joined.event() for _ in start] == start
        set_event(browser, gate)
        assert joined.event()["delta"] == "b"
        assert at.stop(agent, thread, run)["stopped"] is True
        assert types(joined.rest()) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert types([frame.event for frame in at.replay(agent, thread)])[-1] == "RUN_FINISHED"


# --- middleware that is only synchronous -----------------------------------------------


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Under ASGI, Django calls everything below such middleware in a thread."""
    middleware = {ours.FIRST_MIDDLEWARE: "tests.django.site.middleware.only_synchronous"}
    with site("asgi", tmp_path_factory.mktemp("site"), **middleware) as server:
        yield Browser(server)


@pytest.mark.parametrize("agent", [*PLAYERS])
def test_django_synchronous_middleware_under_asgi_streams(threaded: Browser, agent: str) -> None:
    gate = unique("gate")
    with threaded.start_run(
        agent, unique("thread"), headers=COMPRESSED, **steps(("say", "a"), ("wait", gate), ("say", "b"))
    ) as stream:
        assert stream.headers["x-passed"]
        stream.until("TEXT_MESSAGE_CONTENT")
        set_event(threaded, gate)
        assert types(stream.rest())[-1] == "RUN_FINISHED"


@pytest.mark.parametrize("agent", ["orm-plain", "orm-async", "orm-threaded"])
def test_django_synchronous_middleware_under_asgi_and_the_orm(threaded: Browser, agent: str) -> None:
    """The worker thread that the middleware waited on has ended when the agent runs its query."""
    gate = unique("gate")
    with threaded.start_run(agent, unique("thread"), forwardedProps={"gate": gate}) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        set_event(threaded, gate)
        assert types(stream.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
