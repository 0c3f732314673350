"""Whatever comes in: the answer is a clear 4xx in JSON, and nobody else notices.

The barrage is fired by one user and afterwards another one's thread is looked at, so that
each test also shows that what others have stored is untouched.
"""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from copilot_runtime._server.routes import ROUTES

from .fixtures.security_apps import SMALL_BODY
from .http_client import Response, hello_input, receive_response, unique
from .security_client import SecurityClient, find_fault, find_leak, serve_security_apps
from .serve import ADAPTERS

MALLORY = {"x-user": "mallory"}
ALICE = {"x-user": "alice"}
JSON = ("content-type", "application/json")
DEEP = 200_000


@pytest.fixture(scope="module", params=ADAPTERS)
def server(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(request.param) as up:
        yield up


VIEWS = ("messages", "events", "state")


def look(server: SecurityClient, mount: str, thread: str) -> dict[str, Any]:
    """All that alice's thread has to show, through REST."""
    shown = {view: server.request("GET", f"/{mount}/threads/{thread}/{view}", headers=ALICE).json() for view in VIEWS}
    listed = server.request("GET", f"/{mount}/threads", headers=ALICE).json()["threads"]
    replay = server.request("POST", f"/{mount}/agent/hello/connect", hello_input(thread, "r"), ALICE).events()
    return {**shown, "listed": listed, "replay": replay}


@pytest.fixture(params=["auto", "multi-route"])
def mount(server: SecurityClient, request: pytest.FixtureRequest) -> Iterator[str]:
    """A runtime at which to fire; afterwards alice's thread is as it was, and the runtime works."""
    mount: str = request.param
    thread = unique("alice")
    run = server.request("POST", f"/{mount}/agent/hello/run", hello_input(thread), ALICE)
    assert run.events()[-1]["type"] == "RUN_FINISHED"
    before = look(server, mount, thread)
    assert thread in [one["id"] for one in before["listed"]]
    assert before["messages"]["messages"]
    yield mount
    assert look(server, mount, thread) == before
    again = server.request("POST", f"/{mount}/agent/hello/run", hello_input(unique("after")), ALICE)
    assert again.events()[-1]["type"] == "RUN_FINISHED"


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


@pytest.mark.parametrize(("method", "path", "name"), EVERY, ids=[f"{method} {path}" for method, path, _ in EVERY])
def test_every_route_refuses_every_bad_body(
    server: SecurityClient, mount: str, method: str, path: str, name: str
) -> None:
    faults: dict[str, str | None] = {}
    usual = server.request(method, f"/{mount}{path}", b"{}", [*MALLORY.items(), JSON])
    for what, body in BODIES.items():
        answer = server.request(method, f"/{mount}{path}", body, [*MALLORY.items(), JSON])
        if (method, name) in READS_BODY and (name, what) not in MAY_BE_EMPTY:
            # A thread that is not there may be said before its body is looked at.
            faults[what] = find_fault(answer, *((400, 404) if name == "threads/update" else (400,)))
        elif (answer.status, answer.body) != (usual.status, usual.body) and "version" not in str(usual.body):
            faults[what] = f"{usual.status} became {answer.status} {answer.body[:200]!r}"
        else:
            faults[what] = find_leak(answer) or (find_fault(answer) if answer.status >= 400 else None)
    assert not {what: said for what, said in faults.items() if said}


def test_bad_body_for_a_thread_that_exists(server: SecurityClient, mount: str) -> None:
    thread = unique("mine")
    server.request("POST", f"/{mount}/agent/hello/run", hello_input(thread), MALLORY)
    wrong = [b"", b"null", b"[]", b"{}", b'{"name":3}', b'{"archived":"yes"}', b'{"name":null}', b'{"other":1}']
    for body in (*BODIES.values(), *wrong):
        answer = server.request("PATCH", f"/{mount}/threads/{thread}", body, [*MALLORY.items(), JSON])
        assert find_fault(answer, 400) is None, (body[:60], find_fault(answer, 400))
    (mine,) = [
        one
        for one in server.request("GET", f"/{mount}/threads", headers=MALLORY).json()["threads"]
        if one["id"] == thread
    ]
    assert (mine["name"], mine["archived"]) == (None, False)


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


@pytest.mark.parametrize("route", ["run", "connect", "suggest"])
def test_wrong_members_of_a_run_input(server: SecurityClient, mount: str, route: str) -> None:
    faults = []
    for name, value in MEMBERS:
        body = {key: one for key, one in INPUT.items() if key != name}
        if value is not MISSING:
            body[name] = value
        answer = server.request("POST", f"/{mount}/agent/hello/{route}", body, MALLORY)
        said = find_fault(answer, 400)
        if said is None and answer.json()["error"] != "Invalid request body":
            said = f"says {answer.json()}"
        # Its reader wants to know which member is meant.
        if said is None and name not in answer.json()["details"].replace("_", ""):
            names_it = name.lower() in answer.json()["details"].replace("_", "").lower()
            said = None if names_it else f"does not name it: {answer.json()['details']}"
        faults += [(name, value if value is not MISSING else "missing", said)] if said else []
    assert not faults


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
def test_wrong_stop(server: SecurityClient, mount: str, body: Any, error: str) -> None:
    answer = server.request("POST", f"/{mount}/agent/hello/stop/t", body, MALLORY)
    assert find_fault(answer, 400) is None, find_fault(answer, 400)
    assert answer.json()["error"] == error


UNKNOWN = ("nobody", "Hello", "HELLO", "constructor", "__class__", "toString", "%00", "hello%00", "%20", "a" * 3000)


@pytest.mark.parametrize("route", ["run", "connect", "suggest", "stop/t"])
def test_unknown_agent(server: SecurityClient, mount: str, route: str) -> None:
    for agent in UNKNOWN:
        body = {} if route == "stop/t" else INPUT
        answer = server.request("POST", f"/{mount}/agent/{agent}/{route}", body, MALLORY)
        assert find_fault(answer, 404) is None, find_fault(answer, 404)
        # Whose fault it is comes before what else is wrong.
        if route != "stop/t":
            assert server.request("POST", f"/{mount}/agent/{agent}/{route}", b"{", MALLORY).status == 404


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


def test_bad_uploads(server: SecurityClient, mount: str) -> None:
    faults = []
    for kind, body in UPLOADS:
        answer = server.request("POST", f"/{mount}/transcribe", body, [*MALLORY.items(), ("content-type", kind)])
        said = find_fault(answer, 400)
        if said is None and not isinstance(answer.json().get("retryable"), bool):
            said = f"not of the shape that the client knows: {answer.json()}"
        faults += [(kind, body[:80], said)] if said else []
    assert not faults


def test_uploads_are_read_at_all(server: SecurityClient, mount: str) -> None:
    answer = server.request(
        "POST", f"/{mount}/transcribe", form(AUDIO), [*MALLORY.items(), ("content-type", MULTIPART)]
    )
    assert answer.json() == {"text": "3 bytes", "size": 3, "type": "audio/webm"}


# --- paths ---------------------------------------------------------------------------

BAD_ESCAPES = ("%", "%1", "%zz", "%-1", "a%", "%ff", "%c0%af", "%ed%a0%80", "%E0%A4%A", "%%")
"""Pieces of a path that cannot be decoded: the route is unknown (docs/protocol.md, section 2)."""


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
def test_bad_percent_escapes(server: SecurityClient, mount: str, method: str, pattern: str) -> None:
    for piece in BAD_ESCAPES:
        path = pattern.replace("@", piece)
        answer = server.request(method, f"/{mount}{path}", INPUT if method == "POST" else None, MALLORY)
        assert find_fault(answer, 404) is None, (method, path, find_fault(answer, 404))


PATHS = (
    "/nothing", "/info/more", "/INFO", "/in%66o", "/.", "/..", "/../info/x", "/%2e%2e/%2e%2e", "/%00", "/\\", "/;",
    "/threads/a/b", "/agent", "/agent/hello", "/agent//run", "/agent/hello/run/", "/agent/hello/fly",
    "/agent/hello/stop",
    "/threads/%20/state", "/threads/a%2Fb/state", "/threads/%E2%82%AC/state", "/threads//state", "/a" * 1500,
    "/" + "a" * 3000, "/threads/" + "%C3%A9" * 500 + "/messages", "/agent/" + "%00" * 500 + "/run",
    "/info?" + "a=b&" * 800,
    "/threads?limit=" + "9" * 3000, "/threads?cursor=" + "[" * 3000, "/info;a=b", "/info%3Fa=b", "/info%23", "//////",
)  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_strange_paths(server: SecurityClient, mount: str, method: str) -> None:
    faults = []
    for path in PATHS:
        answer = server.request(method, f"/{mount}{path}", INPUT if method != "GET" else None, MALLORY)
        said = find_leak(answer) or (find_fault(answer) if answer.status >= 400 else None)
        faults += [(path[:60], said)] if said else []
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


@pytest.mark.parametrize("what", RAW_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_raw_targets(server: SecurityClient, what: str, method: str) -> None:
    head = b"\r\n".join(
        (method.encode() + b" " + RAW_PATHS[what] + b" HTTP/1.1", b"host: x", b"x-user: mallory", b"content-length: 0")
    )
    answer = server.send_bytes(head + b"\r\nconnection: close\r\n\r\n", method)
    if answer is not None:
        assert answer.status < 500, answer
        assert find_leak(answer) is None
        if answer.headers.get("content-type") == "application/json" and answer.status >= 400:
            assert find_fault(answer) is None
    assert server.request("GET", "/auto/info", headers=MALLORY).status == 200


QUERIES = (
        "limit=0", "limit=-1", "limit=1.5", "limit=ten", "limit=1001", "limit=%D9%A3", "limit=%00", "limit=1e3",
        "limit=" + "1" * 50, "cursor=x", "cursor=%5B%5D", "cursor=3", "cursor=null", "cursor=%5B1%5D",
        "cursor=%5B1,2,3%5D",
        "cursor=%7B%7D", "cursor=" + "%5B" * 1000, "cursor=%ff", "cursor=%5B%22x%22,%22y%22%5D",
        "cursor=%5Bnull,null%5D",
        "cursor=%5B1" + "0" * 400 + ",%22x%22%5D", "cursor=%5B[],%22x%22%5D",
)  # fmt: skip


def test_bad_queries_of_the_thread_list(server: SecurityClient, mount: str) -> None:
    faults = {
        query: find_fault(server.request("GET", f"/{mount}/threads?{query}", headers=MALLORY), 400) for query in QUERIES
    }
    assert not {query: said for query, said in faults.items() if said}


# --- methods and headers -------------------------------------------------------------

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LOCK")


UNKNOWN_TO_FLASK = ("PROPFIND", "LOCK")
"""Flask's rules list their methods; what is not among them it refuses itself, in HTML."""


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_a_route_has_not(server: SecurityClient, mount: str, method: str) -> None:
    for route in ROUTES.routes:
        if method in route.methods:
            continue
        answer = server.request(method, f"/{mount}{target(route.pattern)}", headers=MALLORY)
        assert answer.status == 405, (route.pattern, answer)
        if server.adapter == "flask" and method in UNKNOWN_TO_FLASK:
            continue
        assert answer.headers["allow"] == ", ".join(route.methods)
        assert answer.headers["content-type"] == "application/json"
        if method == "HEAD":
            assert answer.body == b""
        else:
            assert find_fault(answer, 405) is None


@pytest.mark.parametrize("method", [*METHODS, "CONNECT", "get", "BREW", "G\xe9T", "A" * 300])
def test_methods_on_no_route(server: SecurityClient, mount: str, method: str) -> None:
    for path in ("/nothing", "", "/"):
        data = f"{method} /{mount}{path} HTTP/1.1\r\nhost: x\r\nx-user: mallory\r\nconnection: close\r\n\r\n"
        answer = server.send_bytes(data.encode("latin-1"), method)
        assert answer is None or 400 <= answer.status < 500 or (method, answer.status) == ("A" * 300, 501), answer
        own = UNKNOWN_TO_FLASK if server.adapter == "flask" else ()
        if answer is not None and method in METHODS and method not in ("HEAD", *own):
            assert find_fault(answer) is None, find_fault(answer)


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


@pytest.mark.parametrize("what", HEADERS)
def test_strange_headers(server: SecurityClient, mount: str, what: str) -> None:
    """With a bad body: a clear 4xx. With a good one: anything but a failure."""
    headers = [*MALLORY.items(), *HEADERS[what]]
    # A simple content type from another origin is another site's doing.
    for method, path in (("POST", "/agent/hello/connect"), ("POST", "/agent/hello/stop/t"), ("POST", "/transcribe")):
        answer = server.request(method, f"/{mount}{path}", b"{", headers)
        assert find_fault(answer, 400, 403) is None, (path, find_fault(answer, 400, 403))
    good = server.request("POST", f"/{mount}/agent/hello/connect", json.dumps(INPUT).encode(), headers)
    assert good.status in (200, 400, 403), good
    assert find_leak(good) is None
    # Django's ConditionalGetMiddleware takes "if none match" by its word.
    fine = (200, 304) if (server.adapter[:6], what) == ("django", "if none match") else (200,)
    assert server.request("GET", f"/{mount}/info", headers=[*MALLORY.items(), *HEADERS[what]]).status in fine


SERVERS_OWN: Mapping[str, list[tuple[str, str]]] = {
    "two content types": [JSON, ("content-type", "text/plain")],
    "twenty content types": [JSON] * 20,
    "upgrade": [("connection", "upgrade"), ("upgrade", "nothing"), JSON],
    "expect": [("expect", "the unexpected"), JSON],
    "a thousand headers": [*((f"x-{number}", "a") for number in range(1000)), JSON],
    "very long header": [("x-long", "a" * 100_000), JSON],
}
"""Fields about which servers have views of their own."""


@pytest.mark.parametrize("what", SERVERS_OWN)
def test_headers_that_servers_judge(server: SecurityClient, mount: str, what: str) -> None:
    lines = [f"POST /{mount}/agent/hello/connect HTTP/1.1", "host: x", "x-user: mallory", "content-length: 1"]
    lines += [f"{name}: {value}" for name, value in SERVERS_OWN[what]]
    answer = server.send_bytes("\r\n".join([*lines, "", "{"]).encode(), "POST")
    assert answer is None or 400 <= answer.status < 500, answer
    assert answer is None or find_leak(answer) is None


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


@pytest.mark.parametrize("what", BROKEN_HTTP)
def test_broken_http(server: SecurityClient, mount: str, what: str) -> None:
    head = f"POST /{mount}/agent/hello/connect HTTP/1.1\r\nhost: x\r\nx-user: mallory\r\nconnection: close\r\n".encode()
    with server.connect_socket() as connection:
        connection.sendall(head + BROKEN_HTTP[what])
        connection.shutdown(socket.SHUT_WR)
        answer = receive_response(connection, "POST")
    # 501 is what RFC 9112, section 6.1 has for a transfer coding that the server does not know. gunicorn tells of bad
    # chunks by an exception where the body is read, and frameworks keep it from hearing of that again.
    theirs = {
        ("unknown coding", 501),
        *({("bad chunk size", 500)} if server.adapter in ("flask", "django-wsgi") else ()),
    }
    assert answer is None or answer.status < 500 or (what, answer.status) in theirs, answer
    assert answer is None or find_leak(answer) is None


def test_a_body_that_breaks_off(server: SecurityClient, mount: str) -> None:
    thread = unique("cut")
    body = json.dumps(hello_input(thread)).encode()
    head = f"POST /{mount}/agent/hello/run HTTP/1.1\r\nhost: x\r\nx-user: mallory\r\n"
    with server.connect_socket() as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body[:-1])
        connection.shutdown(socket.SHUT_WR)
        answer = receive_response(connection, "POST")
    assert answer is None or 400 <= answer.status < 500, answer
    chunked = head.encode() + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body[:-1]
    with server.connect_socket() as connection:
        connection.sendall(chunked)
        connection.shutdown(socket.SHUT_WR)
        answer = receive_response(connection, "POST")
    assert answer is None or 400 <= answer.status < 500, answer
    # Half a request is none, so there is no such thread.
    assert server.request("GET", f"/{mount}/threads/{thread}/messages", headers=MALLORY).json() == {"messages": []}


# --- what is absurdly long -----------------------------------------------------------


def test_absurdly_long_ids(server: SecurityClient, mount: str) -> None:
    long = "x" * 1_000_000
    for body in (hello_input(long), hello_input("t", long), {**hello_input("t"), "parentRunId": long}):
        answer = server.request("POST", f"/{mount}/agent/hello/suggest", body, MALLORY)
        assert answer.status == 200 or find_fault(answer) is None
        assert answer.status != 200 or answer.events()[-1]["type"] == "RUN_FINISHED"
    for path in (f"/agent/hello/stop/{long[:3000]}", f"/threads/{long[:3000]}/archive"):
        answer = server.request("POST", f"/{mount}{path}", {}, MALLORY)
        assert answer.status == 200 or find_fault(answer, 404) is None
    digits = server.request("POST", f"/{mount}/agent/hello/suggest", with_text("1" + "0" * 10_000), MALLORY)
    assert digits.status == 200 or find_fault(digits, 400) is None, digits


def test_many_small_things(server: SecurityClient, mount: str) -> None:
    """Twenty thousand messages, tools or members are a lot, and no failure."""
    message = {"role": "user", "content": ""}
    for body in (
        hello_input("t", messages=[{**message, "id": str(number)} for number in range(20_000)]),
        hello_input("t", **{f"x{number}": number for number in range(20_000)}),
        hello_input("t", state={str(number): number for number in range(20_000)}),
    ):
        answer = server.request("POST", f"/{mount}/agent/hello/suggest", body, MALLORY)
        assert answer.status == 200, answer
        assert answer.events()[-1]["type"] == "RUN_FINISHED"
    # The same thing wrong twenty thousand times is told in a few words.
    answer = server.request("POST", f"/{mount}/agent/hello/run", hello_input("t", messages=[3] * 20_000), MALLORY)
    assert find_fault(answer, 400) is None
    assert len(answer.body) < 4096


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


@pytest.mark.parametrize("single", ["auto", "single-route"])
def test_every_bad_envelope(server: SecurityClient, single: str) -> None:
    faults = {}
    for what, envelope in ENVELOPES.items():
        faults[what] = find_fault(server.request("POST", f"/{single}", envelope, MALLORY))
    assert not {what: said for what, said in faults.items() if said}


@pytest.mark.parametrize("single", ["auto", "single-route"])
def test_every_bad_body_in_place_of_an_envelope(server: SecurityClient, single: str) -> None:
    faults = {
        what: find_fault(server.request("POST", f"/{single}", body, [*MALLORY.items(), JSON]), 400)
        for what, body in BODIES.items()
    }
    assert not {what: said for what, said in faults.items() if said}


@pytest.mark.parametrize("single", ["auto", "single-route"])
@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", MULTIPART, "json", "*/*"])
def test_envelope_of_another_type(server: SecurityClient, single: str, kind: str) -> None:
    answer = server.request("POST", f"/{single}", b'{"method":"info"}', [*MALLORY.items(), ("content-type", kind)])
    assert find_fault(answer, 415) is None, find_fault(answer, 415)


def test_every_bad_body_in_an_envelope(server: SecurityClient) -> None:
    """A body that is a string is taken as it is, so that every bad body can come this way, too."""
    faults: dict[str, str | None] = {}
    for route in BY_ENVELOPE:
        if route.envelope_body == "none":
            continue
        for what, body in BODIES.items():
            try:
                text = body.decode()
            except UnicodeDecodeError:
                continue
            if route.envelope == "agent/stop" and not text.strip():
                continue
            envelope = {"method": route.envelope, "params": PARAMS, "body": text}
            faults[f"{route.envelope}: {what}"] = find_fault(server.request("POST", "/auto", envelope, MALLORY), 400)
    assert not {what: said for what, said in faults.items() if said}


@pytest.mark.parametrize("where", ["params", "body", "method", "other"])
def test_deep_envelope(server: SecurityClient, where: str) -> None:
    deep = b"[" * DEEP + b"]" * DEEP
    answer = server.request(
        "POST", "/auto", b'{"method":"info","%b":%b}' % (where.encode(), deep), [*MALLORY.items(), JSON]
    )
    assert find_fault(answer, 400) is None, find_fault(answer, 400)


def test_every_bad_envelope_at_an_unknown_path(server: SecurityClient, mount: str) -> None:
    """Where a POST is for no route, its body is looked at for an envelope."""
    faults = {
        what: find_fault(server.request("POST", f"/{mount}/nothing/here", envelope, MALLORY))
        for what, envelope in ENVELOPES.items()
    }
    assert not {what: said for what, said in faults.items() if said}


# --- too much ------------------------------------------------------------------------

HUGE = 16 * 1024 * 1024
"""Far more than all buffers between a client and a server hold."""


def too_large(answer: Response | None) -> None:
    assert find_fault(answer, 413) is None, find_fault(answer, 413)
    assert answer is not None
    assert "max_body_bytes" in answer.json()["message"]


@pytest.mark.parametrize("path", [path for method, path, _ in EVERY if method == "POST"] + ["", "/nothing"])
def test_too_large_on_every_route(server: SecurityClient, path: str) -> None:
    for extra in (1, SMALL_BODY, 20 * SMALL_BODY):
        too_large(server.request("POST", f"/small{path}", b" " * (SMALL_BODY + extra), [JSON]))
    too_large(server.request("POST", f"/small{path}", b" " * (SMALL_BODY + 1)))


def test_just_small_enough(server: SecurityClient) -> None:
    body = json.dumps(hello_input(unique("fits"))).encode()
    fits = server.request("POST", "/small/agent/hello/run", body.ljust(SMALL_BODY), [JSON])
    assert fits.events()[-1]["type"] == "RUN_FINISHED"
    too_large(server.request("POST", "/small/agent/hello/run", body.ljust(SMALL_BODY + 1), [JSON]))


def head(path: str, *fields: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *fields, "", "")
    return "\r\n".join(lines).encode()


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


LENGTH = f"content-length: {HUGE}"
CHUNKED = "transfer-encoding: chunked"

EARLY = [adapter for adapter in ADAPTERS if adapter != "django-asgi"]
"""Where an answer can come before the body has: under ASGI, Django takes in all of it before anybody else's turn."""

BEGINNINGS: Mapping[str, Callable[[], bytes]] = {
    "length": lambda: head("/small/agent/hello/run", LENGTH) + b" " * 4 * SMALL_BODY,
    "one chunk": lambda: head("/small/agent/hello/run", CHUNKED) + b"%x\r\n" % HUGE + b" " * 4 * SMALL_BODY,
    "many chunks": lambda: head("/small/agent/hello/run", CHUNKED) + b"".join(chunks(b" " * 4 * SMALL_BODY, 100)),
}


@pytest.mark.parametrize("server", EARLY, indirect=True)
@pytest.mark.parametrize("how", BEGINNINGS)
def test_the_answer_does_not_wait_for_the_rest(server: SecurityClient, how: str) -> None:
    """The client has sent enough to be refused, and is not through."""
    with server.connect_socket() as connection:
        connection.sendall(BEGINNINGS[how]())
        too_large(receive_response(connection, "POST"))


def send_all(connection: socket.socket, pieces: Iterator[bytes]) -> None:
    try:
        for piece in pieces:
            connection.sendall(piece)
    except OSError:
        pass  # the server has hung up, as it may once it has answered


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_the_answer_arrives_while_the_client_is_still_sending(server: SecurityClient, how: str) -> None:
    data = b" " * HUGE
    for _ in range(5):
        if how == "length":
            pieces = iter((head("/small/agent/hello/run", LENGTH), data))
        else:
            pieces = iter((head("/small/agent/hello/run", CHUNKED), *chunks(data, 64 * 1024), b"0\r\n\r\n"))
        with server.connect_socket() as connection:
            sender = threading.Thread(target=send_all, args=(connection, pieces))
            sender.start()
            answer = receive_response(connection, "POST")
            connection.close()
            sender.join()
        too_large(answer)
    assert server.request("GET", "/small/info").status == 200


@pytest.mark.parametrize("server", EARLY, indirect=True)
def test_many_large_ones_at_once_leave_the_others_alone(server: SecurityClient) -> None:
    """While some clients pour in what is too much, another is served."""
    connections = []
    try:
        for how in BEGINNINGS.values():
            for _ in range(5):
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=45)
                connection.sendall(how())
                connections.append(connection)
        run = server.request("POST", "/small/agent/hello/run", hello_input(unique("other")))
        assert run.events()[-1]["type"] == "RUN_FINISHED"
        for connection in connections:
            too_large(receive_response(connection, "POST"))
    finally:
        for connection in connections:
            connection.close()


# --- noise ---------------------------------------------------------------------------


def test_noise_on_the_socket(server: SecurityClient) -> None:
    """Bytes that are no HTTP at all."""
    random_bytes = random.Random(7).randbytes
    for data in (b"\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00", *(random_bytes(200) for _ in range(30))):
        with server.connect_socket() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = receive_response(connection)
        assert answer is None or answer.status < 500, (data, answer)
    assert server.request("GET", "/auto/info", headers=MALLORY).status == 200
