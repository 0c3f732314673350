"""What the doctor concludes from what it has seen; `tests/test_doctor.py` has it look at real servers."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from copilot_runtime._cli.doctor.advice import _SNIPPETS, snippet
from copilot_runtime._cli.doctor.checks.bodies import check_bodies
from copilot_runtime._cli.doctor.checks.run import _arrives_in_buffers, _headers, _stop
from copilot_runtime._cli.doctor.cors_rules import origin_problem, preflight_problem
from copilot_runtime._cli.doctor.examination import Examination
from copilot_runtime._cli.doctor.findings import Status
from copilot_runtime._cli.doctor.live_run import RunRecord, _Watcher
from copilot_runtime._cli.doctor.mount import Answer, Unanswered
from copilot_runtime._cli.doctor.software import Software
from copilot_runtime._cli.doctor.stream_parser import StreamParser
from copilot_runtime._cli.doctor.watched_stream import Arrival, WatchedStream

from .engine_helpers import bounded

pytestmark = pytest.mark.requirement("CLI-03")

PAGE = "https://page.example"
ORIGIN, CREDENTIALS = "access-control-allow-origin", "access-control-allow-credentials"
METHODS, HEADERS = "access-control-allow-methods", "access-control-allow-headers"


@pytest.mark.parametrize(
    ("fields", "without", "with_credentials"),
    [
        ([], "has no Access-Control-Allow-Origin", "has no Access-Control-Allow-Origin"),
        ([(ORIGIN, "*")], "", "has Access-Control-Allow-Origin: *"),
        ([(ORIGIN, "*"), (CREDENTIALS, "true")], "", "has Access-Control-Allow-Origin: *"),
        ([(ORIGIN, PAGE)], "", "has no Access-Control-Allow-Credentials: true"),
        ([(ORIGIN, PAGE), (CREDENTIALS, "True")], "", "has no Access-Control-Allow-Credentials: true"),
        ([(ORIGIN, PAGE), (CREDENTIALS, "true")], "", ""),
        ([(ORIGIN, f"{PAGE}/")], f"Allow-Origin: {PAGE}/", f"Allow-Origin: {PAGE}/"),
        ([(ORIGIN, PAGE), (ORIGIN, "*")], "more than once", "more than once"),
        ([(ORIGIN, f"{PAGE}, {PAGE}")], "more than once", "more than once"),
    ],
)
def test_cors_of_responses(fields: list[tuple[str, str]], without: str, with_credentials: str) -> None:
    headers = httpx2.Headers(fields)
    for expected, mode in ((without, False), (with_credentials, True)):
        problem = origin_problem(headers, PAGE, with_credentials=mode)
        assert expected in problem
        assert bool(expected) == bool(problem)


@pytest.mark.parametrize(
    ("status", "fields", "with_credentials", "method", "names", "expected"),
    [
        (204, {HEADERS: "*"}, False, "POST", ["content-type"], ""),
        (200, {HEADERS: "Content-Type"}, False, "POST", ["content-type"], ""),
        (405, {HEADERS: "*"}, False, "POST", ["content-type"], "is answered with 405"),
        (307, {HEADERS: "*"}, False, "POST", ["content-type"], "is answered with 307"),
        (204, {}, False, "POST", ["content-type"], "has no content-type in"),
        (204, {HEADERS: "*"}, False, "POST", ["authorization"], "has no authorization in"),
        (204, {HEADERS: "*, Authorization"}, False, "POST", ["authorization", "x-tenant"], ""),
        (204, {HEADERS: "*"}, True, "POST", ["content-type"], "has no content-type in"),
        (204, {HEADERS: "content-type"}, True, "POST", ["content-type"], ""),
        (204, {HEADERS: "*"}, False, "DELETE", ["content-type"], "has no DELETE in"),
        (204, {HEADERS: "*", METHODS: "*"}, False, "DELETE", ["content-type"], ""),
        (204, {HEADERS: "content-type", METHODS: "*"}, True, "DELETE", ["content-type"], "has no DELETE in"),
        (204, {HEADERS: "content-type", METHODS: "GET, DELETE"}, True, "DELETE", ["content-type"], ""),
    ],
)
def test_cors_of_preflights(
    status: int, fields: dict[str, str], with_credentials: bool, method: str, names: list[str], expected: str
) -> None:
    headers = httpx2.Headers({ORIGIN: PAGE, CREDENTIALS: "true", **fields})
    problem = preflight_problem(
        status, headers, PAGE, with_credentials=with_credentials, method=method, header_names=names
    )
    assert expected in problem
    assert bool(expected) == bool(problem)


def arrivals(*bursts: tuple[float, int, int]) -> list[Arrival]:
    """Returns events of bursts, each a time, a number of events, and their size."""
    return [Arrival(time, "TEXT_MESSAGE_CONTENT", size, 1) for time, count, size in bursts for _ in range(count)]


@pytest.mark.parametrize(
    ("bursts", "expected"),
    [
        ([(0, 40, 100), (2, 41, 100), (4, 40, 100), (5, 3, 100)], True),  # a buffer of 4 KB
        ([(n / 20, 1, 100) for n in range(60)], False),  # one by one
        ([(0, 3, 100), (1, 5, 90), (2, 6, 90), (3, 2, 90)], False),  # a model whose tokens come together
        ([(0, 1, 9_000), (1, 1, 9_000), (2, 1, 9_000)], False),  # large events
        ([(0, 90, 100), (2, 2, 100)], False),
    ],
)
def test_buffering_that_passes_full_buffers_on(bursts: list[tuple[float, int, int]], expected: bool) -> None:
    assert _arrives_in_buffers(arrivals(*bursts)) is expected


def watched(*arrived: Arrival, headers_seconds: float = 0.01, end_seconds: float | None = None) -> WatchedStream:
    """Returns a stream with what has arrived of it, and without a connection."""
    stream = WatchedStream.__new__(WatchedStream)
    stream.status, stream.headers = 200, httpx2.Headers({"content-type": "text/event-stream"})
    stream.arrivals, stream.headers_seconds, stream.end_seconds = list(arrived), headers_seconds, end_seconds
    stream.is_abandoned, stream.failure = False, ""
    stream._started, stream._changed = time.monotonic(), asyncio.Event()
    return stream


@pytest.mark.parametrize(("info_seconds", "expected"), [(0.01, Status.WRONG), (1.2, Status.OK)])
def test_headers_are_late_only_if_other_responses_are_not(info_seconds: float, expected: Status) -> None:
    stream = watched(Arrival(1.31, "RUN_STARTED", 80, 1), headers_seconds=1.3, end_seconds=1.4)
    found = _headers(examination(), RunRecord(stream, "t", alone_info_seconds=info_seconds))
    assert found is not None
    assert found.status is expected


@bounded
async def test_stop_that_comes_after_the_end_is_not_called_lost() -> None:
    stream = watched(Arrival(0.1, "RUN_STARTED", 80, 1))

    def end() -> None:
        stream.arrivals.append(Arrival(0.2, "RUN_FINISHED", 80, 2))
        stream.end_seconds = 0.2
        stream._changed.set()

    async def refuse(*_: object, **__: object) -> Answer:
        asyncio.get_running_loop().call_later(0.05, end)
        return Answer(status=200, headers=httpx2.Headers(), body=b'{"stopped": false}', seconds=0.01)

    looked_at = examination(mount=SimpleNamespace(timeout_seconds=1, call_agent=refuse))
    record = RunRecord(stream, "t", alone_info_seconds=0.01)
    await _Watcher(looked_at, "default", record).stop("r")
    found = _stop(looked_at, record)
    assert found is not None
    assert found.status is Status.SKIPPED


@pytest.mark.parametrize(
    ("large", "small", "expected"),
    [
        (200, 200, [("ok", "8 MiB")]),
        (413, 200, [("wrong", "gets 413")]),
        (502, 200, [("wrong", "gets 502")]),
        (None, 200, [("wrong", "closed")]),
        (503, 503, [("skipped", "gets 503")]),
        (None, None, [("skipped", "closed")]),
        (429, 200, [("skipped", "gets 429")]),
        ("timeout", 200, [("skipped", "may be slow")]),
        (403, 200, [("wrong", "gets 403")]),  # a firewall that reads so much of a body
        (401, 401, [("skipped", "gets 401")]),
    ],
)
@bounded
async def test_bodies_are_called_too_large_only_if_small_ones_are_answered(
    large: int | str | None, small: int | None, expected: list[tuple[str, str]]
) -> None:
    async def call_agent(_action: str, _agent: str, body: Any, **_: object) -> Answer:
        status = large if len(str(body)) > 1_000_000 else small
        if not isinstance(status, int):
            raise Unanswered("the connection was closed", is_broken_off=True, is_timeout=status == "timeout")
        return Answer(status=status, headers=httpx2.Headers(), body=b"", seconds=0.01)

    mount = SimpleNamespace(timeout_seconds=1, call_agent=call_agent)
    found = await check_bodies(examination(mount=mount, agent="default"))
    assert [str(each.status) for each in found] == [status for status, _ in expected]
    assert all(text in each.summary for each, (_, text) in zip(found, expected, strict=True))


def parts(*pieces: bytes) -> list[tuple[str, str]]:
    """Returns the kinds and texts of what arrives in some pieces of data."""
    stream = watched()
    stream._parser, stream._counted_bytes, stream._pieces = StreamParser(), 0, 0
    for piece in pieces:
        stream._take(piece)
    return [(arrival.kind, arrival.text) for arrival in stream.arrivals]


@pytest.mark.parametrize(
    "text",
    [
        b': hello\n\ndata: {"type": "A"}\n\n: ping\n\n',
        b': hello\ndata: {"type": "A"}\n\n: ping\n',  # a comment needs no empty line
        b':hello\n\nevent: a\nid: 1\ndata:{"type":\ndata: "A"}\n\n:ping\n\n\n',
    ],
)
def test_streams_are_read_with_any_line_ends_and_wherever_they_are_cut(text: bytes) -> None:
    for line_end in (b"\n", b"\r\n", b"\r"):
        raw = text.replace(b"\n", line_end)
        for size in (1, 2, 7, len(raw)):
            pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
            assert parts(*pieces) == [(":", "hello"), ("A", ""), (":", "ping")]


def examination(**members: object) -> Examination:
    """Returns what checks are called with, as far as the rules look at it."""
    return cast("Examination", SimpleNamespace(snippet=lambda *_: "", **members))


@pytest.mark.parametrize(
    ("headers", "page", "names"),
    [
        ({"server": "nginx/1.27.0"}, '{"detail":"Not Found"}', ("nginx", "fastapi")),
        ({"server": "uvicorn"}, "Not Found", ("uvicorn", "starlette")),
        ({"server": "gunicorn", "via": "1.1 Caddy"}, "", ("gunicorn", "caddy")),
        ({"cf-ray": "8a", "server": "cloudflare"}, "", ("cloudflare",)),
        ({"server": "waitress"}, "If you entered the URL manually please check", ("waitress",)),
        ({}, "<h1>Not Found</h1><p>The requested resource was not found on this server.</p>", ("django",)),
        ({}, "<h1>Something else</h1>", ()),
    ],
)
def test_software_that_is_recognised(headers: dict[str, str], page: str, names: tuple[str, ...]) -> None:
    assert Software().seen_in(headers).seen_in_page(page).names == names


def test_snippets_are_complete() -> None:
    values = {"path": "/api/copilotkit", "origin": PAGE, "credentials": "False"}
    for problem, table in _SNIPPETS.items():
        for name in table:
            text = snippet(problem, Software((name,)), **values)
            assert text
            assert "$path" not in text
            assert "$origin" not in text
    assert snippet("body", Software(("unknown",)), **values) == ""
