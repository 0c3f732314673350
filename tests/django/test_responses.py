"""The runtime's responses after Django's middleware, and URL resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.test import Client, override_settings

from ..fixtures.configs import MOUNT
from ..http_client import run_input, unique
from .browser import Browser
from .site.hooks import REFUSALS

PATHS = ("", "/", "/info", "/info/", "//info", "/nowhere", "/nowhere/", "/a%20b/%2F/%C3%BC/", "/agent/play/run/")


@pytest.mark.requirement("DJANGO-01")
@pytest.mark.parametrize("base", ["/api/copilotkit", "/own/copilotkit", "/named/copilotkit", "/api/copilotkit/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_django_append_slash_does_not_redirect_the_runtime(browser: Browser, base: str, method: str) -> None:
    """Not of APPEND_SLASH either: a redirected POST has lost its body."""
    for path in PATHS:
        with browser.at(base).open(method, path, {"method": "info"} if method == "POST" else None) as response:
            assert response.status not in range(300, 400), (path, response.headers["location"])
            assert response.status < 500, (path, response.read())


@pytest.mark.parametrize("base", ["/api/copilotkit", "/api/copilotkit/", "/named/copilotkit", "/named/copilotkit/"])
def test_django_rest_and_single_route_with_and_without_a_slash(browser: Browser, base: str) -> None:
    at = browser.at(base)
    with at.open("POST", "", {"method": "info"}) as response:
        assert "whoami" in response.json()["agents"]
    for path in ("/info", "/info/"):
        with at.open("GET", path) as response:
            assert "whoami" in response.json()["agents"]
    members = run_input(unique("thread"))
    envelope = {"method": "agent/run", "params": {"agentId": "whoami"}, "body": members}
    with at.open("POST", "", envelope) as stream:
        assert stream.until("RUN_FINISHED")


@pytest.mark.requirement("DJANGO-01")
def test_django_append_slash_still_redirects_other_paths(browser: Browser) -> None:
    with browser.at("").open("GET", "/slashed") as response:
        assert (response.status, response.headers["location"]) == (301, "/slashed/")


@pytest.mark.parametrize("path", ["/api/copilotkitx", "/api/copilotkitx/info", "/api", "/api/"])
def test_django_paths_beside_the_mount_are_a_404(browser: Browser, path: str) -> None:
    with browser.at("").open("GET", path) as response:
        assert response.status == 404
        assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/info", "/nowhere"])
def test_django_head_has_no_content(browser: Browser, path: str) -> None:
    with browser.open("HEAD", path) as response:
        assert response.status in (404, 405)
        assert response.read() == b""


def test_django_set_cookie_of_hooks_is_repeated(browser: Browser) -> None:
    at = browser.at("/plain/copilotkit")
    with at.open("GET", "/info") as info, at.start_run("play", unique("thread")) as stream:
        for response in (info, stream):
            cookies = response.headers.get_all("set-cookie") or []
            assert sorted(cookie.split(";")[0] for cookie in cookies) == ["a=1", "b=2"]
            (strict,) = [cookie.lower() for cookie in cookies if cookie.startswith("b=")]
            assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in strict.split(";")[1:]}


def test_django_conditional_get_etag(browser: Browser) -> None:
    """ConditionalGetMiddleware adds them to JSON and honours them."""
    with browser.open("GET", "/info") as response:
        etag = response.headers["etag"]
        assert response.status == 200
    with browser.open("GET", "/info", headers={"if-none-match": etag}) as response:
        assert response.status == 304


def test_django_atomic_requests_does_not_apply_to_the_runtime(browser: Browser) -> None:
    """ATOMIC_REQUESTS is on: an async view would refuse to work, and a plain one would hold its transaction."""
    assert browser.text_chunks("orm-plain") == ["alice,bob", "alice,bob"]
    with browser.at("/own/copilotkit").open("GET", "/info") as response:
        assert response.status == 401


@pytest.mark.parametrize("refusal", REFUSALS)
def test_django_exceptions_of_hooks_are_answered_as_in_any_view(browser: Browser, refusal: str) -> None:
    with browser.at("/refusing/copilotkit").open("GET", "/info", headers={"x-refuse": refusal}) as response:
        assert response.status == int(refusal)
        is_ours = refusal == "500"
        assert response.headers["content-type"].startswith("application/json" if is_ours else "text/html")
        assert b"secret" not in response.read()


@override_settings(
    MIDDLEWARE=["django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware"]
)
def test_django_cache_for_the_whole_site_stores_responses() -> None:
    """It pickles them, which what sends a large one in chunks does not survive."""
    first, second = (Client().get(f"{MOUNT}/info") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert "Age" in second.headers, "not from the cache"
    assert second.content == first.content
    assert "Age" not in [Client().get(f"{MOUNT}/threads") for _ in range(2)][1].headers


def appends_a_comment(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Middleware that wraps the content of streams as Django's documentation shows."""

    def wrap(chunks: Iterable[bytes]) -> Iterator[bytes]:
        yield from chunks
        yield b": appended\n\n"

    def middleware(request: Any) -> Any:
        response = get_response(request)
        if response.streaming:
            response.streaming_content = wrap(response.streaming_content)
        return response

    return middleware


@override_settings(MIDDLEWARE=[f"{__name__}.appends_a_comment"])
def test_django_middleware_may_wrap_the_content_of_a_run_that_is_over_at_once() -> None:
    """Whose length is known: servers would cut the content off there."""
    response: Any = Client().post(f"{MOUNT}/agent/whoami/run", run_input(unique("thread")), "application/json")
    assert response.status_code == 200
    body = b"".join(response.streaming_content)
    assert b"RUN_FINISHED" in body
    assert body.endswith(b": appended\n\n")
    assert "content-length" not in response.headers
