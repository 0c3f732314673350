"""Headers, their forwarding, and what CORS makes of an origin: pure functions over value objects."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime import (
    CorsConfig,
    EventStream,
    ForwardHeaders,
    Headers,
    Request,
    Response,
)
from copilot_runtime._http.cors import (
    CorsDecision,
    add_cors_headers,
    evaluate_origin,
    preflight,
    reject_cross_site,
)
from copilot_runtime._http.forward_headers import header_selector, merge_headers

NAMES = st.sampled_from(("X-One", "x-one", "X-ONE", "Accept", "accept", "Cookie", "cookie", "x-two"))
VALUES = st.text(alphabet="abc, ;", max_size=5)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


# --- headers ---


@given(PAIRS)
def test_headers_keep_case_and_order(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    assert list(headers.multi_items()) == pairs
    assert Headers(headers.multi_items()) == headers
    names = {name.lower() for name, _ in pairs}
    assert set(headers) == set(headers.keys()) == names
    assert len(headers) == len(names)
    for name in names:
        separator = "; " if name == "cookie" else ", "
        joined = separator.join(value for given_name, value in pairs if given_name.lower() == name)
        for spelling in (name, name.upper(), name.title()):
            assert headers[spelling] == headers.get(spelling) == joined
            assert spelling in headers
    assert headers.get("x-none") is None
    assert headers.get("x-none", "default") == "default"
    assert "x-none" not in headers
    assert 7 not in headers
    with pytest.raises(KeyError):
        headers["x-none"]


@given(PAIRS, NAMES, VALUES)
def test_headers_set_add_and_remove_return_copies(pairs: list[tuple[str, str]], name: str, value: str) -> None:
    headers = Headers(pairs)
    others = [pair for pair in pairs if pair[0].lower() != name.lower()]
    assert list(headers.remove(name).multi_items()) == others
    assert list(headers.set(name, value).multi_items()) == [*others, (name, value)]
    assert list(headers.add((name, value)).multi_items()) == [*pairs, (name, value)]
    assert list(headers.multi_items()) == pairs


@given(PAIRS, PAIRS)
def test_headers_are_equal_without_case(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    first, second = Headers(one), Headers(other)
    assert (first == second) == (dict(first) == dict(second))
    if first == second:
        assert hash(first) == hash(second)
    assert first == dict(first)
    assert first != list(first.items())


def test_headers_from_a_mapping_or_an_iterator() -> None:
    assert Headers({"A": "1"}) == Headers(iter([("a", "1")])) == Headers([("A", "1")])


def test_headers_are_a_mapping() -> None:
    headers = Headers([("Accept", "a"), ("X-One", "1"), ("accept", "b")])
    assert dict(headers) == {"accept": "a, b", "x-one": "1"}
    assert list(headers.items()) == [("accept", "a, b"), ("x-one", "1")]
    assert headers.multi_items() == (("Accept", "a"), ("X-One", "1"), ("accept", "b"))
    assert headers == {"ACCEPT": "a, b", "X-One": "1"}
    assert headers != {"accept": "a, b", "x-one": 1}
    assert headers != {1: "a"}
    assert {**headers} == dict(headers)


@pytest.mark.parametrize("headers", [{"X-One": "1"}, [("X-One", "1")], Headers({"X-One": "1"})])
def test_requests_and_responses_take_headers_of_every_form(headers: Any) -> None:
    assert Request(method="GET", path="/", headers=headers).headers["x-one"] == "1"
    assert Response(headers=headers).headers["x-one"] == "1"
    assert Response.json({}, headers=headers).wire_headers()[:2] == [
        ("content-type", "application/json"),
        ("x-one", "1"),
    ]


def test_headers_are_immutable() -> None:
    headers = Headers([("a", "1")])
    with pytest.raises(AttributeError, match=r"set\(\), add\(\) and remove\(\)"):
        headers.x = 1  # type: ignore[attr-defined]
    joined = dict(headers)
    joined["a"] = "2"
    assert headers["a"] == "1"


SENT_NAMES = st.sampled_from(("X-One", "x-two", "Connection", "Content-Length", "x one", "", "ä"))
SENT_VALUES = st.sampled_from(("1", "", "\xe9", "\u20ac", "a\nb"))
SENT = st.lists(st.tuples(SENT_NAMES, SENT_VALUES), max_size=3)


@given(SENT, SENT, SENT_NAMES)
def test_headers_of_copies_are_checked_like_new_ones(
    pairs: list[tuple[str, str]], added: list[tuple[str, str]], removed: str
) -> None:
    """Although fields that were checked are not checked again."""

    def sent(headers: Headers) -> object:
        try:
            response = Response(headers=headers, body=b"1")
        except ValueError as error:
            return str(error)
        fields = response.wire_headers()
        assert response.encoded_wire_headers() == [(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields]
        return fields

    def fields_of(headers: Headers) -> list[tuple[str, str]]:
        return list(headers.multi_items())

    base = Headers(pairs)
    sent(base)
    fields = list({name.lower(): (name, value) for name, value in added}.values())
    copies = (base.add(*added), base.remove(removed), base.set_all(fields), Headers(base))
    for copy in copies:
        assert sent(copy) == sent(Headers(fields_of(copy)))
    one_by_one = base
    for name, value in fields:
        one_by_one = one_by_one.set(name, value)
    assert fields_of(base.set_all(fields)) == fields_of(one_by_one)


# --- responses ---


def test_response_headers() -> None:
    response = Response.json({"a": 1}, headers=[("X-One", "1"), ("Connection", "close"), ("Content-Length", "99")])
    assert response.wire_headers() == [("content-type", "application/json"), ("x-one", "1"), ("content-length", "7")]


@pytest.mark.parametrize("changes", [{"body": b"longer"}, {"status": 204}, {"headers": {"a": "b"}}])
def test_copies_of_a_sent_response_have_headers_of_their_own(changes: dict[str, Any]) -> None:
    response = Response(headers={"x-a": "1"}, body=b"a")
    sent = response.encoded_wire_headers()
    sent.append((b"of", b"middleware"))
    assert response.encoded_wire_headers() == [(b"x-a", b"1"), (b"content-length", b"1")]
    members = {"status": 200, "headers": {"x-a": "1"}, "body": b"a", **changes}
    for copied in (response.replace(**changes), dataclasses.replace(response, **changes)):
        assert copied.encoded_wire_headers() == Response(**members).encoded_wire_headers()


def test_response_of_an_application_with_another_constructor() -> None:
    @dataclasses.dataclass(frozen=True)
    class Noted(Response):
        note: str = ""

    response = Noted(200, Headers({"x-a": "1"}), b"a", "of the application")
    for copied in (response, dataclasses.replace(response, note="other")):
        assert copied.encoded_wire_headers() == [(b"x-a", b"1"), (b"content-length", b"1")]


@pytest.mark.parametrize("status", [204, 304])
def test_response_without_content_has_no_content_length(status: int) -> None:
    assert Response(status=status).wire_headers() == []


def test_response_stream_has_no_content_length() -> None:
    class Source:
        closed = 0

        def take(self) -> None:
            return None

        def park(self, wake: Any) -> bool:
            return False

        def close(self) -> None:
            self.closed += 1

    source = Source()
    response = Response(body=EventStream(source))
    assert response.wire_headers() == []
    response.close()
    assert source.closed == 1
    Response(body=b"x").close()


# --- forwarding ---

COMING = Headers(
    [
        ("Authorization", "Bearer x"),
        ("X-Tenant", "t"),
        ("X-Secret", "s"),
        ("X-Internal-Id", "i"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("Accept", "*/*"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Real-IP", "1.2.3.4"),
        ("X-Request-Id", "7"),
        ("X-Amz-Cf-Id", "7"),
        ("X-Amz-Anything", "7"),
        ("X-Vercel-Id", "7"),
        ("X-CopilotCloud-Public-Api-Key", "7"),
        ("xylophone", "no"),
    ]
)
ALL_X = {name for name in COMING if name.startswith("x-")} | {"authorization"}

FORWARDED: dict[str, tuple[ForwardHeaders, set[str]]] = {
    "by default": (ForwardHeaders(), {"authorization", "x-tenant", "x-secret", "x-internal-id"}),
    "without the list": (ForwardHeaders(use_default_denylist=False), ALL_X),
    "denied": (
        ForwardHeaders(deny=["AUTHORIZATION", " x-secret "], deny_prefixes=["X-Internal-"]),
        {"x-tenant"},
    ),
    "allowed": (
        ForwardHeaders(allow=["X-Tenant", "cookie", " x-forwarded-for "]),
        {"x-tenant", "cookie", "x-forwarded-for"},
    ),
    "allowed and denied": (ForwardHeaders(allow=["x-tenant", "x-secret"], deny=["X-SECRET"]), {"x-tenant"}),
    "allowed and denied by prefix": (ForwardHeaders(allow=["x-tenant", "accept"], deny_prefixes=["x-"]), {"accept"}),
    "blank entries": (
        ForwardHeaders(allow=["", "  "], deny=[""], deny_prefixes=["", " "]),
        {"authorization", "x-tenant", "x-secret", "x-internal-id"},
    ),
}


@pytest.mark.requirement("FORWARD-01", "FORWARD-02")
@pytest.mark.parametrize("name", FORWARDED)
def test_forward_headers_default_allow_and_deny(name: str) -> None:
    rule, names = FORWARDED[name]
    selected = rule.select(COMING)
    assert set(selected) == names
    assert all(selected[name] == COMING[name] for name in names)
    select = header_selector(rule)
    assert select(COMING) == select(COMING) == selected


def test_forward_headers_that_select_by_values_are_asked_for_each_request() -> None:
    class Internal(ForwardHeaders):
        def select(self, headers: Headers) -> dict[str, str]:
            return {"x-tenant": headers["x-tenant"]} if headers["x-tenant"] != "none" else {}

    select = header_selector(Internal())
    assert [select(Headers({"x-tenant": tenant})) for tenant in ("a", "none")] == [{"x-tenant": "a"}, {}]


CREDENTIALS_OF_PROXIES: dict[str, tuple[str, ...]] = {
    "oauth2-proxy": (
        "X-Forwarded-Access-Token",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Auth-Request-Access-Token",
        "X-Auth-Request-User",
        "X-OAuth2-Proxy-ID-Token",
    ),
    "AWS load balancer": (
        "X-Amzn-Oidc-AccessToken",
        "X-Amzn-Oidc-Data",
        "X-Amzn-Oidc-Identity",
        "X-Amzn-Mtls-Clientcert",
        "X-Amz-Security-Token",
    ),
    "Azure": (
        "X-MS-TOKEN-AAD-ACCESS-TOKEN",
        "X-MS-TOKEN-AAD-REFRESH-TOKEN",
        "X-MS-TOKEN-GOOGLE-ID-TOKEN",
        "X-MS-CLIENT-PRINCIPAL",
        "X-MS-CLIENT-PRINCIPAL-ID",
        "X-ARR-ClientCert",
        "X-Functions-Key",
    ),
    "Google": (
        "X-Goog-IAP-JWT-Assertion",
        "X-Goog-Authenticated-User-Email",
        "X-Goog-Api-Key",
        "X-Apigateway-Api-Userinfo",
        "X-Endpoint-API-UserInfo",
        "X-Serverless-Authorization",
    ),
    "Cloudflare": ("CF-Access-Jwt-Assertion", "CF-Access-Client-Secret", "CF-Authorization"),
    "Authelia": ("Remote-User", "Remote-Groups", "X-Remote-User"),
    "authentik": ("X-authentik-jwt", "X-authentik-username"),
    "Pomerium": ("X-Pomerium-Jwt-Assertion", "X-Pomerium-Authorization"),
    "Tailscale": ("Tailscale-User-Login", "X-Webauth-User"),
    "Envoy": ("X-Forwarded-Client-Cert", "X-Envoy-Original-Path"),
    "Traefik": ("X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info"),
    "nginx and HAProxy": ("X-SSL-Client-Cert", "X-Client-Cert", "X-SSL-Client-Verify"),
    "Kong": (
        "X-Consumer-Username",
        "X-Consumer-Custom-Id",
        "X-Credential-Identifier",
        "X-Userinfo",
        "X-Authenticated-Userid",
        "X-ID-Token",
        "X-Access-Token",
    ),
    "clients": ("X-API-Key", "X-ApiKey", "X-Auth-Token", "X-Refresh-Token", "Proxy-Authorization", "Cookie"),
    "clients, under other names": ("X-Auth", "X-Authorization", "X-JWT"),
    "nginx": ("X-Original-Authorization",),
    "forms": ("X-CSRFToken", "X-CSRF-Token", "X-XSRF-Token"),
}


@pytest.mark.requirement("FORWARD-06")
@pytest.mark.parametrize("source", CREDENTIALS_OF_PROXIES)
def test_forward_headers_keep_credentials_for_the_server(source: str) -> None:
    names = CREDENTIALS_OF_PROXIES[source]
    headers = Headers([("X-Tenant", "t"), *[(name, "secret") for name in names]])
    for rule in (ForwardHeaders(), ForwardHeaders(deny=["x-other"])):
        assert rule.select(headers) == {"x-tenant": "t"}
    for name in names:
        assert ForwardHeaders(allow=[name]).select(headers) == {name.lower(): "secret"}


@pytest.mark.parametrize("field", ["allow", "deny", "deny_prefixes"])
def test_forward_headers_must_be_lists(field: str) -> None:
    with pytest.raises(TypeError, match=field):
        ForwardHeaders(**{field: "x-tenant"})


@pytest.mark.requirement("FORWARD-03")
@given(st.dictionaries(NAMES.map(str.lower), VALUES), PAIRS)
def test_forward_headers_the_agents_own_win(forwarded: dict[str, str], own: list[tuple[str, str]]) -> None:
    merged = merge_headers(forwarded, own)
    lowered = [name.lower() for name in merged]
    assert sorted(lowered) == sorted(set(lowered)) == sorted({*forwarded, *(name.lower() for name, _ in own)})
    for name, value in merged.items():
        firsts = [pair for pair in own if pair[0].lower() == name.lower()]
        assert (name, value) == (firsts[0] if firsts else (name, forwarded[name.lower()]))


# --- CORS ---

A, B = "https://a.example", "https://b.example"


async def later(origin: str) -> Any:
    await asyncio.sleep(0)
    return origin if origin.endswith(".example") else None


JUDGED: dict[str, tuple[CorsConfig | None, str | None, CorsDecision]] = {
    "none": (None, A, CorsDecision(None, False)),
    "any": (CorsConfig(), A, CorsDecision("*", False)),
    "any, no origin": (CorsConfig(), None, CorsDecision("*", False)),
    "a star": (CorsConfig(allow_origins="*"), A, CorsDecision("*", False)),
    "one": (CorsConfig(allow_origins=A), A, CorsDecision(A, True)),
    "one, another asks": (CorsConfig(allow_origins=A), B, CorsDecision(A, False)),
    "one, no origin": (CorsConfig(allow_origins=A), None, CorsDecision(A, False)),
    "a list": (CorsConfig(allow_origins=[A, B]), B, CorsDecision(B, True)),
    "a list, another asks": (CorsConfig(allow_origins=[A]), B, CorsDecision(None, False)),
    "a list, no origin": (CorsConfig(allow_origins=[A]), None, CorsDecision(None, False)),
    "a list with a star": (CorsConfig(allow_origins=[A, "*"]), B, CorsDecision("*", False)),
    "an empty list": (CorsConfig(allow_origins=[]), A, CorsDecision(None, False)),
    "null": (CorsConfig(allow_origins=["null"]), "null", CorsDecision("null", True)),
    "a part of one": (CorsConfig(allow_origins=A), "https://a.exampl", CorsDecision(A, False)),
    "a longer one": (CorsConfig(allow_origins=[A]), f"{A}.evil", CorsDecision(None, False)),
    "another case": (CorsConfig(allow_origins=[A]), A.upper(), CorsDecision(None, False)),
    "a function": (CorsConfig(allow_origins=lambda origin: origin), A, CorsDecision(A, True)),
    "a function that says yes": (CorsConfig(allow_origins=lambda origin: True), A, CorsDecision(A, True)),
    "a function that says no": (CorsConfig(allow_origins=lambda origin: False), A, CorsDecision(None, False)),
    "a function that says nothing": (CorsConfig(allow_origins=lambda origin: None), A, CorsDecision(None, False)),
    "a function that names another": (CorsConfig(allow_origins=lambda origin: B), A, CorsDecision(B, False)),
    "a coroutine function": (CorsConfig(allow_origins=later), A, CorsDecision(A, True)),
    "a coroutine function that says no": (
        CorsConfig(allow_origins=later),
        "https://evil.test",
        CorsDecision(None, False),
    ),
    "a function, no origin": (CorsConfig(allow_origins=later), None, CorsDecision(None, False)),
}


@pytest.mark.requirement("CORS-03")
@pytest.mark.parametrize("name", JUDGED)
def test_cors_decision(name: str) -> None:
    config, origin, verdict = JUDGED[name]
    headers = Headers([] if origin is None else [("Origin", origin)])
    assert asyncio.run(evaluate_origin(config, Request(method="POST", path="/", headers=headers))) == verdict


@pytest.mark.requirement("CORS-04")
@pytest.mark.parametrize("origin", ["null", ["null"], [A, "null"]])
def test_cors_credentials_for_the_opaque_origin_are_refused(origin: Any) -> None:
    CorsConfig(allow_origins=origin)
    with pytest.raises(ValueError, match="sandboxed"):
        CorsConfig(allow_origins=origin, allow_credentials=True)


@pytest.mark.requirement("CORS-04")
def test_cors_credentials_are_not_sent_to_the_opaque_origin() -> None:
    """A function may allow it, which only the request shows."""
    config = CorsConfig(allow_origins=lambda origin: True, allow_credentials=True)
    assert with_headers(config, CorsDecision("null", True), Response()) == {
        "access-control-allow-origin": "null",
        "vary": "Origin",
    }


@pytest.mark.requirement("CORS-04")
@pytest.mark.parametrize("origin", [None, "*", ["*"], [A, "*"]])
def test_cors_credentials_for_any_origin_are_refused(origin: Any) -> None:
    with pytest.raises(ValueError, match="name the origins"):
        CorsConfig(allow_origins=origin, allow_credentials=True)


def with_headers(config: CorsConfig, verdict: CorsDecision, response: Response) -> dict[str, str]:
    return dict(add_cors_headers(config, verdict, response).headers)


def test_cors_headers_of_a_response() -> None:
    named = CorsConfig(allow_origins=[A], allow_credentials=True, expose_headers=["x-one", "x-two"])
    assert with_headers(named, CorsDecision(A, True), Response(headers=Headers([("vary", "Accept")]))) == {
        "access-control-allow-origin": A,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-one, x-two",
        "vary": "Origin, Accept",
    }
    # A cache must not give the answer for one origin to another.
    assert with_headers(named, CorsDecision(None, False), Response()) == {"vary": "Origin"}
    assert with_headers(CorsConfig(), CorsDecision("*", False), Response()) == {"access-control-allow-origin": "*"}


@pytest.mark.requirement("CORS-01")
def test_cors_preflight() -> None:
    asking = Request(
        method="OPTIONS", path="/", headers=Headers([("Access-Control-Request-Headers", "content-type, x-token")])
    )
    plain = preflight(CorsConfig(), asking)
    assert (plain.status, plain.body) == (204, b"")
    assert plain.headers["access-control-allow-headers"] == "*"
    # "*" does not cover it (WHATWG Fetch, section 4.9).
    token = asking.replace(headers=Headers([("Access-Control-Request-Headers", "authorization,content-type")]))
    assert preflight(CorsConfig(), token).headers["access-control-allow-headers"] == "*, Authorization"
    # "*" means nothing to browsers once credentials are sent.
    trusted = preflight(CorsConfig(allow_origins=A, allow_credentials=True), asking)
    assert trusted.headers["access-control-allow-headers"] == "content-type, x-token"
    assert "access-control-max-age" not in trusted.headers
    full = preflight(CorsConfig(allow_methods=["GET"], allow_headers=["x-a", "x-b"], max_age=0), asking)
    assert full.headers["access-control-allow-methods"] == "GET"
    assert full.headers["access-control-allow-headers"] == "x-a, x-b"
    assert full.headers["access-control-max-age"] == "0"


# Method, content type, other headers, verdict; whether it is refused.
NONE, NAMED, ANY = CorsDecision(None, False), CorsDecision(A, True), CorsDecision("*", False)
OPAQUE = CorsDecision("null", True)
CROSS = {"sec-fetch-site": "cross-site"}
CROSSING: dict[str, tuple[str, str | None, dict[str, str], CorsDecision, bool]] = {
    "no browser": ("POST", None, {}, NONE, False),
    "the same origin": ("POST", None, {"sec-fetch-site": "same-origin"}, NONE, False),
    "typed in": ("POST", None, {"sec-fetch-site": "none"}, NONE, False),
    "the same site": ("POST", None, {"sec-fetch-site": "same-site"}, NONE, True),
    "another site": ("POST", None, CROSS, NONE, True),
    "another site's form": ("POST", "multipart/form-data; boundary=x", CROSS, NONE, True),
    "another site's text": ("POST", "Text/Plain;charset=utf-8", CROSS, NONE, True),
    "another site's other form": ("POST", "application/x-www-form-urlencoded", CROSS, NONE, True),
    "another site's JSON needs a preflight": ("POST", "application/json", CROSS, NONE, False),
    "another site reads": ("GET", None, CROSS, NONE, False),
    "another site asks": ("HEAD", None, CROSS, NONE, False),
    "another site deletes": ("DELETE", None, CROSS, NONE, True),
    "allowed by name": ("POST", None, CROSS, NAMED, False),
    "allowed as anybody": ("POST", None, CROSS, ANY, False),
    "allowed as anybody, with a cookie": ("POST", None, {**CROSS, "cookie": "a=1"}, ANY, True),
    "allowed as anybody, with a page's own token": ("POST", None, {**CROSS, "authorization": "bearer t"}, ANY, False),
    "a frame of any site": ("POST", None, {**CROSS, "origin": "null"}, OPAQUE, False),
    "a frame of any site, with a cookie": ("POST", None, {**CROSS, "origin": "null", "cookie": "a=1"}, OPAQUE, True),
    "an older browser, the same host": (
        "POST",
        None,
        {"origin": "https://h.example", "host": "h.example"},
        NONE,
        False,
    ),
    "an older browser, the port spelled out": (
        "POST",
        None,
        {"origin": "https://h.example", "host": "h.example:443"},
        NONE,
        False,
    ),
    "an older browser, behind a proxy": (
        "POST",
        None,
        {"origin": "https://h.example", "host": "inner:8000", "x-forwarded-host": "h.example, inner"},
        NONE,
        False,
    ),
    "an older browser, another host": (
        "POST",
        None,
        {"origin": "https://evil.example", "host": "h.example"},
        NONE,
        True,
    ),
    "an older browser, another port": (
        "POST",
        None,
        {"origin": "http://h.example:81", "host": "h.example"},
        NONE,
        True,
    ),
    "an older browser, a page from nowhere": ("POST", None, {"origin": "null", "host": "h.example"}, NONE, True),
    "an older browser, no host": ("POST", None, {"origin": "https://h.example"}, NONE, True),
    "an origin that is none": ("POST", None, {"origin": "https://[", "host": "h.example"}, NONE, True),
}


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize("name", CROSSING)
def test_csrf_other_sites(name: str) -> None:
    method, content_type, headers, verdict, refused = CROSSING[name]
    fields = {**headers, **({} if content_type is None else {"content-type": content_type})}
    answer = reject_cross_site(Request(method=method, path="/", headers=Headers(fields)), verdict)
    assert (answer is not None) == refused
    if answer is not None:
        assert answer.status == 403
        assert b"CorsConfig" in bytes(answer.body)  # type: ignore[arg-type]


AMBIENT: dict[str, tuple[str, str]] = {
    "basic": ("Authorization", "Basic dTpw"),
    "basic, cased": ("authorization", "  bAsIc dTpw"),
    "negotiate": ("Authorization", "Negotiate YII="),
    "ntlm": ("Authorization", "NTLM TlRM"),
    "digest": ("Authorization", 'Digest username="u"'),
    "a scheme without parameters": ("Authorization", "Negotiate"),
    "a scheme like the one of scripts": ("Authorization", "Bearers t"),
    "a cookie": ("Cookie", "a=1"),
    "AWS": ("X-Amzn-Oidc-Data", "t"),
    "Azure": ("X-MS-CLIENT-PRINCIPAL-ID", "u"),
    "Google": ("X-Goog-IAP-JWT-Assertion", "t"),
    "Cloudflare": ("Cf-Access-Jwt-Assertion", "t"),
    "Tailscale": ("Tailscale-User-Login", "u"),
    "Authelia": ("Remote-User", "u"),
    "oauth2-proxy": ("X-Forwarded-Access-Token", "t"),
    "a client certificate": ("X-Forwarded-Client-Cert", "c"),
}


@pytest.mark.requirement("CSRF-02")
@pytest.mark.parametrize("name", AMBIENT)
def test_csrf_ambient_credentials_of_other_sites_are_refused(name: str) -> None:
    for verdict in (ANY, OPAQUE):
        request = Request(
            method="POST", path="/", headers=[*CROSS.items(), ("content-type", "text/plain"), AMBIENT[name]]
        )
        assert reject_cross_site(request, verdict) is not None
        assert reject_cross_site(request, NAMED) is None
        assert reject_cross_site(request.replace(headers=Headers([AMBIENT[name]])), verdict) is None, "its own page"


@pytest.mark.requirement("CSRF-01")
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain, application/json",
        "application/json, text/plain",
        "text/plain,",
        ",application/json",
        "application/json; charset=utf-8, text/plain",
        "text/plain; a=b, application/json",
        "text/plain application/json",
        "application/json/",
        "json",
        ";application/json",
    ],
)
def test_csrf_a_content_type_that_is_not_certainly_another_one_is_simple(content_type: str) -> None:
    request = Request(method="POST", path="/", headers={**CROSS, "content-type": content_type})
    assert reject_cross_site(request, NONE) is not None
