"""`django_user`: Django's users as users of the runtime."""

from __future__ import annotations

import pytest

from ..http_client import unique
from ..test_streams import set_event, steps
from .browser import Browser

pytestmark = pytest.mark.requirement("DJANGO-05")


@pytest.fixture(scope="module", params=["wsgi", "asgi", "before"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("base", ["/members/copilotkit", "/own/copilotkit"])
def test_django_user_reaches_the_agent(browser: Browser, base: str) -> None:
    for name in ("alice", "bob"):
        assert Browser(browser.server, base).sign_in(name).text_chunks("whoami") == [name]


@pytest.mark.parametrize("base", ["/members/copilotkit", "/own/copilotkit"])
@pytest.mark.parametrize("cookie", [None, "sessionid=nobody's", "sessionid=", "other=1; sessionid"])
def test_django_user_anonymous_gets_401(browser: Browser, base: str, cookie: str | None) -> None:
    headers = {} if cookie is None else {"cookie": cookie}
    at = browser.at(base)
    with at.open("GET", "/info", headers=headers) as response:
        assert response.status == 401
        assert response.json()["error"] == "unauthorized"
    with at.start_run("whoami", unique("thread"), headers=headers) as response:
        assert response.status == 401


def test_django_user_sees_only_own_threads(browser: Browser) -> None:
    alice = Browser(browser.server, "/members/copilotkit").sign_in("alice")
    bob = Browser(browser.server, "/members/copilotkit").sign_in("bob")
    thread, gate = unique("thread"), unique("gate")
    with alice.start_run("play", thread, **steps(("say", "secret"), ("wait", gate))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert bob.stop("play", thread)["stopped"] is False
        assert bob.replay("play", thread) == []
        set_event(alice, gate)
        assert [event["type"] for event in stream.events()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert len(alice.replay("play", thread)) == 5
