"""Protection against CSRF: the runtime's rule for pages of other sites, and Django's CSRF tokens."""

from __future__ import annotations

import pytest

from ..http_client import run_input, unique
from .browser import Browser

pytestmark = pytest.mark.requirement("DJANGO-02")

EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


def test_django_csrf_token_is_not_required_for_json(browser: Browser) -> None:
    """A browser sends a preflight before another site's JSON, and it is refused."""
    assert browser.sign_in("alice").at("/members/copilotkit").text_chunks("whoami") == ["alice"]
    with browser.open("OPTIONS", "/agent/whoami/run", headers=EVIL) as response:
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("base", ["/members/copilotkit", "/own/copilotkit"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_django_csrf_forms_of_other_sites_get_403(browser: Browser, base: str, kind: str) -> None:
    alice = browser.sign_in("alice").at(base)
    cookie = {"cookie": f"sessionid={alice.cookies['sessionid']}"}
    with alice.open("POST", "/threads/clear", b"{}", {"content-type": kind, **cookie, **EVIL}) as response:
        assert response.status == 403
        assert response.json()["error"] == "cross_site_request"


# --- csrf_protect=True ---------------------------------------------------------------


@pytest.fixture
def guarded(browser: Browser) -> Browser:
    return browser.sign_in("alice").at("/guarded/copilotkit")


def test_csrf_protect_accepts_the_token(guarded: Browser) -> None:
    token = {"x-csrftoken": guarded.token}
    with guarded.start_run("whoami", unique("thread"), headers=token) as response:
        assert response.status == 200
        assert [event["delta"] for event in response.events() if "delta" in event] == ["alice"]
    with guarded.open("GET", "/info") as response:
        assert response.status == 200, "what changes nothing needs none"


def test_csrf_protect_accepts_the_token_of_the_cookie(guarded: Browser) -> None:
    """As a frontend has it, which reads the cookie."""
    with guarded.start_run(
        "whoami", unique("thread"), headers={"x-csrftoken": guarded.cookies["csrftoken"]}
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize("token", [None, "x" * 64, ""])
def test_csrf_protect_refuses_requests_without_the_token(guarded: Browser, token: str | None) -> None:
    headers = {} if token is None else {"x-csrftoken": token}
    for path, body in (("/agent/whoami/run", run_input(unique("thread"))), ("", {"method": "info"})):
        with guarded.open("POST", path, body, headers) as response:
            assert response.status == 403
            assert response.headers["content-type"].startswith("text/html"), "it is Django that says so"
