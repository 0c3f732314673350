"""What the doctor concludes from what it has seen; `tests/test_doctor.py` has it look at real servers."""

from __future__ import annotations

import httpx2
import pytest

from copilot_runtime._cli.doctor.advice import _SNIPPETS, snippet
from copilot_runtime._cli.doctor.checks.run import _arrives_in_buffers
from copilot_runtime._cli.doctor.cors_rules import origin_problem, preflight_problem
from copilot_runtime._cli.doctor.software import Software
from copilot_runtime._cli.doctor.watched_stream import Arrival

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
