"""Active runs are bounded, whether or not anyone reads them, and so are the OS threads of synchronous agents."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from .http_client import Client, Stream, run_input, types, unique
from .serve import ADAPTERS
from .servers import RunningServer, serve_runtime
from .test_streams import steps


@pytest.fixture(scope="module", params=ADAPTERS)
def few_runs(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server with ``max_runs=3``, ``max_runs_per_user=2`` and ``max_agent_threads=1``."""
    with serve_runtime(request.param, "few-runs") as server:
        yield server


def as_user(server: RunningServer, user: str) -> Client:
    return Client(server, headers={"x-user": user})


def abandoned(client: Client, gate: str) -> str:
    """Starts a run, leaves its stream, and returns its thread."""
    thread = unique("thread")
    with client.start_run("play", thread, **steps(("wait", gate))) as stream:
        assert stream.event()["type"] == "RUN_STARTED"
    return thread


def assert_refused(response: Stream, status: int, error: str) -> None:
    with response:
        assert response.status == status
        assert int(response.headers["retry-after"]) > 0
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"] == error


@pytest.mark.requirement("LIMIT-01")
def test_max_runs_count_runs_that_nobody_reads(few_runs: RunningServer) -> None:
    alice, bob = as_user(few_runs, "alice"), as_user(few_runs, "bob")
    gate, refused = unique("gate"), unique("thread")
    threads = [abandoned(alice, gate), abandoned(alice, gate)]
    for path in ("/agent/play/run", "/agent/play/suggest"):
        assert_refused(alice.open("POST", path, run_input(refused)), 429, "too_many_runs_of_user")
    others = [abandoned(bob, gate)]
    for path in ("/agent/play/run", "/agent/play/suggest"):
        assert_refused(bob.open("POST", path, run_input(refused)), 503, "too_many_runs")
    # Whatever starts no run is answered, and a refused run leaves no trace.
    assert "play" in alice.info()["agents"]
    assert alice.stop("play", refused)["stopped"] is False
    with alice.connect("play", threads[0]) as joined:
        assert joined.event()["type"] == "RUN_STARTED"
        assert alice.stop("play", threads[0])["stopped"] is True
        assert types(joined.rest())[-1] == "RUN_FINISHED"
    # A slot is free as soon as a reader has seen the end of its run.
    for _ in range(3):
        assert types(alice.run("play", unique("thread"))) == ["RUN_STARTED", "RUN_FINISHED"]
    with alice.open("POST", "/agent/raising-clone/run", run_input(unique("thread"))) as failed:
        assert failed.status == 500
    for client, thread in ((alice, threads[1]), (bob, others[0])):
        with client.connect("play", thread) as joined:
            client.stop("play", thread)
            joined.rest()
    assert types(bob.run("play", unique("thread"))) == ["RUN_STARTED", "RUN_FINISHED"]


@pytest.mark.requirement("LIMIT-02")
def test_max_agent_threads_a_run_that_waits_is_kept_alive_and_can_be_stopped(few_runs: RunningServer) -> None:
    alice, bob, gate = as_user(few_runs, "alice"), as_user(few_runs, "bob"), unique("gate")
    stopped, later = unique("thread"), unique("thread")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(alice.start_run("play-sync", unique("thread"), **steps(("wait", gate))))
        assert first.event()["type"] == "RUN_STARTED"
        waiting = stack.enter_context(alice.start_run("play-sync", stopped))
        assert waiting.status == 200
        for _ in range(2):
            assert waiting.comment().startswith(":")
        assert_refused(alice.start_run("play-sync", unique("thread")), 429, "too_many_runs_of_user")
        assert alice.stop("play-sync", stopped)["stopped"] is True
        assert types(waiting.rest())[-1] == "RUN_FINISHED"
        # Asynchronous agents need no thread.
        second = stack.enter_context(bob.start_run("play-sync", later))
        bob.run("play", unique("opener"), **steps(("set", gate)))
        assert types(first.rest())[-1] == "RUN_FINISHED"
        assert types(second.rest()) == ["RUN_STARTED", "RUN_FINISHED"]
