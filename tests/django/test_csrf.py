"""Who may act with a visitor's cookies: the runtime's rule for other sites' pages, and Django's CSRF tokens."""

from __future__ import annotations

import pytest

from ..http_client import fresh, run_input
from .browser import Visitor

EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


def test_json_needs_no_token(visitor: Visitor) -> None:
    """A browser asks the server before it sends another site's JSON, and is told no."""
    assert visitor.sign_in("alice").at("/members/copilotkit").said("whoami") == ["alice"]
    with visitor.ask("OPTIONS", "/agent/whoami/run", headers=EVIL) as answer:
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("base", ["/members/copilotkit", "/own/copilotkit"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_another_sites_form_is_refused(visitor: Visitor, base: str, kind: str) -> None:
    alice = visitor.sign_in("alice").at(base)
    cookie = {"cookie": f"sessionid={alice.cookies['sessionid']}"}
    with alice.send("/threads/clear", b"{}", kind, {**cookie, **EVIL}) as answer:
        assert answer.status == 403
        assert answer.json()["error"] == "cross_site_request"


# --- csrf_protect=True ---------------------------------------------------------------


@pytest.fixture
def guarded(visitor: Visitor) -> Visitor:
    return visitor.sign_in("alice").at("/guarded/copilotkit")


def test_with_the_token(guarded: Visitor) -> None:
    token = {"x-csrftoken": guarded.token}
    with guarded.begin("whoami", fresh("thread"), token) as answer:
        assert answer.status == 200
        assert [event["delta"] for event in answer.events() if "delta" in event] == ["alice"]
    with guarded.ask("GET", "/info") as answer:
        assert answer.status == 200, "what changes nothing needs none"


def test_the_token_of_the_cookie(guarded: Visitor) -> None:
    """As a frontend has it, which reads the cookie."""
    with guarded.begin("whoami", fresh("thread"), {"x-csrftoken": guarded.cookies["csrftoken"]}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("token", [None, "x" * 64, ""])
def test_without_it(guarded: Visitor, token: str | None) -> None:
    headers = {} if token is None else {"x-csrftoken": token}
    for path, body in (("/agent/whoami/run", run_input(fresh("thread"), fresh("run"))), ("", {"method": "info"})):
        with guarded.ask("POST", path, body, headers) as answer:
            assert answer.status == 403
            assert answer.headers["content-type"].startswith("text/html"), "it is Django that says so"
