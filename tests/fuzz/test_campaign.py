"""Short campaigns with a fixed seed, and the fuzzer's own parts."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from copilot_runtime._server.routes import ROUTES

from ..fixtures.fuzz_app import SECRET, STORES
from ..serve import ADAPTERS
from ..servers import RunningServer
from .campaign import Options, attack, serve
from .client import Answer
from .corpus import read_corpus
from .oracle import ALICE_MARK, find_fault, find_tracebacks
from .requests import FUZZ_USERS, RIGHT, WRONG, Draft, Exchange, mark
from .sessions import KINDS, make_session

REQUESTS = 2000
"""Of each campaign; ``python -m tests.fuzz`` plays longer ones."""
SEED = 13
MAX_GROWTH = 64 * 1024 * 1024
"""How many bytes a server may take in a campaign. It keeps the threads of the last ones, and caches."""


@pytest.fixture(scope="module", params=ADAPTERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, RunningServer]]:
    with serve(request.param) as running:
        yield request.param, running


@pytest.mark.requirement("FUZZ-01")
@pytest.mark.parametrize("store", [STORES[0], pytest.param(STORES[1], marks=pytest.mark.one_of_each_stack)])
def test_fuzz_campaign(server: tuple[str, RunningServer], store: str) -> None:
    adapter, running = server
    result = attack(running, Options(requests=REQUESTS, seed=SEED, adapter=adapter, store=store))
    assert result.is_clean, "\n".join((result.summary(), *result.faults, *result.tracebacks))
    assert result.requests >= REQUESTS
    assert result.memory[-1] - result.memory[1] < MAX_GROWTH


# --- the fuzzer itself ------------------------------------------------------------------


def first_exchanges(count: int) -> Iterator[tuple[str, list[Exchange]]]:
    for number in range(count):
        kind, session = make_session(SEED, number, "memory")
        yield kind.make.__name__, next(session)


def test_fuzz_sessions_are_the_same_each_time() -> None:
    assert list(first_exchanges(300)) == list(first_exchanges(300))


@pytest.mark.parametrize("framing", list(dict.fromkeys((*RIGHT, *WRONG))), ids=lambda framing: framing.__name__)
def test_fuzz_request_of_an_uncertain_user_has_no_mark_that_a_server_reads(framing: Any) -> None:
    user = FUZZ_USERS[0]
    draft = Draft(method="POST", target="/run", user=user, body=mark(user).encode() * 50, user_is_certain=False)
    for seed in range(30):
        sent = b"".join(framing(draft, Random(seed)).parts)
        assert mark(user).encode() not in re.sub(rb"\r\n[0-9a-fA-F]+\r\n", b"", sent)


def test_fuzz_sessions_are_of_every_kind_and_reach_every_route() -> None:
    kinds, sent = collections.Counter[str](), b""
    for name, exchanges in first_exchanges(2000):
        kinds[name] += 1
        if name == "valid":
            sent += b"".join(part for exchange in exchanges for part in exchange.parts)
    assert set(kinds) == {kind.make.__name__ for kind in KINDS}
    for route in ROUTES.routes:
        last = route.pattern.rpartition("/")[2]
        assert (last if "{" not in last else route.pattern.split("/")[1]).encode() in sent
        assert route.envelope is None or f'"method": "{route.envelope}"'.encode() in sent


EXCHANGE = Exchange(parts=(b"GET / HTTP/1.1\r\n\r\n",), methods=("GET",), user="mallory")
JSON = {"content-type": "application/json"}
STREAM = {"content-type": "text/event-stream"}
END = b'data: {"type":"RUN_FINISHED"}\n\n'

FAULTS: dict[str, Answer] = {
    "hung": Answer("hung"),
    "closed": Answer("closed"),
    "500": Answer("answered", 500, JSON, b'{"error":"internal_error"}'),
    "503 without a time": Answer("answered", 503, JSON, b'{"error":"too_many_streams"}'),
    "502": Answer("answered", 502, JSON, b'{"error":"provider_error"}'),
    "refusal in HTML": Answer("answered", 404, {"content-type": "text/html"}, b"<p>not found"),
    "refusal without words": Answer("answered", 400, JSON, b'{"error":""}'),
    "refusal that is a list": Answer("answered", 400, JSON, b"[]"),
    "half of JSON": Answer("answered", 200, JSON, b'{"a":'),
    "a secret": Answer("answered", 200, JSON, b'{"a":"%s"}' % SECRET.encode()),
    "the honest user's words": Answer("answered", 200, JSON, b'{"a":"%s"}' % ALICE_MARK.encode()),
    "another user's words": Answer("answered", 200, JSON, b'{"a":"MARK2Q"}'),
    "half of a frame": Answer("answered", 200, STREAM, END[:-1]),
    "a frame that is not JSON": Answer("answered", 200, STREAM, b"data: {\n\n" + END),
    "a line that is no field": Answer("answered", 200, STREAM, b"oops\n\n" + END),
    "a stream that just ends": Answer("answered", 200, STREAM, b'data: {"type":"RUN_STARTED"}\n\n'),
}
FINE: dict[str, Answer] = {
    "own words": Answer("answered", 200, JSON, b'{"a":"MARK1Q MARK0Q"}'),
    "503": Answer("answered", 503, {**JSON, "retry-after": "1"}, b'{"error":"too_many_streams"}'),
    "404": Answer("answered", 404, JSON, b'{"error":"Not found"}'),
    "stream": Answer("answered", 200, STREAM, b": keep-alive\n\nid: 1.1\n" + END),
    "nothing to replay": Answer("answered", 200, STREAM, b""),
    "left": Answer("answered", 200, STREAM, b"data: {", is_whole=False),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fuzz_oracle_finds_faults(name: str) -> None:
    assert find_fault(EXCHANGE, "GET", FAULTS[name], "asgi") is not None


@pytest.mark.parametrize("name", FINE)
def test_fuzz_oracle_accepts_what_is_right(name: str) -> None:
    assert find_fault(EXCHANGE, "GET", FINE[name], "asgi") is None


TRACEBACK = "Traceback (most recent call last):\n  File ...\n"


def test_fuzz_oracle_finds_tracebacks() -> None:
    on_purpose = f"{TRACEBACK}RuntimeError: {SECRET}\nINFO: a line\n"
    chained = (
        f"{TRACEBACK}RuntimeError: {SECRET}\n\nThe above exception was the direct cause of ...\n\n{TRACEBACK}X: y\n"
    )
    assert find_tracebacks(on_purpose + chained) == []
    assert len(find_tracebacks(f"{on_purpose}{TRACEBACK}KeyError: 'a'\n{on_purpose}")) == 1


def test_fuzz_corpus_names_are_unique() -> None:
    names = [name for name, _ in read_corpus("memory")]
    assert len(set(names)) == len(names) > 20
