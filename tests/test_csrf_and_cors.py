"""What a page of another site can do here: nothing, unless its origin is allowed by name.

The rule is in docs/architecture.md; what browsers send is the Fetch standard's
(https://fetch.spec.whatwg.org/) and Fetch Metadata's (https://www.w3.org/TR/fetch-metadata/).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from copilot_runtime._server.routes import ROUTES

from .http_client import Response, hello_input, unique
from .security_client import SecurityClient, find_fault, serve_security_apps
from .serve import ADAPTERS

A, B, EVIL = "https://a.example", "https://b.example", "https://evil.test"
OUR_HOST = ("host", "app.example")
COOKIE = ("cookie", "session=1")
PLAIN = ("content-type", "text/plain")
CROSS = ("sec-fetch-site", "cross-site")

Pairs = Sequence[tuple[str, str]]


@pytest.fixture(scope="module", params=ADAPTERS)
def server(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(request.param) as up:
        yield up


def stop(server: SecurityClient, mount: str, *headers: tuple[str, str], body: bytes = b"{}") -> Response:
    """What any POST would do: harmless, quick, and 200 where it is let in."""
    return server.request("POST", f"/{mount}/agent/hello/stop/none", body, headers)


def refused(answer: Response) -> bool:
    """Whether the rule has refused it; anything but that and an ordinary answer fails the test."""
    if answer.status == 403:
        assert find_fault(answer, 403) is None, find_fault(answer, 403)
        said = answer.json()
        assert said["error"] == "cross_site_request"
        assert "cors" in said["message"].lower(), "the message names the setting"
        return True
    assert answer.status == 200, answer
    return False


# --- without CORS: who is another site -----------------------------------------------

SAME: dict[str, Pairs] = {
    "no browser": [],
    "no browser, with a cookie": [COOKIE],
    "same origin": [("sec-fetch-site", "same-origin")],
    "same origin, cased": [("sec-fetch-site", "Same-Origin")],
    "typed by the user": [("sec-fetch-site", "none")],
    "same origin behind a proxy that hides the host": [("sec-fetch-site", "same-origin"), ("origin", A)],
    "origin is the host": [OUR_HOST, ("origin", "https://app.example")],
    "origin is the host, http": [OUR_HOST, ("origin", "http://app.example")],
    "host with another case": [("host", "App.Example"), ("origin", "https://app.example")],
    "host with the port": [("host", "app.example:8443"), ("origin", "https://app.example:8443")],
    "host with the usual port": [("host", "app.example:443"), ("origin", "https://app.example")],
    "host with the usual port, http": [("host", "app.example:80"), ("origin", "http://app.example")],
    "host is an address": [("host", "127.0.0.1:8000"), ("origin", "http://127.0.0.1:8000")],
    "host is an address of version 6": [("host", "[::1]:8000"), ("origin", "http://[::1]:8000")],
    "origin is the forwarded host": [OUR_HOST, ("x-forwarded-host", "a.example"), ("origin", A)],
    "origin is the first forwarded host": [OUR_HOST, ("x-forwarded-host", "a.example, inner"), ("origin", A)],
}

OTHER: dict[str, Pairs] = {
    "cross-site": [CROSS],
    "cross-site, cased": [("sec-fetch-site", "CROSS-SITE")],
    "same-site": [("sec-fetch-site", "same-site")],
    "a word that is yet to come": [("sec-fetch-site", "sibling")],
    "an empty word": [("sec-fetch-site", "")],
    "two words": [("sec-fetch-site", "same-origin"), CROSS],
    "cross-site, though the origin fits": [OUR_HOST, CROSS, ("origin", "https://app.example")],
    "another origin": [OUR_HOST, ("origin", EVIL)],
    "an opaque origin": [OUR_HOST, ("origin", "null")],
    "an opaque origin and such a host": [("host", "null"), ("origin", "null")],
    "no origin at all": [OUR_HOST, ("origin", "")],
    "a longer host": [OUR_HOST, ("origin", "https://app.example.evil.test")],
    "the host as a user's name": [OUR_HOST, ("origin", "https://app.example@evil.test")],
    "the host in a path": [OUR_HOST, ("origin", "https://evil.test/app.example")],
    "a subdomain": [OUR_HOST, ("origin", "https://evil.app.example")],
    "the host's parent": [OUR_HOST, ("origin", "https://example")],
    "another port": [OUR_HOST, ("origin", "https://app.example:8443")],
    "another port of the host": [("host", "app.example:8443"), ("origin", "https://app.example")],
    "the other usual port": [("host", "app.example:80"), ("origin", "https://app.example")],
    "broken": [OUR_HOST, ("origin", "https://[::1")],
    "a port beyond all": [OUR_HOST, ("origin", "https://app.example:99999999")],
    "neither is the forwarded host": [OUR_HOST, ("x-forwarded-host", "a.example"), ("origin", EVIL)],
    "a later forwarded host": [OUR_HOST, ("x-forwarded-host", "inner, evil.test"), ("origin", EVIL)],
}

SIMPLE: dict[str, Pairs] = {
    "no type": [],
    "empty type": [("content-type", "")],
    "text": [PLAIN],
    "text with a charset": [("content-type", "text/plain;charset=UTF-8")],
    "text, cased and spaced": [("content-type", " TEXT/Plain ; a=b")],
    "text that says JSON behind": [("content-type", "text/plain; application/json")],
    "form": [("content-type", "application/x-www-form-urlencoded")],
    "multipart": [("content-type", "multipart/form-data; boundary=b")],
}

UNSIMPLE: dict[str, Pairs] = {
    "json": [("content-type", "application/json")],
    "json with a charset": [("content-type", "application/json; charset=utf-8")],
    "something of its own": [("content-type", "application/x-ours")],
}
"""For these a browser asks first (a preflight), which without CORS is not answered well."""


@pytest.mark.parametrize("who", SAME)
def test_ones_own_pages_and_programs_are_let_in(server: SecurityClient, who: str) -> None:
    for kind in (*SIMPLE.values(), *UNSIMPLE.values()):
        assert not refused(stop(server, "site-closed", *SAME[who], *kind)), kind


@pytest.mark.parametrize("who", OTHER)
def test_other_sites_pages_are_not(server: SecurityClient, who: str) -> None:
    for kind in SIMPLE.values():
        assert refused(stop(server, "site-closed", *OTHER[who], *kind)), kind
        assert refused(stop(server, "site-closed", *OTHER[who], *kind, COOKIE)), kind


@pytest.mark.parametrize("kind", UNSIMPLE)
def test_what_needs_a_preflight_is_left_to_it(server: SecurityClient, kind: str) -> None:
    assert not refused(stop(server, "site-closed", CROSS, ("origin", EVIL), *UNSIMPLE[kind]))
    preflight = server.request(
        "OPTIONS", "/site-closed/agent/hello/run", headers=[("origin", EVIL), ("access-control-request-method", "POST")]
    )
    assert find_fault(preflight, 405) is None
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.parametrize("mount", ["site-closed", "site-named"])
def test_reading_is_left_to_cors(server: SecurityClient, mount: str) -> None:
    """A browser does not show another site's page what a GET answered, so it is answered."""
    answer = server.request("GET", f"/{mount}/info", headers=[CROSS, ("origin", EVIL), COOKIE])
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


# --- with CORS: who is allowed -------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """A page at ``origin`` that sends a simple request; None is a browser that sends no Origin."""

    mount: str
    origin: str | None
    cookie: bool
    is_refused: bool
    allowed: str | None
    """``Access-Control-Allow-Origin`` of the answer, be it the 403."""

    def __str__(self) -> str:
        return f"{self.mount} {self.origin}{' with cookie' if self.cookie else ''}"


CASES = [
    Case("site-closed", A, False, True, None),
    # Any origin: but none with a visitor's cookie.
    *[
        Case(mount, origin, cookie, cookie, "*")
        for mount in ("site-any", "site-star")
        for origin in (A, EVIL, "null", None)
        for cookie in (False, True)
    ],
    # One by name: it is told, and only it is let in.
    *[Case("site-one", A, cookie, False, A) for cookie in (False, True)],
    *[Case("site-one", origin, cookie, True, A) for origin in (B, EVIL, "null", None) for cookie in (False, True)],
    # Several by name.
    *[Case("site-named", origin, cookie, False, origin) for origin in (A, B) for cookie in (False, True)],
    *[
        Case("site-named", origin, cookie, True, None)
        for origin in (EVIL, "null", None, f"{A}.evil.test", f"{A}:8443", "http://a.example", A.upper(), f"{A}/")
        for cookie in (False, True)
    ],
    # By name and any: the name still counts for more.
    *[Case("site-listed-star", A, cookie, False, A) for cookie in (False, True)],
    Case("site-listed-star", EVIL, False, False, "*"),
    Case("site-listed-star", EVIL, True, True, "*"),
    # A function, which allows what it names.
    *[
        case
        for mount in ("site-function", "site-function-later")
        for case in (
            Case(mount, A, True, False, A),
            Case(mount, EVIL, False, True, None),
            Case(mount, None, False, True, None),
            # It names another than the one that asks.
            Case(mount, "https://other.example", False, True, A),
        )
    ],
    *[Case("site-nobody", origin, False, True, None) for origin in (A, EVIL, "null", None)],
]

CREDENTIALS = {"site-named", "site-nobody", "site-full"}


# How the rule decides is the core's; the other tests show that each adapter hands on what it goes by.
@pytest.mark.parametrize("server", ["asgi", "wsgi"], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
def test_simple_requests_of_other_origins(server: SecurityClient, case: Case, site: str | None) -> None:
    # A browser that is too old for the one field sends the other.
    headers = [("sec-fetch-site", site or "cross-site")] if site or case.origin is None else []
    headers += [("origin", case.origin)] if case.origin else []
    headers += [COOKIE] if case.cookie else []
    for kind in ("text", "multipart", "no type"):
        answer = stop(server, case.mount, *headers, *SIMPLE[kind])
        assert refused(answer) is case.is_refused, kind
    # The page must be able to read what it is told, the refusal included.
    assert answer.headers.get("access-control-allow-origin") == case.allowed
    with_credentials = case.allowed is not None and case.mount in CREDENTIALS
    assert answer.headers.get("access-control-allow-credentials") == ("true" if with_credentials else None)
    vary = [word.strip().lower() for word in answer.headers.get("vary", "").split(",")]
    assert ("origin" in vary) is (case.allowed != "*" and case.mount != "site-closed")


def test_expose_headers_are_on_every_answer(server: SecurityClient) -> None:
    for kind in ([], [("content-type", "application/json")]):
        answer = stop(server, "site-full", ("origin", A), *kind)
        assert answer.headers["access-control-expose-headers"] == "x-c"
    answer = stop(server, "site-full", ("origin", EVIL), CROSS)
    assert refused(answer)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_one_by_name_is_told_vary_even_where_it_is_not_the_one(server: SecurityClient) -> None:
    """Or a cache gives one origin's answer to another (docs/protocol.md, section 15, Q3)."""
    for mount in ("site-named", "site-one", "site-function", "site-nobody"):
        for origin in (A, EVIL, None):
            headers = [("origin", origin)] if origin else []
            for answer in (
                server.request("GET", f"/{mount}/info", headers=headers),
                server.request("GET", f"/{mount}/nothing", headers=headers),
                server.request("OPTIONS", f"/{mount}/info", headers=headers),
            ):
                assert "Origin" in [word.strip() for word in answer.headers["vary"].split(",")], (mount, origin, answer)


# --- forms at every route ------------------------------------------------------------

BOUNDARY = "multipart/form-data; boundary=b"
AUDIO = (
    b'--b\r\ncontent-disposition: form-data; name="audio"; filename="a.webm"\r\n'
    b"content-type: audio/webm\r\n\r\nabc\r\n--b--\r\n"
)
ENVELOPE_TYPE = "text/plain; application/json"
"""What an HTML form cannot send, but ``fetch`` can without a preflight; it contains the type that envelopes want."""

IDS = {"{agent_id}": "waits", "{thread_id}": "kept", "{memory_id}": "m"}


def target(pattern: str) -> str:
    for name, value in IDS.items():
        pattern = pattern.replace(name, value)
    return pattern


POSTS = [target(route.pattern) for route in ROUTES.routes if "POST" in route.methods]
VIEWS = ("threads", "threads/kept/messages", "threads/kept/events", "threads/kept/state")


def everything(server: SecurityClient) -> list[Any]:
    shown = [server.request("GET", f"/site-closed/{view}").json() for view in VIEWS]
    return [*shown, len(server.notes("transcribed"))]


@pytest.mark.parametrize("path", [*POSTS, "", "/", "/nothing"])
@pytest.mark.parametrize("who", ["cross-site", "another origin", "an opaque origin"])
def test_a_form_of_another_site_reaches_no_route(server: SecurityClient, path: str, who: str) -> None:
    run = unique("forged")
    input = json.dumps(hello_input("kept", run)).encode()
    envelope = json.dumps({"method": "resource/request", "params": {"path": "/threads/clear", "httpMethod": "POST"}})
    stopping = json.dumps({"method": "agent/stop", "params": {"agentId": "waits", "threadId": "kept"}})
    server.request("POST", "/site-closed/agent/hello/run", hello_input("kept"))
    with server.open("POST", "/site-closed/agent/waits/run", hello_input("busy", unique("mine"))) as mine:
        started, *_ = mine.take(3)
        before = everything(server)
        for kind, body in (
            (None, b""),
            (None, b"{}"),
            (None, input),
            ("text/plain", input),
            ("text/plain", b""),
            ("application/x-www-form-urlencoded", b"a=" + input),
            (BOUNDARY, AUDIO),
            (ENVELOPE_TYPE, envelope.encode()),
            (ENVELOPE_TYPE, stopping.encode()),
        ):
            headers = [*OTHER[who], COOKIE] + ([("content-type", kind)] if kind is not None else [])
            for place in {path, path.replace("kept", "busy")}:
                answer = server.request("POST", f"/site-closed{place}", body, headers)
                assert answer.status == 403, (kind, answer)
                assert refused(answer)
        assert everything(server) == before
        server.set_event(started["runId"])
        assert [event["type"] for event in mine.rest()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"], "it was stopped"


@pytest.mark.parametrize("path", ["/agent/hello/stop/none", "/threads/clear"])
def test_what_is_refused_would_work_from_here(server: SecurityClient, path: str) -> None:
    """So that the refusals above are the rule's and nothing else's."""
    for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
        headers = [("content-type", kind)] if kind else []
        assert server.request("POST", f"/site-closed{path}", b"", headers).status in (200, 204)
    assert server.request("POST", "/site-closed/transcribe", AUDIO, [("content-type", BOUNDARY)]).status == 200


def test_the_rule_comes_before_hooks_and_users(server: SecurityClient) -> None:
    trace = unique("trace")
    answer = server.request(
        "POST", "/hooks-plain/threads/clear", b"", [CROSS, ("origin", EVIL), ("x-trace", trace), ("x-user", "a")]
    )
    assert refused(answer)
    called = [note["what"] for note in server.notes(trace)]
    assert "on_request" not in called
    assert "identify_user" not in called


def test_it_comes_before_an_unknown_user_is_told_so(server: SecurityClient) -> None:
    assert refused(server.request("POST", "/users/threads/clear", b"", [CROSS]))
    assert server.request("POST", "/users/threads/clear", b"").status == 401


def test_a_large_body_from_another_site_is_refused_all_the_same(server: SecurityClient) -> None:
    answer = server.request("POST", "/small/agent/hello/run", b" " * 20_000, [CROSS, PLAIN])
    assert answer.status in (403, 413)
    assert find_fault(answer, 403, 413) is None


# --- preflights ----------------------------------------------------------------------

ASKS = [("access-control-request-method", "POST"), ("access-control-request-headers", "content-type,x-mine")]
DEFAULT_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"}


def words(answer: Response, name: str) -> set[str]:
    return {word.strip() for word in answer.headers.get(name, "").split(",")} - {""}


@pytest.mark.parametrize("path", ["", "/info", "/agent/hello/run", "/nothing", "/%ff"])
@pytest.mark.parametrize("origin", [A, EVIL, "null", None])
def test_preflight_with_credentials(server: SecurityClient, path: str, origin: str | None) -> None:
    headers = [*ASKS, *([("origin", origin)] if origin else [])]
    answer = server.request("OPTIONS", f"/site-named{path}", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    # "*" is a name like any other once credentials are sent (Fetch, 4.9).
    assert words(answer, "access-control-allow-headers") == {"content-type", "x-mine"}
    assert words(answer, "access-control-allow-methods") == DEFAULT_METHODS
    assert {"Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"} <= words(answer, "vary")
    allowed = origin if origin == A else None
    assert answer.headers.get("access-control-allow-origin") == allowed
    assert answer.headers.get("access-control-allow-credentials") == ("true" if allowed else None)


def test_preflight_with_credentials_that_asks_for_nothing(server: SecurityClient) -> None:
    answer = server.request("OPTIONS", "/site-named/info", headers=[("origin", A)])
    assert answer.status == 204
    assert "*" not in answer.headers.get("access-control-allow-headers", "")


@pytest.mark.parametrize("mount", ["site-any", "site-star"])
@pytest.mark.parametrize("origin", [A, EVIL, None])
def test_preflight_for_any_origin(server: SecurityClient, mount: str, origin: str | None) -> None:
    headers = [*ASKS, *([("origin", origin)] if origin else [])]
    answer = server.request("OPTIONS", f"/{mount}/agent/hello/run", headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert words(answer, "vary") == {"Access-Control-Request-Headers", "Access-Control-Request-Method"}


def test_preflight_of_what_is_configured(server: SecurityClient) -> None:
    answer = server.request("OPTIONS", "/site-full/info", headers=[("origin", A), *ASKS])
    assert answer.headers["access-control-allow-methods"] == "GET"
    assert words(answer, "access-control-allow-headers") == {"x-a", "x-b"}
    assert answer.headers["access-control-max-age"] == "600"
    assert answer.headers["access-control-allow-origin"] == A


def test_an_absurd_preflight(server: SecurityClient) -> None:
    for wanted in ("\xff\xfe", "a" * 5000, "x-a, " * 500, ";", "x-a\tb"):
        headers = [("origin", A), ("access-control-request-headers", wanted)]
        assert server.request("OPTIONS", "/site-named/info", headers=headers).status == 204


# --- every kind of answer has them ---------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/info", None, 200),
        ("GET", "/nothing", None, 404),
        ("GET", "/agent/hello/run", None, 405),
        ("POST", "/agent/nobody/run", {}, 404),
        ("POST", "/agent/hello/run", {}, 400),
        ("POST", "/threads/clear", {}, 204),
        ("POST", "/threads/subscribe", {}, 422),
        ("POST", "/agent/hello/run", hello_input("site"), 200),
        ("POST", "", {"method": "nothing"}, 400),
        ("POST", "/transcribe", {"audio": 3}, 400),
    ],
)
def test_every_answer_can_be_read_by_who_is_allowed(
    server: SecurityClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = server.request(method, f"/site-named{path}", body, [("origin", A), CROSS, COOKIE])
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == A
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in words(answer, "vary")
    other = server.request(method, f"/site-named{path}", body, [("origin", EVIL), CROSS, COOKIE])
    assert other.status == status
    assert "access-control-allow-origin" not in other.headers
