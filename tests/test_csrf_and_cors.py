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
def client(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(request.param) as client:
        yield client


def stop_request(client: SecurityClient, mount: str, *headers: tuple[str, str], body: bytes = b"{}") -> Response:
    """What any POST would do: harmless, quick, and 200 where it is let in."""
    return client.request("POST", f"/{mount}/agent/hello/stop/none", body, headers)


def is_refused(response: Response) -> bool:
    """Whether the rule has refused it; anything but that and an ordinary answer fails the test."""
    if response.status == 403:
        assert find_fault(response, 403) is None, find_fault(response, 403)
        problem = response.json()
        assert problem["error"] == "cross_site_request"
        assert "cors" in problem["message"].lower(), "the message names the setting"
        return True
    assert response.status == 200, response
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
    "text, then JSON": [("content-type", "text/plain, application/json")],
    "JSON, then text": [("content-type", "application/json, text/plain")],
    "no media type": [("content-type", "json")],
}

UNSIMPLE: dict[str, Pairs] = {
    "json": [("content-type", "application/json")],
    "json with a charset": [("content-type", "application/json; charset=utf-8")],
    "something of its own": [("content-type", "application/x-ours")],
}
"""For these a browser sends a preflight first, which is refused without CORS."""


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("site", SAME)
def test_csrf_same_origin_and_non_browser_requests_are_accepted(client: SecurityClient, site: str) -> None:
    for kind in (*SIMPLE.values(), *UNSIMPLE.values()):
        assert not is_refused(stop_request(client, "site-closed", *SAME[site], *kind)), kind


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("site", OTHER)
def test_csrf_simple_requests_of_other_sites_get_403(client: SecurityClient, site: str) -> None:
    for kind in SIMPLE.values():
        assert is_refused(stop_request(client, "site-closed", *OTHER[site], *kind)), kind
        assert is_refused(stop_request(client, "site-closed", *OTHER[site], *kind, COOKIE)), kind


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("kind", UNSIMPLE)
def test_csrf_requests_that_need_a_preflight_are_left_to_it(client: SecurityClient, kind: str) -> None:
    assert not is_refused(stop_request(client, "site-closed", CROSS, ("origin", EVIL), *UNSIMPLE[kind]))
    preflight = client.request(
        "OPTIONS", "/site-closed/agent/hello/run", headers=[("origin", EVIL), ("access-control-request-method", "POST")]
    )
    assert find_fault(preflight, 405) is None
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("mount", ["site-closed", "site-named"])
def test_csrf_does_not_apply_to_get_requests(client: SecurityClient, mount: str) -> None:
    """A browser does not show another site's page what a GET answered, so it is answered."""
    response = client.request("GET", f"/{mount}/info", headers=[CROSS, ("origin", EVIL), COOKIE])
    assert response.status == 200
    assert "access-control-allow-origin" not in response.headers


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
    # One by name: it alone is allowed.
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
            # It returns another origin than the request's.
            Case(mount, "https://other.example", False, True, A),
        )
    ],
    *[Case("site-nobody", origin, False, True, None) for origin in (A, EVIL, "null", None)],
]

CREDENTIALS = {"site-named", "site-nobody", "site-full"}


# How the rule decides is the core's; the other tests show that each adapter hands on what it goes by.
@pytest.mark.requirement("CORS-03")
@pytest.mark.parametrize("client", ["asgi", "wsgi"], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
def test_cors_decides_simple_requests_of_other_origins(client: SecurityClient, case: Case, site: str | None) -> None:
    # A browser that is too old for the one field sends the other.
    headers = [("sec-fetch-site", site or "cross-site")] if site or case.origin is None else []
    headers += [("origin", case.origin)] if case.origin else []
    headers += [COOKIE] if case.cookie else []
    for kind in ("text", "multipart", "no type"):
        response = stop_request(client, case.mount, *headers, *SIMPLE[kind])
        assert is_refused(response) is case.is_refused, kind
    # The page must be able to read the response, a refusal included.
    assert response.headers.get("access-control-allow-origin") == case.allowed
    with_credentials = case.allowed is not None and case.mount in CREDENTIALS
    assert response.headers.get("access-control-allow-credentials") == ("true" if with_credentials else None)
    vary = [word.strip().lower() for word in response.headers.get("vary", "").split(",")]
    assert ("origin" in vary) is (case.allowed != "*" and case.mount != "site-closed")


@pytest.mark.requirement("CSRF-02")
@pytest.mark.parametrize("mount", ["site-any", "site-star", "site-listed-star"])
def test_csrf_credentials_that_browsers_add_are_refused_where_any_origin_is_allowed(
    client: SecurityClient, mount: str
) -> None:
    for value in ("Basic dTpw", "basic dTpw", "Negotiate YII=", "NTLM TlRM", 'Digest username="u"'):
        for site in ([CROSS], [OUR_HOST, ("origin", EVIL)]):
            for kind in SIMPLE.values():
                assert is_refused(stop_request(client, mount, *site, *kind, ("authorization", value))), (value, kind)
            assert not is_refused(stop_request(client, mount, *site, *UNSIMPLE["json"], ("authorization", value)))
        assert not is_refused(stop_request(client, mount, *SAME["same origin"], PLAIN, ("authorization", value)))
    # What only a script sends, after a preflight.
    assert not is_refused(stop_request(client, mount, CROSS, ("origin", EVIL), PLAIN, ("authorization", "Bearer t")))


@pytest.mark.requirement("CORS-02")
def test_cors_expose_headers_are_on_every_response(client: SecurityClient) -> None:
    for kind in ([], [("content-type", "application/json")]):
        response = stop_request(client, "site-full", ("origin", A), *kind)
        assert response.headers["access-control-expose-headers"] == "x-c"
    response = stop_request(client, "site-full", ("origin", EVIL), CROSS)
    assert is_refused(response)
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.requirement("CORS-05")
def test_cors_vary_origin_is_sent_to_origins_that_are_not_allowed(client: SecurityClient) -> None:
    """Or a cache gives one origin's answer to another (docs/protocol.md, section 15, Q3)."""
    for mount in ("site-named", "site-one", "site-function", "site-nobody"):
        for origin in (A, EVIL, None):
            headers = [("origin", origin)] if origin else []
            for response in (
                client.request("GET", f"/{mount}/info", headers=headers),
                client.request("GET", f"/{mount}/nothing", headers=headers),
                client.request("OPTIONS", f"/{mount}/info", headers=headers),
            ):
                assert "Origin" in [word.strip() for word in response.headers["vary"].split(",")], (
                    mount,
                    origin,
                    response,
                )


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


def snapshot(client: SecurityClient) -> list[Any]:
    views = [client.request("GET", f"/site-closed/{view}").json() for view in VIEWS]
    return [*views, len(client.notes("transcribed"))]


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("path", [*POSTS, "", "/", "/nothing"])
@pytest.mark.parametrize(
    "site",
    [
        "cross-site",
        *(pytest.param(site, marks=pytest.mark.one_of_each_stack) for site in ("another origin", "an opaque origin")),
    ],
)
def test_csrf_forms_of_other_sites_reach_no_route(client: SecurityClient, path: str, site: str) -> None:
    run = unique("forged")
    input = json.dumps(hello_input("kept", run)).encode()
    envelope = json.dumps({"method": "resource/request", "params": {"path": "/threads/clear", "httpMethod": "POST"}})
    stopping = json.dumps({"method": "agent/stop", "params": {"agentId": "waits", "threadId": "kept"}})
    client.request("POST", "/site-closed/agent/hello/run", hello_input("kept"))
    with client.open("POST", "/site-closed/agent/waits/run", hello_input("busy", unique("mine"))) as own_run:
        started, *_ = own_run.take(3)
        before = snapshot(client)
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
            headers = [*OTHER[site], COOKIE] + ([("content-type", kind)] if kind is not None else [])
            for place in {path, path.replace("kept", "busy")}:
                response = client.request("POST", f"/site-closed{place}", body, headers)
                assert response.status == 403, (kind, response)
                assert is_refused(response)
        assert snapshot(client) == before
        client.set_event(started["runId"])
        assert [event["type"] for event in own_run.rest()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"], "it was stopped"


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("path", ["/agent/hello/stop/none", "/threads/clear"])
def test_csrf_the_refused_requests_work_from_the_same_origin(client: SecurityClient, path: str) -> None:
    """So that the refusals above are the rule's and nothing else's."""
    for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
        headers = [("content-type", kind)] if kind else []
        assert client.request("POST", f"/site-closed{path}", b"", headers).status in (200, 204)
    assert client.request("POST", "/site-closed/transcribe", AUDIO, [("content-type", BOUNDARY)]).status == 200


@pytest.mark.requirement("CSRF-01")
def test_csrf_check_comes_before_hooks_and_identify_user(client: SecurityClient) -> None:
    trace = unique("trace")
    response = client.request(
        "POST", "/hooks-plain/threads/clear", b"", [CROSS, ("origin", EVIL), ("x-trace", trace), ("x-user", "a")]
    )
    assert is_refused(response)
    called = [note["what"] for note in client.notes(trace)]
    assert "on_request" not in called
    assert "identify_user" not in called


@pytest.mark.requirement("CSRF-01")
def test_csrf_403_comes_before_401(client: SecurityClient) -> None:
    assert is_refused(client.request("POST", "/users/threads/clear", b"", [CROSS]))
    assert client.request("POST", "/users/threads/clear", b"").status == 401


@pytest.mark.requirement("CSRF-01")
def test_csrf_403_comes_before_413(client: SecurityClient) -> None:
    response = client.request("POST", "/small/agent/hello/run", b" " * 20_000, [CROSS, PLAIN])
    assert response.status in (403, 413)
    assert find_fault(response, 403, 413) is None


# --- preflights ----------------------------------------------------------------------

ASKS = [("access-control-request-method", "POST"), ("access-control-request-headers", "content-type,x-mine")]
DEFAULT_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"}


def words(response: Response, name: str) -> set[str]:
    return {word.strip() for word in response.headers.get(name, "").split(",")} - {""}


@pytest.mark.requirement("CORS-01")
@pytest.mark.parametrize("path", ["", "/info", "/agent/hello/run", "/nothing", "/%ff"])
@pytest.mark.parametrize("origin", [A, EVIL, "null", None])
def test_cors_preflight_with_credentials_names_methods_and_headers(
    client: SecurityClient, path: str, origin: str | None
) -> None:
    headers = [*ASKS, *([("origin", origin)] if origin else [])]
    response = client.request("OPTIONS", f"/site-named{path}", headers=headers)
    assert (response.status, response.body) == (204, b"")
    # "*" is a name like any other once credentials are sent (Fetch, 4.9).
    assert words(response, "access-control-allow-headers") == {"content-type", "x-mine"}
    assert words(response, "access-control-allow-methods") == DEFAULT_METHODS
    assert {"Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"} <= words(response, "vary")
    allowed = origin if origin == A else None
    assert response.headers.get("access-control-allow-origin") == allowed
    assert response.headers.get("access-control-allow-credentials") == ("true" if allowed else None)


@pytest.mark.requirement("CORS-01")
def test_cors_preflight_without_request_headers(client: SecurityClient) -> None:
    response = client.request("OPTIONS", "/site-named/info", headers=[("origin", A)])
    assert response.status == 204
    assert "*" not in response.headers.get("access-control-allow-headers", "")


@pytest.mark.requirement("CORS-01")
@pytest.mark.parametrize("mount", ["site-any", "site-star"])
@pytest.mark.parametrize("origin", [A, EVIL, None])
def test_cors_preflight_for_any_origin(client: SecurityClient, mount: str, origin: str | None) -> None:
    headers = [*ASKS, *([("origin", origin)] if origin else [])]
    response = client.request("OPTIONS", f"/{mount}/agent/hello/run", headers=headers)
    assert response.status == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    assert words(response, "vary") == {"Access-Control-Request-Headers", "Access-Control-Request-Method"}


@pytest.mark.requirement("CORS-01")
def test_cors_preflight_with_configured_methods_headers_and_max_age(client: SecurityClient) -> None:
    response = client.request("OPTIONS", "/site-full/info", headers=[("origin", A), *ASKS])
    assert response.headers["access-control-allow-methods"] == "GET"
    assert words(response, "access-control-allow-headers") == {"x-a", "x-b"}
    assert response.headers["access-control-max-age"] == "600"
    assert response.headers["access-control-allow-origin"] == A


@pytest.mark.requirement("CORS-01")
def test_cors_preflight_with_absurd_headers_is_harmless(client: SecurityClient) -> None:
    for wanted in ("\xff\xfe", "a" * 5000, "x-a, " * 500, ";", "x-a\tb"):
        headers = [("origin", A), ("access-control-request-headers", wanted)]
        assert client.request("OPTIONS", "/site-named/info", headers=headers).status == 204


# --- every kind of answer has them ---------------------------------------------------


@pytest.mark.requirement("CORS-02")
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
def test_cors_headers_are_on_every_response_errors_included(
    client: SecurityClient, method: str, path: str, body: Any, status: int
) -> None:
    response = client.request(method, f"/site-named{path}", body, [("origin", A), CROSS, COOKIE])
    assert response.status == status
    assert response.headers["access-control-allow-origin"] == A
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in words(response, "vary")
    other = client.request(method, f"/site-named{path}", body, [("origin", EVIL), CROSS, COOKIE])
    assert other.status == status
    assert "access-control-allow-origin" not in other.headers
