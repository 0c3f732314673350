"""Invalid input gets a clear 4xx in JSON, and affects no other request.

The barrage is fired by one user and afterwards another one's thread is looked at, so that
each test also shows that what others have stored is untouched.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from copilot_runtime._server.routes import ROUTES

from .fixtures.security_apps import LARGE_BODY, SMALL_BODY
from .http_client import TIMEOUT_SECONDS, Response, hello_input, receive_response, unique
from .security_client import SecurityClient, find_fault, find_leak, serve_security_apps
from .serve import ADAPTERS

MALLORY = {"x-user": "mallory"}
ALICE = {"x-user": "alice"}
BOB = {"x-user": "bob"}
JSON = ("content-type", "application/json")
DEEP = 200_000


@pytest.fixture(scope="module", params=ADAPTERS)
def client(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(request.param) as client:
        yield client


VIEWS = ("messages", "events", "state")


def snapshot(client: SecurityClient, mount: str, thread: str) -> dict[str, Any]:
    """All that alice's thread has to show, through REST."""
    views = {view: client.request("GET", f"/{mount}/threads/{thread}/{view}", headers=ALICE).json() for view in VIEWS}
    listed = client.request("GET", f"/{mount}/threads", headers=ALICE).json()["threads"]
    replay = client.request("POST", f"/{mount}/agent/hello/connect", hello_input(thread, "r"), ALICE).events()
    return {**views, "listed": listed, "replay": replay}


def store_thread(client: SecurityClient, mount: str) -> tuple[str, dict[str, Any]]:
    """Makes a thread of alice's; returns its id and all that it has to show."""
    thread = unique("alice")
    run = client.request("POST", f"/{mount}/agent/hello/run", hello_input(thread), ALICE)
    assert run.events()[-1]["type"] == "RUN_FINISHED"
    shown = snapshot(client, mount, thread)
    assert thread in [listed["id"] for listed in shown["listed"]]
    assert shown["messages"]["messages"]
    return thread, shown


@pytest.fixture(scope="module")
def stored_threads(client: SecurityClient) -> dict[str, tuple[str, dict[str, Any]]]:
    """By runtime, a thread of alice's that is as it was made, for the next test."""
    return {}


@pytest.fixture(params=["auto", pytest.param("multi-route", marks=pytest.mark.one_of_each_stack)])
def mount(
    client: SecurityClient, stored_threads: dict[str, tuple[str, dict[str, Any]]], request: pytest.FixtureRequest
) -> Iterator[str]:
    """A runtime at which to fire; afterwards alice's thread is as it was, and the runtime works."""
    mount: str = request.param
    # Taken out: what a test has changed is not left to the next one.
    thread, before = stored_threads.pop(mount, None) or store_thread(client, mount)
    yield mount
    assert snapshot(client, mount, thread) == before
    rerun = client.request("POST", f"/{mount}/agent/hello/run", hello_input(unique("after")), BOB)
    assert rerun.events()[-1]["type"] == "RUN_FINISHED"
    stored_threads[mount] = thread, before


# --- every route, every bad body -----------------------------------------------------

IDS = {"{agent_id}": "hello", "{thread_id}": "mine", "{memory_id}": "m"}


def target(pattern: str) -> str:
    for name, value in IDS.items():
        pattern = pattern.replace(name, value)
    return pattern


EVERY = [(method, target(route.pattern), name) for route in ROUTES.routes for method, name in route.methods.items()]
"""Every route with every method that it takes."""

READS_BODY = frozenset(
    (
        ("POST", "agent/run"),
        ("POST", "agent/connect"),
        ("POST", "agent/suggest"),
        ("POST", "agent/stop"),
        ("POST", "transcribe"),
        ("PATCH", "threads/update"),
    )
)
"""The others do not look at a body, so that the worst one changes nothing about their answer."""

MAY_BE_EMPTY = frozenset((("agent/stop", "empty"), ("agent/stop", "blank")))

INPUT = hello_input("bad", "bad-run")


def with_text(json_text: str) -> bytes:
    """A right run input whose state is this text."""
    return json.dumps({**INPUT, "state": "@"}).replace('"@"', json_text).encode("utf-8", "surrogatepass")


BODIES: Mapping[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "nul": b"\0",
    "words": b"hello",
    "form": b"threadId=a&runId=b",
    "null": b"null",
    "true": b"true",
    "number": b"3",
    "string": b'"text"',
    "list": b"[]",
    "list of inputs": json.dumps([INPUT]).encode(),
    "cut off": json.dumps(INPUT).encode()[:-1],
    "trailing": json.dumps(INPUT).encode() + b"x",
    "two of them": json.dumps(INPUT).encode() * 2,
    "trailing comma": b'{"runId":"a",}',
    "single quotes": b"{'runId': 'a'}",
    "comment": b'{"runId":"a"} // no',
    "bad escape": rb'{"runId":"\x41"}',
    "control character": b'{"runId":"a\nb"}',
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(INPUT).encode(),
    "utf-16": json.dumps(INPUT).encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00",
    "invalid utf-8": b'{"runId":"\xff\xfe"}',
    "overlong utf-8": b'{"runId":"\xc0\xaf"}',
    "raw surrogate": with_text('"\ud800"'),
    "lone surrogate": with_text(r'"\ud800"'),
    "low surrogate": with_text(r'"\udfff"'),
    "reversed surrogates": with_text(r'"\udc00\ud800"'),
    "nan": with_text("NaN"),
    "infinity": with_text("Infinity"),
    "minus infinity": with_text("[-Infinity]"),
    "nan in a member": b'{"runId":NaN}',
    "number beyond all": with_text("1e999"),
    "deep list": b"[" * DEEP,
    "deep object": b'{"a":' * DEEP,
    "deep and closed": with_text("[" * DEEP + "]" * DEEP),
    "deep member": b'{"runId":' + b"[" * DEEP + b"]" * DEEP + b"}",
}
"""None of these is a JSON object with the members that any route wants."""


@pytest.mark.requirement("BODY-02")
@pytest.mark.parametrize(("method", "path", "name"), EVERY, ids=[f"{method} {path}" for method, path, _ in EVERY])
def test_body_that_is_not_a_json_object_gets_400_on_every_route(
    client: SecurityClient, mount: str, method: str, path: str, name: str
) -> None:
    faults: dict[str, str | None] = {}
    usual = client.request(method, f"/{mount}{path}", b"{}", [*MALLORY.items(), JSON])
    for name_of_body, body in BODIES.items():
        response = client.request(method, f"/{mount}{path}", body, [*MALLORY.items(), JSON])
        if (method, name) in READS_BODY and (name, name_of_body) not in MAY_BE_EMPTY:
            # A thread that is not there may be said before its body is looked at.
            faults[name_of_body] = find_fault(response, *((400, 404) if name == "threads/update" else (400,)))
        elif (response.status, response.body) != (usual.status, usual.body) and "version" not in str(usual.body):
            faults[name_of_body] = f"{usual.status} became {response.status} {response.body[:200]!r}"
        else:
            faults[name_of_body] = find_leak(response) or (find_fault(response) if response.status >= 400 else None)
    assert not {name_of_body: problem for name_of_body, problem in faults.items() if problem}


@pytest.mark.requirement("THREADS-06")
def test_threads_update_with_an_invalid_body_gets_400(client: SecurityClient, mount: str) -> None:
    thread = unique("mine")
    client.request("POST", f"/{mount}/agent/hello/run", hello_input(thread), MALLORY)
    wrong = [b"", b"null", b"[]", b"{}", b'{"name":3}', b'{"archived":"yes"}', b'{"name":null}', b'{"other":1}']
    for body in (*BODIES.values(), *wrong, b'{"name":"%b"}' % (b"n" * 1001)):
        response = client.request("PATCH", f"/{mount}/threads/{thread}", body, [*MALLORY.items(), JSON])
        assert find_fault(response, 400) is None, (body[:60], find_fault(response, 400))
    (own,) = [
        listed
        for listed in client.request("GET", f"/{mount}/threads", headers=MALLORY).json()["threads"]
        if listed["id"] == thread
    ]
    assert (own["name"], own["archived"]) == (None, False)


# --- members -------------------------------------------------------------------------

MISSING = object()
MESSAGE = INPUT["messages"][0]

MEMBERS: list[tuple[str, Any]] = [
    *[(name, MISSING) for name in ("threadId", "runId", "messages")],
    *[(name, value) for name in ("threadId", "runId") for value in (None, 3, True, [], {}, ["a"])],
    *[("messages", value) for value in (None, 3, "text", {}, [None], [3], ["text"], [[]], [{}])],
    ("messages", [MESSAGE, {**MESSAGE, "role": "nobody"}]),
    ("messages", [{**MESSAGE, "role": None}]),
    ("messages", [{**MESSAGE, "role": ["user"]}]),
    ("messages", [{**MESSAGE, "id": 3}]),
    ("messages", [{**MESSAGE, "id": None}]),
    ("messages", [{**MESSAGE, "content": 3}]),
    ("messages", [{**MESSAGE, "content": [{"type": "nothing"}]}]),
    ("messages", [{"id": "a", "role": "assistant", "toolCalls": "none"}]),
    ("messages", [{"id": "a", "role": "assistant", "toolCalls": [{"id": "c"}]}]),
    ("messages", [{"id": "a", "role": "tool", "content": "x"}]),
    ("messages", [{"id": "a", "role": "activity"}]),
    *[("tools", value) for value in (3, "text", {}, [3], [{}], [{"name": 3}], [None])],
    *[("context", value) for value in (3, "text", {}, [3], [{}], [{"description": 1, "value": 2}])],
    ("parentRunId", 3),
    ("resume", 3),
    ("resume", [3]),
]


@pytest.mark.requirement("BODY-02", "RUN-01")
@pytest.mark.parametrize("route", ["run", "connect", "suggest"])
def test_run_connect_suggest_with_an_invalid_member_get_400(client: SecurityClient, mount: str, route: str) -> None:
    faults = []
    for name, value in MEMBERS:
        body = {key: member for key, member in INPUT.items() if key != name}
        if value is not MISSING:
            body[name] = value
        response = client.request("POST", f"/{mount}/agent/hello/{route}", body, MALLORY)
        problem = find_fault(response, 400)
        if problem is None and response.json()["error"] != "Invalid request body":
            problem = f"says {response.json()}"
        # Its reader wants to know which member is meant.
        if problem is None and name not in response.json()["details"].replace("_", ""):
            names_it = name.lower() in response.json()["details"].replace("_", "").lower()
            problem = None if names_it else f"does not name it: {response.json()['details']}"
        faults += [(name, value if value is not MISSING else "missing", problem)] if problem else []
    assert not faults


@pytest.mark.requirement("STOP-01")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"runId": None}, "Invalid runId"),
        ({"runId": 3}, "Invalid runId"),
        ({"runId": ""}, "Invalid runId"),
        ({"runId": " "}, "Invalid runId"),
        ({"runId": ["a"]}, "Invalid runId"),
        ({"other": 1}, "Invalid stop request"),
        ({"runId": "a", "other": 1}, "Invalid stop request"),
        ([], "Invalid stop request"),
    ],
)
def test_stop_with_an_invalid_body_gets_400(client: SecurityClient, mount: str, body: Any, error: str) -> None:
    response = client.request("POST", f"/{mount}/agent/hello/stop/t", body, MALLORY)
    assert find_fault(response, 400) is None, find_fault(response, 400)
    assert response.json()["error"] == error


UNKNOWN = ("nobody", "Hello", "HELLO", "constructor", "__class__", "toString", "%00", "hello%00", "%20", "a" * 3000)


@pytest.mark.requirement("ROUTE-09", "RUN-02")
@pytest.mark.parametrize("route", ["run", "connect", "suggest", "stop/t"])
def test_agent_that_is_unknown_gets_404_before_the_body_is_read(client: SecurityClient, mount: str, route: str) -> None:
    for agent in UNKNOWN:
        body = {} if route == "stop/t" else INPUT
        response = client.request("POST", f"/{mount}/agent/{agent}/{route}", body, MALLORY)
        assert find_fault(response, 404) is None, find_fault(response, 404)
        # Whose fault it is comes before what else is wrong.
        if route != "stop/t":
            assert client.request("POST", f"/{mount}/agent/{agent}/{route}", b"{", MALLORY).status == 404


# --- transcription -------------------------------------------------------------------


def form(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


AUDIO = b'content-disposition: form-data; name="audio"; filename="a.webm"\r\ncontent-type: audio/webm\r\n\r\nabc'
MULTIPART = "multipart/form-data; boundary=b"

UPLOADS: list[tuple[str, bytes]] = [
    (MULTIPART, b""),
    (MULTIPART, b"--b"),
    (MULTIPART, b"--b--\r\n"),
    (MULTIPART, b"nothing of the kind"),
    (MULTIPART, form(AUDIO)[:-10]),
    (MULTIPART, form(AUDIO, boundary=b"c")),
    (MULTIPART, form(b'content-disposition: form-data; name="audio"\r\n\r\ntext')),
    (MULTIPART, form(b'content-disposition: form-data; name="other"; filename="a"\r\n\r\nabc')),
    (MULTIPART, form(b'content-disposition: form-data; filename="a"\r\n\r\nabc')),
    (MULTIPART, form(b"content-type: audio/webm\r\n\r\nabc")),
    (MULTIPART, form(b"no header at all")),
    (MULTIPART, form(b"\xff\xfe: \xff\r\n\r\nabc")),
    (MULTIPART, form(b"content-disposition: " + b"x" * 20_000 + b"\r\n\r\nabc")),
    (MULTIPART, form(*[b'content-disposition: form-data; name="x"\r\n\r\n1'] * 300)),
    (MULTIPART, form(AUDIO.replace(b"audio/webm", b"text/html"))),
    (MULTIPART, form(AUDIO.replace(b"audio/webm", b"\xff\xff"))),
    ("multipart/form-data", form(AUDIO)),
    ("multipart/form-data; boundary=", form(AUDIO)),
    ('multipart/form-data; boundary=""', form(AUDIO)),
    ("multipart/form-data; boundary*=utf-8''%E2%82%AC", form(AUDIO)),
    ("multipart/form-data; boundary=" + "b" * 5000, form(AUDIO)),
    ("multipart/mixed; boundary=b", form(AUDIO)),
    ("application/x-www-form-urlencoded", b"audio=abc"),
    ("text/plain", b"abc"),
    ("audio/webm", b"abc"),
    ("", b"abc"),
    ("\xff\xfe/\xfd", b"abc"),
    ("application/json", b"{}"),
    ("application/json", b'{"audio":3,"mimeType":"audio/webm"}'),
    ("application/json", b'{"audio":"","mimeType":"audio/webm"}'),
    ("application/json", b'{"audio":"YWJj"}'),
    ("application/json", b'{"audio":"YWJj","mimeType":3}'),
    ("application/json", b'{"audio":"YWJj","mimeType":"text/html"}'),
    ("application/json", b'{"audio":"YWJj","mimeType":"audio/webm","filename":3}'),
    ("application/json", b'{"audio":"Y*J","mimeType":"audio/webm"}'),
    ("application/json", '{"audio":"größe","mimeType":"audio/webm"}'.encode()),
    ("application/json", b'{"audio":{"a":1},"mimeType":"audio/webm"}'),
]


GRAPHQL: tuple[Any, ...] = (
    {"operationName": "availableAgents", "query": "query availableAgents { agents }", "variables": {}},
    {"query": "mutation generateCopilotResponse($data: Input!) { generate(data: $data) { threadId } }"},
    {"query": "\n  { hello }"},
)
NO_GRAPHQL: tuple[Any, ...] = (
    {"query": 1},
    {"query": None},
    {"query": "query what I like"},
    {"queries": "{ hello }"},
    ["{ hello }"],
    {"method": "", "query": "{ hello }"},
)


@pytest.mark.requirement("ROUTE-15")
def test_graphql_of_an_old_frontend_says_which_version_is_required(client: SecurityClient, mount: str) -> None:
    for path in ("", "/", "/graphql", "/agent", "/info", "/threads"):
        for body in GRAPHQL:
            response = client.request("POST", f"/{mount}{path}", body, MALLORY)
            answer = response.json()
            assert (response.status, answer["error"]) == (400, "graphql_not_supported"), path
            assert "1.50 or newer" in answer["message"]
            assert answer["errors"] == [{"message": answer["message"]}]
    for body in NO_GRAPHQL:
        response = client.request("POST", f"/{mount}/graphql", body, MALLORY)
        assert (response.status, response.json()) == (404, {"error": "Not found"}), body


@pytest.mark.requirement("TRANSCRIBE-03")
def test_transcribe_with_an_invalid_upload_gets_400(client: SecurityClient, mount: str) -> None:
    faults = []
    for kind, body in UPLOADS:
        response = client.request("POST", f"/{mount}/transcribe", body, [*MALLORY.items(), ("content-type", kind)])
        problem = find_fault(response, 400)
        if problem is None and not isinstance(response.json().get("retryable"), bool):
            problem = f"not of the shape that the client knows: {response.json()}"
        faults += [(kind, body[:80], problem)] if problem else []
    assert not faults


@pytest.mark.requirement("TRANSCRIBE-03")
def test_transcribe_with_a_chunked_upload_of_nothing_gets_400(client: SecurityClient, mount: str) -> None:
    for kind in (
        'multipart/form-data; boundary=""',
        "multipart/form-data",
        "multipart/form-data; boundary=\xff",
        MULTIPART,
    ):
        headers = [*MALLORY.items(), ("content-type", kind)]
        response = client.request("POST", f"/{mount}/transcribe", iter(()), headers)
        assert find_fault(response, 400) is None, (kind, find_fault(response, 400))


def test_transcribe_reads_an_upload(client: SecurityClient, mount: str) -> None:
    response = client.request(
        "POST", f"/{mount}/transcribe", form(AUDIO), [*MALLORY.items(), ("content-type", MULTIPART)]
    )
    assert response.json() == {"text": "3 bytes", "size": 3, "type": "audio/webm"}


# --- paths ---------------------------------------------------------------------------

BAD_ESCAPES = ("%", "%1", "%zz", "%-1", "a%", "%ff", "%c0%af", "%ed%a0%80", "%E0%A4%A", "%%")
"""Pieces of a path that cannot be decoded: the route is unknown (docs/protocol.md, section 2)."""


@pytest.mark.requirement("ROUTE-04")
@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("POST", "/agent/@/run"),
        ("POST", "/agent/@/connect"),
        ("POST", "/agent/@/suggest"),
        ("POST", "/agent/hello/stop/@"),
        ("GET", "/threads/@/messages"),
        ("GET", "/threads/@/events"),
        ("GET", "/threads/@/state"),
        ("POST", "/threads/@/archive"),
        ("PATCH", "/threads/@"),
        ("DELETE", "/threads/@"),
        ("DELETE", "/memories/@"),
        ("GET", "/@"),
        ("GET", "/@/@"),
    ],
)
def test_path_with_invalid_percent_escapes_gets_404(
    client: SecurityClient, mount: str, method: str, pattern: str
) -> None:
    for segment in BAD_ESCAPES:
        path = pattern.replace("@", segment)
        response = client.request(method, f"/{mount}{path}", INPUT if method == "POST" else None, MALLORY)
        assert find_fault(response, 404) is None, (method, path, find_fault(response, 404))


PATHS = (
    "/nothing", "/info/more", "/INFO", "/in%66o", "/.", "/..", "/../info/x", "/%2e%2e/%2e%2e", "/%00", "/\\", "/;",
    "/threads/a/b", "/agent", "/agent/hello", "/agent//run", "/agent/hello/run/", "/agent/hello/fly",
    "/agent/hello/stop",
    "/threads/%20/state", "/threads/a%2Fb/state", "/threads/%E2%82%AC/state", "/threads//state", "/a" * 1500,
    "/" + "a" * 3000, "/threads/" + "%C3%A9" * 500 + "/messages", "/agent/" + "%00" * 500 + "/run",
    "/info?" + "a=b&" * 800,
    "/threads?limit=" + "9" * 3000, "/threads?cursor=" + "[" * 3000, "/info;a=b", "/info%3Fa=b", "/info%23", "//////",
)  # fmt: skip


@pytest.mark.requirement("ROUTE-02")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_path_that_is_unusual_gets_a_clear_response(client: SecurityClient, mount: str, method: str) -> None:
    faults = []
    for path in PATHS:
        response = client.request(method, f"/{mount}{path}", INPUT if method != "GET" else None, MALLORY)
        problem = find_leak(response) or (find_fault(response) if response.status >= 400 else None)
        faults += [(path[:60], problem)] if problem else []
    assert not faults


RAW_PATHS: Mapping[str, bytes] = {
    "utf-8": "/auto/größe/info".encode(),
    "latin-1": b"/auto/gr\xf6\xdfe/info",
    "id in utf-8": "/auto/threads/größe/messages".encode(),
    "id in latin-1": b"/auto/threads/gr\xf6\xdfe/messages",
    "surrogate": b"/auto/threads/\xed\xa0\x80/messages",
    "absolute": b"http://elsewhere.example/auto/nothing",
    "absolute, no path": b"http://elsewhere.example",
    "no slash": b"auto/nothing",
    "star": b"*",
    "fragment": b"/auto/nothing#fragment",
    "question": b"?",
    "nul": b"/auto/\0",
    "very long": b"/auto/" + b"a" * 100_000,
    "very long query": b"/auto/nothing?" + b"a" * 100_000,
}
"""Request targets that no client would send. Some are refused by the server, before the runtime sees them."""


@pytest.mark.requirement("ROUTE-11")
@pytest.mark.parametrize("name_of_body", RAW_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_path_in_a_raw_request_target(client: SecurityClient, name_of_body: str, method: str) -> None:
    head = b"\r\n".join(
        (
            method.encode() + b" " + RAW_PATHS[name_of_body] + b" HTTP/1.1",
            b"host: x",
            b"x-user: mallory",
            b"content-length: 0",
        )
    )
    response = client.send_bytes(head + b"\r\nconnection: close\r\n\r\n", method)
    if response is not None:
        assert response.status < 500, response
        assert find_leak(response) is None
        if response.headers.get("content-type") == "application/json" and response.status >= 400:
            assert find_fault(response) is None
    assert client.request("GET", "/auto/info", headers=MALLORY).status == 200


QUERIES = (
        "limit=0", "limit=-1", "limit=1.5", "limit=ten", "limit=1001", "limit=%D9%A3", "limit=%00", "limit=1e3",
        "limit=" + "1" * 50, "cursor=x", "cursor=%5B%5D", "cursor=3", "cursor=null", "cursor=%5B1%5D",
        "cursor=%5B1,2,3%5D",
        "cursor=%7B%7D", "cursor=" + "%5B" * 1000, "cursor=%ff", "cursor=%5B%22x%22,%22y%22%5D",
        "cursor=%5Bnull,null%5D",
        "cursor=%5B1" + "0" * 400 + ",%22x%22%5D", "cursor=%5B[],%22x%22%5D",
)  # fmt: skip


@pytest.mark.requirement("THREADS-01")
def test_threads_list_with_an_invalid_query_gets_400(client: SecurityClient, mount: str) -> None:
    faults = {
        query: find_fault(client.request("GET", f"/{mount}/threads?{query}", headers=MALLORY), 400) for query in QUERIES
    }
    assert not {query: problem for query, problem in faults.items() if problem}


# --- methods and headers -------------------------------------------------------------

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LOCK")


UNKNOWN_TO_FLASK = ("PROPFIND", "LOCK")
"""Flask's rules list their methods; what is not among them it refuses itself, in HTML."""


@pytest.mark.requirement("ROUTE-07")
@pytest.mark.parametrize("method", METHODS)
def test_method_that_a_route_lacks_gets_405_with_allow(client: SecurityClient, mount: str, method: str) -> None:
    for route in ROUTES.routes:
        if method in route.methods:
            continue
        response = client.request(method, f"/{mount}{target(route.pattern)}", headers=MALLORY)
        assert response.status == 405, (route.pattern, response)
        if client.adapter == "flask" and method in UNKNOWN_TO_FLASK:
            continue
        assert response.headers["allow"] == ", ".join(route.methods)
        assert response.headers["content-type"] == "application/json"
        if method == "HEAD":
            assert response.body == b""
        else:
            assert find_fault(response, 405) is None


@pytest.mark.requirement("ROUTE-06")
@pytest.mark.parametrize("method", [*METHODS, "CONNECT", "get", "BREW", "G\xe9T", "A" * 300])
def test_method_on_an_unknown_route_gets_404(client: SecurityClient, mount: str, method: str) -> None:
    for path in ("/nothing", "", "/"):
        data = f"{method} /{mount}{path} HTTP/1.1\r\nhost: x\r\nx-user: mallory\r\nconnection: close\r\n\r\n"
        response = client.send_bytes(data.encode("latin-1"), method)
        assert response is None or 400 <= response.status < 500 or (method, response.status) == ("A" * 300, 501), (
            response
        )
        own = UNKNOWN_TO_FLASK if client.adapter == "flask" else ()
        if response is not None and method in METHODS and method not in ("HEAD", *own):
            assert find_fault(response) is None, find_fault(response)


HEADERS: Mapping[str, list[tuple[str, str]]] = {
    "content type of bytes": [("content-type", "application/json; charset=\xff\xfe")],
    "content type without end": [("content-type", 'application/json; a="')],
    "blank content type": [("content-type", " ")],
    "long content type": [("content-type", "application/json; a=" + "x" * 7000)],
    "unknown charset": [("content-type", "application/json; charset=klingon")],
    "utf-16": [("content-type", "application/json; charset=utf-16")],
    "content encoding": [("content-encoding", "gzip"), JSON],
    "no sense in accept": [("accept", ";;;,,,q=x"), JSON],
    "last event id": [("last-event-id", "\xf0\x9f\xa4\xa1"), JSON],
    "last event id, huge": [("last-event-id", "9" * 3000 + "." + "9" * 3000), JSON],
    "last event id, negative": [("last-event-id", "-1.-1"), JSON],
    "last event id, twice": [("last-event-id", "1.1"), ("last-event-id", "1.2"), JSON],
    "origin null": [("origin", "null"), JSON],
    "origin of nothing": [("origin", "http://[::1"), JSON],
    "origin with a port": [("origin", "http://a:99999999"), JSON],
    "origin twice": [("origin", "http://a"), ("origin", "http://b"), JSON],
    "forwarded host": [("origin", "http://a"), ("x-forwarded-host", "[[[,:::"), JSON],
    "fetch site": [("sec-fetch-site", "\xff"), JSON],
    "range": [("range", "bytes=9-1"), JSON],
    "if none match": [("if-none-match", "*"), JSON],
    "eighty headers": [*((f"x-{number}", "a") for number in range(80)), JSON],
    "eighty of a name": [*[("x-a", "a")] * 80, JSON],
    "long header": [("x-long", "a" * 7000), JSON],
    "bytes in a header": [("x-bytes", "".join(map(chr, range(0xA0, 0x100)))), JSON],
    "underscores": [("x_user", "alice"), ("content_type", "text/plain"), JSON],
    "cookies": [*[("cookie", "a=b; c")] * 5, JSON],
    "authorization": [("authorization", "\xff \xff"), JSON],
}


@pytest.mark.parametrize("name_of_body", HEADERS)
def test_headers_that_are_unusual_do_no_harm(client: SecurityClient, mount: str, name_of_body: str) -> None:
    """With a bad body: a clear 4xx. With a good one: anything but a failure."""
    headers = [*MALLORY.items(), *HEADERS[name_of_body]]
    # A simple content type from another origin is another site's doing.
    for method, path in (("POST", "/agent/hello/connect"), ("POST", "/agent/hello/stop/t"), ("POST", "/transcribe")):
        response = client.request(method, f"/{mount}{path}", b"{", headers)
        assert find_fault(response, 400, 403) is None, (path, find_fault(response, 400, 403))
    good = client.request("POST", f"/{mount}/agent/hello/connect", json.dumps(INPUT).encode(), headers)
    assert good.status in (200, 400, 403), good
    assert find_leak(good) is None
    # Django's ConditionalGetMiddleware takes "if none match" by its word.
    fine = (200, 304) if (client.adapter[:6], name_of_body) == ("django", "if none match") else (200,)
    assert client.request("GET", f"/{mount}/info", headers=[*MALLORY.items(), *HEADERS[name_of_body]]).status in fine


SERVERS_OWN: Mapping[str, list[tuple[str, str]]] = {
    "two content types": [JSON, ("content-type", "text/plain")],
    "twenty content types": [JSON] * 20,
    "upgrade": [("connection", "upgrade"), ("upgrade", "nothing"), JSON],
    "expect": [("expect", "the unexpected"), JSON],
    "a thousand headers": [*((f"x-{number}", "a") for number in range(1000)), JSON],
    "very long header": [("x-long", "a" * 100_000), JSON],
}
"""Fields about which servers have views of their own."""


@pytest.mark.parametrize("name_of_body", SERVERS_OWN)
def test_headers_that_the_server_itself_refuses(client: SecurityClient, mount: str, name_of_body: str) -> None:
    lines = [f"POST /{mount}/agent/hello/connect HTTP/1.1", "host: x", "x-user: mallory", "content-length: 1"]
    lines += [f"{name}: {value}" for name, value in SERVERS_OWN[name_of_body]]
    response = client.send_bytes("\r\n".join([*lines, "", "{"]).encode(), "POST")
    assert response is None or 400 <= response.status < 500, response
    assert response is None or find_leak(response) is None


BROKEN_HTTP: Mapping[str, bytes] = {
    "content length of words": b"content-length: many\r\n\r\n{}",
    "negative content length": b"content-length: -1\r\n\r\n{}",
    "two content lengths": b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "content length in hex": b"content-length: 0x2\r\n\r\n{}",
    "content length beyond all": b"content-length: " + b"9" * 400 + b"\r\n\r\n{}",
    "length and chunks": b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"transfer-encoding: gzip\r\n\r\n{}",
    "bad chunk size": b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "header without colon": b"nothing\r\n\r\n",
    "space before colon": b"x-a : b\r\n\r\n",
    "nul in a header": b"x-a: \0\r\n\r\n",
}
"""What is not HTTP is the server's to refuse; the runtime behind it must not come to harm."""


@pytest.mark.requirement("BODY-05")
@pytest.mark.parametrize("name_of_body", BROKEN_HTTP)
def test_http_requests_that_are_malformed(client: SecurityClient, mount: str, name_of_body: str) -> None:
    head = f"POST /{mount}/agent/hello/connect HTTP/1.1\r\nhost: x\r\nx-user: mallory\r\nconnection: close\r\n".encode()
    with client.connect_socket() as connection:
        connection.sendall(head + BROKEN_HTTP[name_of_body])
        connection.shutdown(socket.SHUT_WR)
        response = receive_response(connection, "POST")
    # 501 is what RFC 9112, section 6.1 has for a transfer coding that the server does not know. gunicorn reports bad
    # chunks by an exception where the body is read, and frameworks do not let it handle that.
    allowed = {
        ("unknown coding", 501),
        *({("bad chunk size", 500)} if client.adapter in ("flask", "django-wsgi") else ()),
    }
    assert response is None or response.status < 500 or (name_of_body, response.status) in allowed, response
    assert response is None or find_leak(response) is None


@pytest.mark.requirement("BODY-05")
def test_body_that_ends_early_does_no_harm(client: SecurityClient, mount: str) -> None:
    thread = unique("cut")
    body = json.dumps(hello_input(thread)).encode()
    head = f"POST /{mount}/agent/hello/run HTTP/1.1\r\nhost: x\r\nx-user: mallory\r\n"
    with client.connect_socket() as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body[:-1])
        connection.shutdown(socket.SHUT_WR)
        response = receive_response(connection, "POST")
    assert response is None or 400 <= response.status < 500, response
    chunked = head.encode() + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body[:-1]
    with client.connect_socket() as connection:
        connection.sendall(chunked)
        connection.shutdown(socket.SHUT_WR)
        response = receive_response(connection, "POST")
    assert response is None or 400 <= response.status < 500, response
    # An incomplete request has no effect, so there is no such thread.
    assert client.request("GET", f"/{mount}/threads/{thread}/messages", headers=MALLORY).json() == {"messages": []}


# --- what is absurdly long -----------------------------------------------------------


def test_ids_that_are_very_long(client: SecurityClient, mount: str) -> None:
    long = "x" * 1_000_000
    for body in (hello_input(long), hello_input("t", long), {**hello_input("t"), "parentRunId": long}):
        response = client.request("POST", f"/{mount}/agent/hello/suggest", body, MALLORY)
        assert response.status == 200 or find_fault(response) is None
        assert response.status != 200 or response.events()[-1]["type"] == "RUN_FINISHED"
    for path in (f"/agent/hello/stop/{long[:3000]}", f"/threads/{long[:3000]}/archive"):
        response = client.request("POST", f"/{mount}{path}", {}, MALLORY)
        assert response.status == 200 or find_fault(response, 404) is None
    digits = client.request("POST", f"/{mount}/agent/hello/suggest", with_text("1" + "0" * 10_000), MALLORY)
    assert digits.status == 200 or find_fault(digits, 400) is None, digits


def test_body_with_many_members_is_read_in_time(client: SecurityClient, mount: str) -> None:
    """Twenty thousand messages, tools or members are a lot, and no failure."""
    message = {"role": "user", "content": ""}
    for body in (
        hello_input("t", messages=[{**message, "id": str(number)} for number in range(20_000)]),
        hello_input("t", **{f"x{number}": number for number in range(20_000)}),
        hello_input("t", state={str(number): number for number in range(20_000)}),
    ):
        response = client.request("POST", f"/{mount}/agent/hello/suggest", body, MALLORY)
        assert response.status == 200, response
        assert response.events()[-1]["type"] == "RUN_FINISHED"
    # Twenty thousand equal faults are reported in a few words.
    response = client.request("POST", f"/{mount}/agent/hello/run", hello_input("t", messages=[3] * 20_000), MALLORY)
    assert find_fault(response, 400) is None
    assert len(response.body) < 4096


# --- envelopes -----------------------------------------------------------------------

BY_ENVELOPE = [route for route in ROUTES.routes if route.envelope is not None]
PARAMS = {"agentId": "hello", "threadId": "t"}

ENVELOPES: Mapping[str, Any] = {
    "null": None,
    "list": [],
    "number": 3,
    "string": "info",
    "empty": {},
    "no method": {"params": {}},
    "method null": {"method": None},
    "method empty": {"method": ""},
    "method blank": {"method": " "},
    "method number": {"method": 3},
    "method true": {"method": True},
    "method list": {"method": ["info"]},
    "method object": {"method": {"a": "info"}},
    "method unknown": {"method": "agent/fly"},
    "method cased": {"method": "INFO"},
    "method spaced": {"method": " info"},
    "method long": {"method": "x" * 100_000},
    "method nul": {"method": "\0"},
    "no params": {"method": "agent/run", "body": INPUT},
    **{
        f"params {value!r}": {"method": "agent/run", "params": value, "body": INPUT}
        for value in (None, 3, "hello", [], ["agentId"], {}, {"agentid": "hello"})
    },
    **{
        f"agent {value!r}": {"method": "agent/run", "params": {"agentId": value}, "body": INPUT}
        for value in (None, 3, True, [], {}, "", " ")
    },
    **{
        f"thread {value!r}": {"method": "agent/stop", "params": {"agentId": "hello", "threadId": value}}
        for value in (None, 3, True, [], {}, "", " ")
    },
    "stop null": {"method": "agent/stop", "params": PARAMS, "body": None},
    **{
        f"{route.envelope} without body": {"method": route.envelope, "params": PARAMS}
        for route in BY_ENVELOPE
        if route.envelope_body == "required"
    },
    **{
        f"{route.envelope} {value!r}": {"method": route.envelope, "params": PARAMS, "body": value}
        for route in BY_ENVELOPE
        if route.envelope_body != "none"
        for value in (None, 3, False, "", "{", "null", "[]", [], {"runId": 3}, {"a": 1}, "\0")
        if (route.envelope, value) != ("agent/stop", "")
    },
    **{
        f"resource {path!r}": {"method": "resource/request", "params": {"path": path, "httpMethod": "GET"}}
        for path in (
            None, 3, "", " ", "threads", "//evil.example/threads", "/\\evil", "http://evil.example/threads", "/info",
            "/agent/hello/run", "/transcribe", "/cpk-debug-events", "/inspector-metadata", "/nothing", "/",
            "/threads/%",
            "/threads/%zz/messages", "/threads/%ff/state", "/threads/a/b", "?", "/threads/a/messages/b",
            "/threads?limit=x", "/threads?cursor=[1" + "0" * 400 + ',"x"]', "/memories/%", "/" + "a" * 100_000,
        )
    },
    **{
        f"resource by {method!r}": {"method": "resource/request", "params": {"path": "/threads", "httpMethod": method}}
        for method in (None, 3, "", " ", "POST", "HEAD", "OPTIONS", "BREW", "GET POST", "G\0T", "x" * 10_000)
    },
    "resource patch": {
        "method": "resource/request",
        "params": {"path": "/threads/mine", "httpMethod": "PATCH"},
        "body": [],
    },
    "resource in itself": {
        "method": "resource/request",
        "params": {"path": "/", "httpMethod": "POST"},
        "body": {"method": "resource/request"},
    },
}  # fmt: skip


@pytest.mark.requirement("SINGLE-03")
@pytest.mark.parametrize("single", ["auto", "single-route"])
def test_single_route_envelope_that_is_invalid_gets_400(client: SecurityClient, single: str) -> None:
    faults = {}
    for name_of_body, envelope in ENVELOPES.items():
        faults[name_of_body] = find_fault(client.request("POST", f"/{single}", envelope, MALLORY))
    assert not {name_of_body: problem for name_of_body, problem in faults.items() if problem}


@pytest.mark.requirement("SINGLE-03")
@pytest.mark.parametrize("single", ["auto", "single-route"])
def test_single_route_body_that_is_not_an_envelope_gets_400(client: SecurityClient, single: str) -> None:
    faults = {
        name_of_body: find_fault(client.request("POST", f"/{single}", body, [*MALLORY.items(), JSON]), 400)
        for name_of_body, body in BODIES.items()
    }
    assert not {name_of_body: problem for name_of_body, problem in faults.items() if problem}


@pytest.mark.requirement("SINGLE-03")
@pytest.mark.parametrize("single", ["auto", "single-route"])
@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", MULTIPART, "json", "*/*"])
def test_single_route_content_type_that_is_not_json_gets_415(client: SecurityClient, single: str, kind: str) -> None:
    response = client.request("POST", f"/{single}", b'{"method":"info"}', [*MALLORY.items(), ("content-type", kind)])
    assert find_fault(response, 415) is None, find_fault(response, 415)


@pytest.mark.requirement("SINGLE-03")
def test_single_route_envelope_with_an_invalid_body_gets_400(client: SecurityClient) -> None:
    """A body that is a string is taken as it is, so that every bad body can come this way, too."""
    faults: dict[str, str | None] = {}
    for route in BY_ENVELOPE:
        if route.envelope_body == "none":
            continue
        for name_of_body, body in BODIES.items():
            try:
                text = body.decode()
            except UnicodeDecodeError:
                continue
            if route.envelope == "agent/stop" and not text.strip():
                continue
            envelope = {"method": route.envelope, "params": PARAMS, "body": text}
            faults[f"{route.envelope}: {name_of_body}"] = find_fault(
                client.request("POST", "/auto", envelope, MALLORY), 400
            )
    assert not {name_of_body: problem for name_of_body, problem in faults.items() if problem}


@pytest.mark.requirement("SINGLE-03")
@pytest.mark.parametrize("where", ["params", "body", "method", "other"])
def test_single_route_envelope_that_is_deeply_nested(client: SecurityClient, where: str) -> None:
    deep = b"[" * DEEP + b"]" * DEEP
    response = client.request(
        "POST", "/auto", b'{"method":"info","%b":%b}' % (where.encode(), deep), [*MALLORY.items(), JSON]
    )
    assert find_fault(response, 400) is None, find_fault(response, 400)


@pytest.mark.requirement("SINGLE-03")
def test_single_route_envelope_at_an_unknown_path_gets_404(client: SecurityClient, mount: str) -> None:
    """Where a POST is for no route, its body is looked at for an envelope."""
    faults = {
        name_of_body: find_fault(client.request("POST", f"/{mount}/nothing/here", envelope, MALLORY))
        for name_of_body, envelope in ENVELOPES.items()
    }
    assert not {name_of_body: problem for name_of_body, problem in faults.items() if problem}


# --- too much ------------------------------------------------------------------------

HUGE = 16 * 1024 * 1024
"""Far more than all buffers between a client and a server hold."""


def too_large(response: Response | None) -> None:
    assert find_fault(response, 413) is None, find_fault(response, 413)
    assert response is not None
    assert "max_body_bytes" in response.json()["message"]


@pytest.mark.requirement("BODY-04")
@pytest.mark.parametrize("path", [path for method, path, _ in EVERY if method == "POST"] + ["", "/nothing"])
def test_max_body_bytes_too_large_a_body_gets_413_on_every_route(client: SecurityClient, path: str) -> None:
    for extra in (1, SMALL_BODY, 20 * SMALL_BODY):
        too_large(client.request("POST", f"/small{path}", b" " * (SMALL_BODY + extra), [JSON]))
    too_large(client.request("POST", f"/small{path}", b" " * (SMALL_BODY + 1)))


@pytest.mark.requirement("BODY-04")
def test_max_body_bytes_a_body_of_exactly_the_limit_is_read(client: SecurityClient) -> None:
    body = json.dumps(hello_input(unique("fits"))).encode()
    fits = client.request("POST", "/small/agent/hello/run", body.ljust(SMALL_BODY), [JSON])
    assert fits.events()[-1]["type"] == "RUN_FINISHED"
    too_large(client.request("POST", "/small/agent/hello/run", body.ljust(SMALL_BODY + 1), [JSON]))


def head(path: str, *fields: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *fields, "", "")
    return "\r\n".join(lines).encode()


def split(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        segment = data[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(segment), segment)


LENGTH = f"content-length: {HUGE}"
CHUNKED = "transfer-encoding: chunked"

EARLY = [adapter for adapter in ADAPTERS if adapter != "django-asgi"]
"""Adapters that can respond before the body has arrived: under ASGI, Django reads all of it first."""

BEGINNINGS: Mapping[str, Callable[[], bytes]] = {
    "length": lambda: head("/small/agent/hello/run", LENGTH) + b" " * 4 * SMALL_BODY,
    "one chunk": lambda: head("/small/agent/hello/run", CHUNKED) + b"%x\r\n" % HUGE + b" " * 4 * SMALL_BODY,
    "many chunks": lambda: head("/small/agent/hello/run", CHUNKED) + b"".join(split(b" " * 4 * SMALL_BODY, 100)),
}


@pytest.mark.requirement("BODY-04")
@pytest.mark.parametrize("client", EARLY, indirect=True)
@pytest.mark.parametrize("send_body", BEGINNINGS)
def test_max_body_bytes_413_does_not_wait_for_the_rest_of_the_body(client: SecurityClient, send_body: str) -> None:
    """The client has sent enough to be refused, and is not through."""
    with client.connect_socket() as connection:
        connection.sendall(BEGINNINGS[send_body]())
        too_large(receive_response(connection, "POST"))


def send_all(connection: socket.socket, chunks: Iterator[bytes]) -> None:
    try:
        for chunk in chunks:
            connection.sendall(chunk)
    except OSError:
        pass  # the server has hung up, as it may once it has answered


@pytest.mark.requirement("BODY-04")
@pytest.mark.parametrize("send_body", ["length", "chunked"])
def test_max_body_bytes_413_arrives_while_the_client_is_sending(client: SecurityClient, send_body: str) -> None:
    data = b" " * HUGE
    for _ in range(5):
        if send_body == "length":
            chunks = iter((head("/small/agent/hello/run", LENGTH), data))
        else:
            chunks = iter((head("/small/agent/hello/run", CHUNKED), *split(data, 64 * 1024), b"0\r\n\r\n"))
        with client.connect_socket() as connection:
            sender = threading.Thread(target=send_all, args=(connection, chunks))
            sender.start()
            response = receive_response(connection, "POST")
            connection.close()
            sender.join()
        too_large(response)
    assert client.request("GET", "/small/info").status == 200


@pytest.mark.requirement("BODY-04")
@pytest.mark.parametrize("client", EARLY, indirect=True)
def test_max_body_bytes_many_large_bodies_at_once_do_not_delay_others(client: SecurityClient) -> None:
    """While some clients pour in what is too much, another is served."""
    connections = []
    try:
        for send_body in BEGINNINGS.values():
            for _ in range(5):
                connection = socket.create_connection(("127.0.0.1", client.port), timeout=45)
                connection.sendall(send_body())
                connections.append(connection)
        run = client.request("POST", "/small/agent/hello/run", hello_input(unique("other")))
        assert run.events()[-1]["type"] == "RUN_FINISHED"
        for connection in connections:
            too_large(receive_response(connection, "POST"))
    finally:
        for connection in connections:
            connection.close()


# --- bodies that do not end -------------------------------------------------------------


def unfinished(path: str, size: int, *fields: str) -> bytes:
    """Returns the beginning of a request for a run: the head, and half of the body."""
    return head(path, f"content-length: {size}", *fields) + b" " * (size // 2)


def responses_to(client: SecurityClient, requests: Sequence[bytes]) -> Iterator[Response | None]:
    """Sends each request on a connection of its own, all of which stay open, and yields the responses."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(client.connect_socket()) for _ in requests]
        for connection, request in zip(connections, requests, strict=True):
            connection.sendall(request)
        for connection in connections:
            yield receive_response(connection, "POST")


@pytest.mark.requirement("BODY-09")
@pytest.mark.parametrize("client", EARLY, indirect=True)
@pytest.mark.parametrize("path", ["/users/agent/hello/run", "/users-later/agent/hello/run", "/users", "/users/nothing"])
def test_identify_user_refuses_before_the_body_is_read(client: SecurityClient, path: str) -> None:
    """More connections than the server has threads, none of which ever sends all of its body."""
    requests = [unfinished(path, 8 * SMALL_BODY)] * 70
    for response in responses_to(client, requests):
        assert find_fault(response, 401) is None, find_fault(response, 401)
    run = client.request("POST", "/users/agent/hello/run", hello_input(unique("other")), MALLORY)
    assert run.events()[-1]["type"] == "RUN_FINISHED"


@pytest.mark.requirement("BODY-09")
@pytest.mark.parametrize("client", EARLY, indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/auto/info", 405),
        ("POST", "/multi-route/nothing", 404),
        ("PUT", "/auto/agent/hello/run", 405),
        ("POST", "/single-route", 415),
        ("POST", "/auto/threads/t/archive", 404),
        ("DELETE", "/auto/nothing", 404),
    ],
)
def test_head_of_a_request_is_judged_before_its_body(
    client: SecurityClient, method: str, path: str, status: int
) -> None:
    fields = ("host: x", "content-type: text/plain", "x-user: mallory", f"content-length: {8 * SMALL_BODY}")
    request = "\r\n".join((f"{method} {path} HTTP/1.1", *fields, "", "")).encode() + b" "
    with client.connect_socket() as connection:
        connection.sendall(request)
        response = receive_response(connection, method)
    assert find_fault(response, status) is None, find_fault(response, status)


@pytest.mark.requirement("BODY-09")
@pytest.mark.parametrize("client", EARLY, indirect=True)
@pytest.mark.parametrize("path", ["/auto/agent/hello/stop/t", "/auto/threads/t"])
def test_max_body_bytes_of_a_route_that_needs_few(client: SecurityClient, path: str) -> None:
    method = "POST" if "stop" in path else "PATCH"
    fields = ("host: x", "content-type: application/json", "x-user: mallory", f"content-length: {3 * LARGE_BODY}")
    with client.connect_socket() as connection:
        connection.sendall("\r\n".join((f"{method} {path} HTTP/1.1", *fields, "", "")).encode())
        response = receive_response(connection, method)
    assert find_fault(response, 413) is None, find_fault(response, 413)


@pytest.mark.requirement("BODY-09")
def test_identify_user_refusal_arrives_while_the_client_is_sending(client: SecurityClient) -> None:
    """Where the connection is closed too early, the client gets a reset in place of the response."""
    data = b" " * HUGE
    for _ in range(5):
        with client.connect_socket() as connection:
            chunks = iter((head("/users/agent/hello/run", LENGTH), data))
            sender = threading.Thread(target=send_all, args=(connection, chunks))
            sender.start()
            response = receive_response(connection, "POST")
            connection.close()
            sender.join()
        assert find_fault(response, 401) is None, find_fault(response, 401)


@pytest.mark.requirement("BODY-09")
@pytest.mark.parametrize("mount", ["users-by-body", "users-by-body-later"])
def test_identify_user_may_read_the_body(client: SecurityClient, mount: str) -> None:
    body = hello_input(unique("body")) | {"forwardedProps": {"user": "ada"}}
    run = client.request("POST", f"/{mount}/agent/whoami/run", body)
    assert "ada@None" in [event.get("delta") for event in run.events()]
    refused = client.request("POST", f"/{mount}/agent/whoami/run", hello_input(unique("body")))
    assert find_fault(refused, 401) is None
    too_long = client.request("POST", f"/{mount}/agent/whoami/run", b"\0", [JSON])
    assert find_fault(too_long, 500) is None, "the function's own failure"


@pytest.mark.requirement("BODY-09")
def test_identify_user_that_does_not_await_the_body_fails_with_what_to_write(client: SecurityClient) -> None:
    """Except under Django and ASGI, where the body is there already."""
    body = hello_input(unique("body")) | {"forwardedProps": {"user": "ada"}}
    response = client.request("POST", "/users-by-unread-body/agent/whoami/run", body)
    if client.adapter == "django-asgi":
        assert response.status == 200
    else:
        assert response.status == 500
        assert "await request.read()" in response.json()["message"]


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize("client", EARLY, indirect=True)
def test_max_total_body_bytes_bounds_all_bodies_together(client: SecurityClient) -> None:
    """What is left of the bound when one body has arrived in part is not enough for another."""
    whole = json.dumps(hello_input(unique("whole"))).encode().ljust(LARGE_BODY)
    begun = unfinished("/large-bodies/agent/hello/run", LARGE_BODY, "x-user: mallory")

    def send() -> Response:
        return client.request("POST", "/large-bodies/agent/hello/run", whole, [*MALLORY.items(), JSON])

    deadline = time.monotonic() + TIMEOUT_SECONDS
    refused = None
    while refused is None:  # whichever of the two arrives later is refused
        assert time.monotonic() < deadline, "the body that has arrived in part is not counted"
        with client.connect_socket() as connection:
            connection.sendall(begun)
            response = send()
            refused = response if response.status != 200 else None
            connection.sendall(b" " * (LARGE_BODY // 2))
            assert find_fault(receive_response(connection, "POST"), 400, 503) is None
    assert find_fault(refused, 503) is None, find_fault(refused, 503)
    assert refused.headers["retry-after"]
    assert send().status == 200, "the bytes of requests that have been answered still count"


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize("client", EARLY, indirect=True)
def test_max_total_body_bytes_one_user_leaves_room_for_others(client: SecurityClient) -> None:
    """A user whose body has arrived in part has no share left for another whole one."""
    path = "/shared-bodies/agent/hello/run"
    begun = unfinished(path, LARGE_BODY, "x-user: mallory")

    def send(user: Mapping[str, str]) -> Response:
        whole = json.dumps(hello_input(unique("whole"))).encode().ljust(LARGE_BODY)
        return client.request("POST", path, whole, [*user.items(), JSON])

    deadline = time.monotonic() + TIMEOUT_SECONDS
    refused = None
    while refused is None:  # whichever of her two arrives later is refused
        assert time.monotonic() < deadline, "the body that has arrived in part is not counted"
        with client.connect_socket() as connection:
            connection.sendall(begun)
            response = send(MALLORY)
            refused = response if response.status != 200 else None
            assert send(ALICE).status == 200
            connection.sendall(b" " * (LARGE_BODY // 2))
            assert find_fault(receive_response(connection, "POST"), 400, 429) is None
    assert find_fault(refused, 429) is None, find_fault(refused, 429)
    assert refused.headers["retry-after"]
    assert refused.json()["error"] == "too_many_request_bodies_of_user"
    assert send(MALLORY).status == 200, "the bytes of requests that have been answered still count"


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize("client", EARLY, indirect=True)
def test_body_timeout_seconds_ends_the_wait_for_a_body(client: SecurityClient) -> None:
    requests = [unfinished("/impatient/agent/hello/run", 8 * SMALL_BODY, "x-user: mallory")] * 5
    for response in responses_to(client, requests):
        assert find_fault(response, 408) is None, find_fault(response, 408)


WRONG_CHUNKS: Mapping[str, bytes] = {
    "no number": b"zz\r\n{}\r\n0\r\n\r\n",
    "negative": b"-1\r\n\r\n",
    "too short": b"4\r\n{}\r\n0\r\n\r\n",
    "empty": b"\r\n\r\n",
}


@pytest.mark.requirement("BODY-04")
@pytest.mark.parametrize("chunks", WRONG_CHUNKS)
@pytest.mark.parametrize("user", ["x-user: mallory", "x-nobody: 1"])
def test_wrong_chunks_are_refused_and_nothing_after_them_is_a_request(
    client: SecurityClient, user: str, chunks: str
) -> None:
    """Nobody knows where the body ends: what follows may be part of it, in the eyes of a proxy."""
    request = head("/auto/agent/hello/run", CHUNKED, user) + WRONG_CHUNKS[chunks]
    with client.connect_socket() as connection:
        connection.sendall(request + head("/auto/info", "x-user: mallory").replace(b"POST", b"GET"))
        responses = [receive_response(connection, "POST") for _ in range(3)]
    statuses = [response.status for response in responses if response is not None]
    assert set(statuses) <= {400, 401}, statuses
    assert client.request("GET", "/auto/info", headers=MALLORY).status == 200


# --- noise ---------------------------------------------------------------------------


@pytest.mark.requirement("BODY-05")
def test_socket_that_sends_noise_does_no_harm(client: SecurityClient) -> None:
    """Sends bytes that are not HTTP."""
    random_bytes = random.Random(7).randbytes
    for data in (b"\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00", *(random_bytes(200) for _ in range(30))):
        with client.connect_socket() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            response = receive_response(connection)
        assert response is None or response.status < 500, (data, response)
    assert client.request("GET", "/auto/info", headers=MALLORY).status == 200
