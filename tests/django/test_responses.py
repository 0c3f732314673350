"""What Django makes of a runtime's answers, and of requests for its paths."""

from __future__ import annotations

import pytest

from ..http_client import run_input, unique
from .browser import Browser
from .site.hooks import REFUSALS

PATHS = ("", "/", "/info", "/info/", "//info", "/nowhere", "/nowhere/", "/a%20b/%2F/%C3%BC/", "/agent/play/run/")


@pytest.mark.parametrize("base", ["/api/copilotkit", "/own/copilotkit", "/named/copilotkit", "/api/copilotkit/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_no_answer_is_a_redirect(browser: Browser, base: str, method: str) -> None:
    """Not of APPEND_SLASH either: a redirected POST has lost its body."""
    for path in PATHS:
        with browser.at(base).open(method, path, {"method": "info"} if method == "POST" else None) as answer:
            assert answer.status not in range(300, 400), (path, answer.headers["location"])
            assert answer.status < 500, (path, answer.read())


@pytest.mark.parametrize("base", ["/api/copilotkit", "/api/copilotkit/", "/named/copilotkit", "/named/copilotkit/"])
def test_both_transports_with_and_without_a_slash(browser: Browser, base: str) -> None:
    at = browser.at(base)
    with at.open("POST", "", {"method": "info"}) as answer:
        assert "whoami" in answer.json()["agents"]
    for path in ("/info", "/info/"):
        with at.open("GET", path) as answer:
            assert "whoami" in answer.json()["agents"]
    members = run_input(unique("thread"))
    envelope = {"method": "agent/run", "params": {"agentId": "whoami"}, "body": members}
    with at.open("POST", "", envelope) as stream:
        assert stream.until("RUN_FINISHED")


def test_djangos_own_paths_are_redirected_as_ever(browser: Browser) -> None:
    with browser.at("").open("GET", "/slashed") as answer:
        assert (answer.status, answer.headers["location"]) == (301, "/slashed/")


@pytest.mark.parametrize("path", ["/api/copilotkitx", "/api/copilotkitx/info", "/api", "/api/"])
def test_paths_beside_the_mount_are_not_the_runtimes(browser: Browser, path: str) -> None:
    with browser.at("").open("GET", path) as answer:
        assert answer.status == 404
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/info", "/nowhere"])
def test_head_has_no_content(browser: Browser, path: str) -> None:
    with browser.open("HEAD", path) as answer:
        assert answer.status in (404, 405)
        assert answer.read() == b""


def test_cookies_of_hooks_stand_each_for_itself(browser: Browser) -> None:
    at = browser.at("/plain/copilotkit")
    with at.open("GET", "/info") as answer, at.start_run("play", unique("thread")) as stream:
        for response in (answer, stream):
            cookies = response.headers.get_all("set-cookie") or []
            assert sorted(cookie.split(";")[0] for cookie in cookies) == ["a=1", "b=2"]
            (strict,) = [cookie.lower() for cookie in cookies if cookie.startswith("b=")]
            assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in strict.split(";")[1:]}


def test_etags(browser: Browser) -> None:
    """ConditionalGetMiddleware gives them to JSON and honours them."""
    with browser.open("GET", "/info") as answer:
        etag = answer.headers["etag"]
        assert answer.status == 200
    with browser.open("GET", "/info", headers={"if-none-match": etag}) as answer:
        assert answer.status == 304


def test_every_run_is_in_no_transaction(browser: Browser) -> None:
    """ATOMIC_REQUESTS is on: an async view would refuse to work, and a plain one would hold its transaction."""
    assert browser.text_chunks("orm-plain") == ["alice,bob", "alice,bob"]
    with browser.at("/own/copilotkit").open("GET", "/info") as answer:
        assert answer.status == 401


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_a_hook_raises_is_answered_as_in_any_view(browser: Browser, refusal: str) -> None:
    with browser.at("/refusing/copilotkit").open("GET", "/info", headers={"x-refuse": refusal}) as answer:
        assert answer.status == int(refusal)
        is_ours = refusal == "500"
        assert answer.headers["content-type"].startswith("application/json" if is_ours else "text/html")
        assert b"secret" not in answer.read()
