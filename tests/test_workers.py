"""Several processes over one store behave as one: runs are reached from any of them, and survive any that dies.

With ``FULL_REPETITIONS=1`` in the environment everything is repeated as often as a release wants it, on every store.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import http.client
import inspect
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import uvicorn

from copilot_runtime._engine.persistence import FLUSH_INTERVAL_SECONDS
from copilot_runtime.stores.protocol import ThreadKey

from .compaction_oracle import compact
from .fixtures.racer import RUNS
from .fixtures.worker_app import SHUTDOWN_GRACE, STORE
from .http_client import Client, Frame, Stream, types, unique
from .serve import ADAPTERS, ROOT
from .servers import STOP_SECONDS, RunningServer
from .shared_stores import STORES, SharedStore, SqliteFile, kinds, open_store, repetitions
from .workers import (
    BalancedClient,
    Number,
    check_cursors,
    events_of,
    eventually,
    frames_until,
    numbers_of,
    ordinal_of,
    pid_of,
    serve_workers,
)

pytestmark = pytest.mark.workers

T = TypeVar("T")

WORKERS = 4
LEASE_SECONDS = 2.0
NOTICE_SECONDS = {"sqlite": 2.0, "postgres": 5.0, "redis": 5.0}
"""Seconds after its lease in which a lost run may stay open for a reader, by store. Nobody notifies of a lease that
expires, and those that notify of all else are asked every two seconds only."""
WRITE_SECONDS = 0.4
"""What a write that is under way may take on a busy machine, beside the interval between two."""
PARALLEL = 8


class Deployment(NamedTuple):
    """How a user starts several processes: a server for each of the adapters, their first one, over a kind of store."""

    adapters: Sequence[str]
    store: str = "sqlite"
    preload: bool = False
    workers: int = WORKERS


DEPLOYMENTS = {
    "wsgi": Deployment(["wsgi"]),
    "wsgi-preload": Deployment(["wsgi"], preload=True),
    "asgi": Deployment(["asgi"]),
    **{
        f"servers-{store}": Deployment(
            ["wsgi", "asgi"] * repetitions(1, 2), store, preload=True, workers=repetitions(2, WORKERS)
        )
        for store in kinds(name for name in STORES if name != "sqlite")
    },
}
"""What processes do to each other is the engine's; `test_contract` has several workers on every adapter."""


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    adapters, kind, preload, workers = DEPLOYMENTS[request.param]
    with STORES[kind](tmp_path_factory.mktemp("workers")) as store, contextlib.ExitStack() as servers:
        url = store.url(lease_seconds=LEASE_SECONDS)
        options: dict[str, Any] = {"workers": workers, "preload": preload, "threads": 256}
        client = BalancedClient([servers.enter_context(serve_workers(name, url, **options)) for name in adapters])
        several_answer(client)
        yield client


def several_answer(client: Client) -> None:
    """Waits until more than one worker takes requests: the first to be up may be alone for a while."""

    def ask(_: int) -> int:
        with client.open("GET", "/info") as response:
            return pid_of(response)

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        eventually(lambda: len(set(pool.map(ask, range(2 * PARALLEL)))) > 1, 60)


# --- reaching a run ------------------------------------------------------------------


def reach(client: Client, folder: Path, number: int) -> set[int]:
    """Begins a run, joins it, is refused a second one, and ends it, each over a connection of its own.

    Gives the processes that had to do with it.
    """
    thread, run = unique("thread"), unique("run")
    gate = folder / thread
    agent = ("count", "count-sync")[number // 2 % 2]
    with client.start_run(agent, thread, run, forwardedProps={"until": str(gate)}) as own:
        start = frames_until(own, 1)
        with (
            client.connect(agent, thread) as other,
            client.start_run(agent, thread) as refused,
        ):
            assert (other.status, refused.status, refused.json()["runId"]) == (200, 409, run)
            if number % 2:
                assert client.stop(agent, thread, run)["stopped"] is True
            else:
                gate.touch()
            streamed = start + list(own.frames())
            assert list(other.frames()) == streamed
    ordinal = ordinal_of(streamed)
    assert [frame.id for frame in streamed] == [f"{ordinal}.{number}" for number in range(1, len(streamed) + 1)]
    assert streamed[-1].event["type"] == "RUN_FINISHED"
    numbers = [number.value for number in numbers_of(events_of(streamed))]
    assert numbers == list(range(len(numbers)))
    assert events_of(client.replay(agent, thread)) == compact(events_of(streamed))
    assert client.stop(agent, thread)["stopped"] is False
    return {pid_of(own), pid_of(other), pid_of(refused)}


@pytest.mark.requirement("STORE-02")
def test_workers_run_is_reached_from_any_worker(client: Client, tmp_path: Path) -> None:
    runs = range(repetitions(40, 500))
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        reached = list(pool.map(lambda number: reach(client, tmp_path, number), runs))
        # The kernel chooses the worker of a connection, so there are more of them until runs were shared.
        more = itertools.count(len(runs))
        while not any(len(processes) > 1 for processes in reached):
            assert len(reached) < 10 * len(runs), "one worker takes everything"
            reached += pool.map(lambda number: reach(client, tmp_path, number), itertools.islice(more, PARALLEL))


# --- a process that dies -------------------------------------------------------------


class LiveRun:
    """An active run with a reader on its own process, and one on another."""

    def __init__(self, client: Client) -> None:
        self.thread = unique("live")
        self.own = client.start_run("count", self.thread, forwardedProps={"interval": 0.05})
        assert self.own.status == 200
        self.owner = pid_of(self.own)
        self.begun = frames_until(self.own, 2)
        self.other = eventually(lambda: self._elsewhere(client), 30)
        self.theirs: list[Frame] = []
        self.ended_at = 0.0
        self._following = threading.Thread(target=self._follow)
        self._following.start()

    def _elsewhere(self, client: Client) -> Stream | None:
        stream = client.connect("count", self.thread)
        assert stream.status == 200
        if pid_of(stream) != self.owner:
            return stream
        stream.close()
        return None

    def _follow(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.theirs += self.other.frames()
        self.ended_at = time.monotonic()

    def streamed(self) -> list[Frame]:
        """All that its own reader got."""
        frames = list(self.begun)
        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
            for frame in self.own.frames():
                frames.append(frame)  # noqa: PERF402 - what came before it broke off counts
        return frames

    def followed(self) -> list[Frame]:
        """All that its other reader got, once that is over."""
        self._following.join(60)
        assert not self._following.is_alive()
        return self.theirs

    def leave(self) -> None:
        self.own.close()
        self.other.close()


def is_prefix(part: list[Number], whole: list[Number]) -> bool:
    return part == whole[: len(part)]


def kill_one(client: Client, runs: int, notice_seconds: float) -> None:
    """Kills the process that owns most of some runs, and looks at what becomes of them."""
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        live = list(pool.map(lambda _: LiveRun(client), range(runs)))
    victim = collections.Counter(run.owner for run in live).most_common(1)[0][0]
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    for run in live:
        if run.owner == victim:
            lost(client, run, killed_at + LEASE_SECONDS + notice_seconds)
    for run in live:
        if run.owner != victim:
            unharmed(client, run, pid_of(run.other) != victim)
        run.leave()


def lost(client: Client, run: LiveRun, noticed_until: float) -> None:
    sent = run.streamed()
    streamed, followed = events_of(sent), events_of(run.followed())
    assert run.ended_at <= noticed_until
    assert (followed[-1]["type"], followed[-1]["code"]) == ("RUN_ERROR", "RUN_LOST")
    assert types(streamed).count("RUN_ERROR") == 0
    # Nobody is shown more than was streamed, and a replay is short by no more than what was not stored yet.
    replay = events_of(client.replay("count", run.thread))
    assert replay == (compact(followed) if numbers_of(followed) else [])
    assert is_prefix(numbers_of(replay), numbers_of(streamed))
    last = numbers_of(replay)[-1:] or numbers_of(streamed)[:1]
    assert numbers_of(streamed)[-1].at - last[0].at <= FLUSH_INTERVAL_SECONDS + WRITE_SECONDS
    check_cursors(client, "count", run.thread, sent)
    again = client.run("count", run.thread, forwardedProps={"n": 1})
    assert again[-1]["type"] == "RUN_FINISHED"


def unharmed(client: Client, run: LiveRun, is_followed: bool) -> None:
    response = client.stop("count", run.thread)
    assert response["stopped"] is True, (
        response,
        events_of(run.streamed())[-1],
        events_of(client.replay("count", run.thread))[-1],
    )
    streamed, followed = run.streamed(), run.followed()
    assert streamed[-1].event["type"] == "RUN_FINISHED"
    assert followed == streamed if is_followed else followed == streamed[: len(followed)]


@pytest.mark.requirement("STORE-02", "STORE-03")
def test_workers_killed_worker_leaves_no_reader_waiting(client: Client, request: pytest.FixtureRequest) -> None:
    store = DEPLOYMENTS[request.node.callspec.params["client"]].store
    for _ in range(repetitions(1, 20)):
        kill_one(client, repetitions(16, 100), NOTICE_SECONDS[store])


# --- one thread, one run -------------------------------------------------------------


@pytest.mark.requirement("STORE-02")
def test_workers_race_for_a_thread_has_one_winner(shared_store: SharedStore, tmp_path: Path) -> None:
    store = shared_store.url()
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.racer"],
            cwd=ROOT,
            env={**os.environ, STORE: store},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(WORKERS)
    ]

    def all_asked(line: str) -> list[str]:
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(f"{line}\n")
            racer.stdin.flush()
        return [racer.stdout.readline() for racer in racers if racer.stdout is not None]

    try:
        for number in range(repetitions(10, 100)):
            gate = tmp_path / str(number)
            responses: collections.Counter[str] = collections.Counter()
            for response in all_asked(f"race contested {gate}"):
                responses.update(json.loads(response))
            assert responses == {"200": 1, "409": WORKERS * RUNS - 1}
            gate.touch()
            ends = [json.loads(text) for line in all_asked("end") if (text := json.loads(line)) is not None]
            assert types(ends) == ["RUN_FINISHED"]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


# --- a process that is paused --------------------------------------------------------


@contextlib.contextmanager
def paused(process: int, store: SharedStore) -> Iterator[None]:
    """Pauses a process between two writes: in the middle of one it would block all others."""
    os.kill(process, signal.SIGSTOP)
    try:
        while not (stands_still(process) and store.is_writable()):
            os.kill(process, signal.SIGCONT)
            os.kill(process, signal.SIGSTOP)
            eventually(lambda: stands_still(process), 30)
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def stands_still(process: int) -> bool:
    """Whether a stopped process has stopped with all of its threads: until then one may begin a write."""
    threads = Path(f"/proc/{process}/task")
    if not threads.exists():  # no Linux: nothing else tells
        return True
    try:
        states = {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads.iterdir()}
    except OSError:  # one has just ended
        return False
    return states == {"T"}


def take_over(here: Client, there: Client, store: SharedStore, then: str, folder: Path) -> None:
    """Pauses the process of a run beyond its lease, begins another run on the thread, and lets the process continue."""
    thread = unique("taken")
    first_gate, second_gate = folder / f"{thread}-first", folder / f"{thread}-second"
    with (
        here.start_run("count", thread, "first", forwardedProps={"until": str(first_gate)}) as own,
        there.connect("count", thread) as other,
    ):
        start = frames_until(own, 5)
        stored = frames_until(other, 1)  # a run of which nothing is stored leaves nothing to replay
        with paused(pid_of(own), store):
            # Its reader on the other process gets the end of the run, and with that the thread is free.
            followed = events_of([*stored, *other.frames()])
            check_cursors(there, "count", thread, start)
            taking = there.start_run("count", thread, "second", forwardedProps={"until": str(second_gate)})
            assert taking.status == 200
            taken = frames_until(taking, 1)
            if then == "ends":
                first_gate.touch()
        streamed = events_of([*start, *own.frames()])
        taken += frames_until(taking, numbers_of(events_of(taken))[-1].value + 10)
        second_gate.touch()
        taken += taking.frames()
    assert (followed[-1]["type"], followed[-1]["code"]) == ("RUN_ERROR", "RUN_LOST")
    assert (streamed[-1]["type"], streamed[-1]["code"]) == ("RUN_ERROR", "RUN_LOST")
    assert taken[-1].event["type"] == "RUN_FINISHED"
    assert {frame.id.partition(".")[0] for frame in taken if frame.id} == {str(ordinal_of(start) + 1)}
    lost = {"type": "RUN_FINISHED", "threadId": thread, "runId": "first"}  # no longer the thread's last event
    replay = [*compact(followed)[:-1], lost, *compact(events_of(taken))]
    assert events_of(there.replay("count", thread)) == replay
    assert events_of(here.replay("count", thread)) == replay


@pytest.mark.requirement("STORE-02", "STORE-04")
@pytest.mark.parametrize("then", ["goes on", "ends"])
@pytest.mark.parametrize("adapter", ["wsgi", "asgi"])
def test_workers_paused_process_cannot_write_after_losing_its_lease(
    adapter: str, then: str, shared_store: SharedStore, tmp_path: Path
) -> None:
    store = shared_store.url(lease_seconds=1)
    with serve_workers(adapter, store) as one, serve_workers(adapter, store) as two:
        for _ in range(repetitions(1, 20)):
            take_over(Client(one), Client(two), shared_store, then, tmp_path)


@pytest.mark.requirement("STORE-02", "STORE-04")
@pytest.mark.stores("postgres", "redis")
def test_workers_paused_process_of_another_machine(shared_store: SharedStore, tmp_path: Path) -> None:
    """Everything else of this is the same with every store."""
    store = shared_store.url(lease_seconds=1)
    with serve_workers("wsgi", store) as one, serve_workers("asgi", store) as two:
        take_over(Client(one), Client(two), shared_store, "goes on", tmp_path)


@pytest.mark.requirement("STORE-02")
@pytest.mark.parametrize("adapter", ["wsgi", "asgi"])
def test_workers_machine_that_stands_still_loses_no_run(adapter: str, shared_store: SharedStore) -> None:
    """All leases have expired when the processes continue, and the first of them must not take the others for dead."""
    store = shared_store.url(lease_seconds=1)
    witness = open_store(shared_store)
    threads = [ThreadKey("", f"still-{number}") for number in range(8)]
    with serve_workers(adapter, store) as one, serve_workers(adapter, store) as two, contextlib.ExitStack() as streams:
        here, there = Client(one), Client(two)
        own = [streams.enter_context(here.start_run("count", thread.thread_id)) for thread in threads]
        start = [frames_until(stream, 1) for stream in own]
        other = [streams.enter_context(there.connect("count", thread.thread_id)) for thread in threads]
        with paused(pid_of(own[0]), shared_store):
            with paused(pid_of(other[0]), shared_store):
                for thread in threads:
                    eventually(lambda thread=thread: (live := witness.read(thread).live) and live.expired, 30)
            there.info()  # it looks before the owner continues
        for thread, stream, frames, joined in zip(threads, own, start, other, strict=True):
            frames += frames_until(stream, numbers_of(events_of(frames))[-1].value + 10)
            assert there.stop("count", thread.thread_id)["stopped"] is True
            frames += stream.frames()
            assert frames[-1].event["type"] == "RUN_FINISHED"
            assert list(joined.frames()) == frames


# --- workers that are replaced -------------------------------------------------------


def answered(ask: Callable[[], T]) -> T:
    """A whole answer: a worker that ends may close a connection that it has accepted and not yet served."""

    def once() -> list[T]:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return [ask()]
        return []

    return eventually(once, 60)[0]


def recycled(client: Client, number: int) -> int:
    """Runs an agent whose process may get SIGTERM in the middle, and returns the id of that process."""

    def start() -> tuple[str, Stream] | None:
        thread = unique("recycled")  # another one each time, since it may have begun without an answer
        own = client.start_run("count", thread, forwardedProps={"n": 5 + number % 20})
        if own.status != 503:
            return thread, own
        assert own.json()["error"] == "server_shutdown"  # refused by a worker that is about to end
        assert own.headers["retry-after"]
        return None

    thread, own = eventually(lambda: answered(start), 60)
    frames: list[Frame] = []
    with own:
        assert own.status == 200
        owner = pid_of(own)
        with contextlib.suppress(OSError, http.client.HTTPException):
            frames += own.frames()
    # Whatever has become of the process, the run has an end, and it is the one that was shown.
    replay = events_of(answered(lambda: client.replay("count", thread)))
    assert replay[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    assert is_prefix(numbers_of(events_of(frames)), numbers_of(replay)) or is_prefix(
        numbers_of(replay), numbers_of(events_of(frames))
    )
    # An error without an id, such as SERVER_SHUTDOWN while the store takes too long, ends a stream and not its run.
    if frames and frames[-1].event["type"] in ("RUN_FINISHED", "RUN_ERROR") and frames[-1].id is not None:
        assert replay == compact(events_of(frames))
    assert eventually(lambda: answered(lambda: finishes(client, thread)), 60)
    return owner


def finishes(client: Client, thread: str) -> bool:
    """Whether a run on a thread is begun and ends well, which it does not where its worker ends first."""
    with client.start_run("count", thread, forwardedProps={"n": 1}) as stream:
        return stream.status == 200 and stream.rest()[-1]["type"] == "RUN_FINISHED"


RECYCLING = {"wsgi": ("--max-requests", "20"), "asgi": ("--limit-max-requests", "20")}


@pytest.mark.requirement("STORE-02")
@pytest.mark.parametrize("adapter", RECYCLING)
def test_workers_replaced_during_runs(adapter: str, shared_store: SharedStore) -> None:
    store = shared_store.url(lease_seconds=LEASE_SECONDS)
    workers = repetitions(2, WORKERS)
    # Preloaded where a server can, since most of this test's time is what workers need in order to start.
    preload = adapter == "wsgi"
    with serve_workers(adapter, store, workers=workers, preload=preload, extra=RECYCLING[adapter]) as server:
        client = Client(server)
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            owners = set(pool.map(lambda number: recycled(client, number), range(repetitions(40, 500))))
    assert len(owners) > workers


def wait_for_exit(process_id: int) -> None:
    """Waits until a process that is not this one's child has ended."""

    def has_ended() -> bool:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return True
        return False

    eventually(has_ended, 30)


class Retiring(NamedTuple):
    """A server with workers, its options, and what is done so that it replaces a worker, gracefully."""

    server: str
    how: Callable[[RunningServer, Client], object]
    extra: Sequence[str] = ()
    workers: int = 1


def send_sighup(server: RunningServer, client: Client) -> None:
    server.process.send_signal(signal.SIGHUP)


def send_requests(server: RunningServer, client: Client) -> None:
    for _ in range(3):
        client.info()


def send_sigterm(server: RunningServer, client: Client) -> None:
    os.kill(pid_of(client.connect("count", "other")), signal.SIGTERM)


def time_to_start() -> Sequence[str]:
    """For a worker that replaces another one: on a busy machine, 5 seconds are too little, and uvicorn gives up."""
    # Only for restarts, since uvicorn also waits that long for a worker that ends when it is asked how it is.
    is_known = "timeout_worker_healthcheck" in inspect.signature(uvicorn.Config).parameters  # a later option
    return ("--timeout-worker-healthcheck", "60") if is_known else ()


RETIRING = {
    **{f"{name}-reload": Retiring(name, send_sighup) for name in ("gthread", "gevent", "uvicorn-worker")},
    **{
        f"{name}-max-requests": Retiring(name, send_requests, ("--max-requests", "3")) for name in ("gthread", "gevent")
    },
    **{f"{name}-worker-sigterm": Retiring(name, send_sigterm) for name in ("gthread", "gevent")},
    "uvicorn-reload": Retiring("uvicorn", send_sighup, time_to_start(), workers=2),
}


@pytest.mark.requirement("STOP-06", "STOP-07")
@pytest.mark.parametrize("name", RETIRING)
def test_workers_replaced_during_a_run_that_is_longer_than_the_graceful_timeout(
    name: str, shared_store: SharedStore
) -> None:
    """The end of the run is stored and sent, whatever its agent is doing, and the thread is free at once."""
    kind, how, extra, workers = RETIRING[name]
    store = shared_store.url(lease_seconds=300)
    adapter = "asgi" if kind.startswith("uvicorn") else "wsgi"
    with serve_workers(adapter, store, server=kind, extra=extra, workers=workers) as server:
        client = Client(server)
        with client.start_run("count", "long") as own, client.start_run("deaf", "deaf") as deaf:
            streamed = frames_until(own, 3)
            how(server, client)
            streamed += own.frames()
            for rest in (events_of(streamed), deaf.rest()):
                assert (rest[-1]["type"], rest[-1]["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
        wait_for_exit(pid_of(own))
        for thread in ("long", "deaf"):
            replay = events_of(answered(lambda thread=thread: client.replay("count", thread)))
            assert (replay[-1]["type"], replay[-1]["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
        if how is not send_requests:  # which retires the next worker as soon
            answered(lambda: check_cursors(client, "count", "long", streamed))
        for thread in ("long", "deaf"):
            eventually(lambda thread=thread: answered(lambda: finishes(client, thread)), 60)
        log = server.log()
    assert "Traceback" not in log
    assert "cannot schedule" not in log
    assert len([line for line in log.splitlines() if "did not stop in time" in line]) == 1, "of the deaf agent"


WAITING = {"asgi": ("--timeout-graceful-shutdown", "30"), "wsgi": ("--graceful-timeout", "30")}
"""Options for servers that wait for their streams, which is what leaves a run its grace."""


@pytest.mark.requirement("STOP-06")
@pytest.mark.parametrize("adapter", WAITING)
def test_workers_run_that_ends_within_the_shutdown_grace_is_complete(
    adapter: str, shared_store: SharedStore, tmp_path: Path
) -> None:
    store, gate = shared_store.url(), tmp_path / "gate"
    env = {SHUTDOWN_GRACE: "20"}
    with (
        serve_workers(adapter, store, extra=WAITING[adapter], env=env) as server,
        Client(server).start_run("count", "kept", forwardedProps={"until": str(gate)}) as own,
    ):
        taken = frames_until(own, 3)
        server.process.send_signal(signal.SIGTERM)
        # Well after the runtime has looked for the signal, in numbers of the agent: it counts every 20 ms.
        frames_until(own, numbers_of(events_of(taken))[-1].value + 30)
        gate.touch()
        assert own.rest()[-1]["type"] == "RUN_FINISHED"


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("adapter", ["wsgi", "asgi"])
def test_workers_shutdown_while_the_store_cannot_be_written_ends_streams_in_an_error(
    adapter: str, shared_store: SharedStore
) -> None:
    """Not with gevent, whose only OS thread waits for the file: docs/wsgi.md."""
    with (
        serve_workers(adapter, shared_store.url(), env={SHUTDOWN_GRACE: "30"}) as running,
        Client(running).start_run("count", "own") as own,
        Client(running).start_run("deaf", "deaf") as deaf,
    ):
        frames_until(own, 3)
        with shared_store.locked():
            running.process.send_signal(signal.SIGTERM)
            for stream in (own, deaf):
                assert stream.rest()[-1]["type"] == "RUN_ERROR"


@pytest.mark.requirement("STOP-06", "STOP-07")
@pytest.mark.parametrize("adapter", ["wsgi", "asgi"])
def test_workers_reader_of_another_process_is_sent_elsewhere_at_shutdown(
    adapter: str, shared_store: SharedStore
) -> None:
    """Its run goes on, so the stream ends with an error that is not the run's."""
    store = shared_store.url()
    with (
        serve_workers("wsgi", store) as one,
        serve_workers(adapter, store) as two,
        Client(one).start_run("count", "kept") as own,
        Client(two).connect("count", "kept") as other,
    ):
        frames_until(own, 3)
        frames_until(other, 3)
        two.process.send_signal(signal.SIGTERM)
        last = list(other.frames())[-1]
        assert (last.event["type"], last.event["code"], last.id) == ("RUN_ERROR", "SERVER_SHUTDOWN", None)
        assert Client(one).stop("count", "kept")["stopped"] is True
        assert own.rest()[-1]["type"] == "RUN_FINISHED"


# --- a restart -----------------------------------------------------------------------


def numbers(frames: list[Frame]) -> list[str | None]:
    return [frame.id for frame in frames]


def resumed(client: Client, seen: str, how: str) -> list[Frame]:
    headers = {"last-event-id": seen} if how == "header" else {}
    with client.connect("count", "kept", seen if how == "body" else None, headers) as stream:
        assert stream.status == 200
        return list(stream.frames())


@pytest.mark.requirement("STORE-05")
@pytest.mark.parametrize("how", ["header", "body"])
@pytest.mark.parametrize("adapter", ["wsgi", "asgi"])
def test_restart_last_seen_event_id_gets_exactly_the_rest(adapter: str, how: str, shared_store: SharedStore) -> None:
    store = shared_store.url()
    with (
        serve_workers(adapter, store) as before,
        Client(before).start_run("count", "kept", forwardedProps={"n": 12}) as own,
    ):
        streamed = list(own.frames())
    with serve_workers(adapter, store) as after:
        client = Client(after)
        for at, frame in enumerate(streamed):
            assert frame.id is not None
            assert resumed(client, frame.id, how) == streamed[at + 1 :]
        later = list(client.start_run("count", "kept", forwardedProps={"n": 2}).frames())
        assert numbers(later)[0] == f"{ordinal_of(streamed) + 1}.1"
        first = resumed(client, f"{ordinal_of(streamed)}.3", how)
    assert first[: len(streamed) - 3] == streamed[3:]
    assert events_of(first[len(streamed) - 3 :]) == compact(events_of(later))


@pytest.mark.requirement("STORE-05")
@pytest.mark.parametrize("how", ["header", "body"])
def test_restart_last_seen_event_id_of_a_compacted_run(how: str, shared_store: SharedStore) -> None:
    store = shared_store.url()
    with (
        serve_workers("wsgi", store, raw_seconds=0) as before,
        Client(before).start_run("count", "kept", forwardedProps={"n": 12}) as own,
    ):
        streamed = list(own.frames())
    with serve_workers("wsgi", store, raw_seconds=0) as after:
        client = Client(after)
        replay = client.replay("count", "kept")
        assert events_of(replay) == compact(events_of(streamed))
        kept = numbers(replay)
        for frame in streamed:
            assert frame.id is not None
            expected = replay[kept.index(frame.id) + 1 :] if frame.id in kept else replay
            assert resumed(client, frame.id, how) == expected
        assert numbers(resumed(client, f"{ordinal_of(streamed)}.1000", how)) == kept[-1:]


@pytest.mark.requirement("STORE-05")
def test_restart_last_seen_event_id_of_a_run_that_was_killed(shared_store: SharedStore) -> None:
    store = shared_store.url(lease_seconds=1)
    with serve_workers("wsgi", store) as before:
        own = Client(before).start_run("count", "kept")
        start = frames_until(own, 20)
        os.killpg(before.process.pid, signal.SIGKILL)
        before.process.wait()
        own.close()
    with serve_workers("wsgi", store) as after:
        client = Client(after)
        seen = start[10]
        assert seen.id is not None
        rest = resumed(client, seen.id, "header")
        assert (rest[-1].event["type"], rest[-1].event["code"]) == ("RUN_ERROR", "RUN_LOST")
        shown = events_of(start[:11]) + events_of(rest)
        assert events_of(client.replay("count", "kept")) == compact(shown)
        beyond = resumed(client, f"{ordinal_of(start)}.100000", "header")
        assert [frame.event for frame in beyond] == [rest[-1].event]
        with client.start_run("count", "kept") as again:
            frames_until(again, 2)
            client.stop("count", "kept")
            # What was lost is no news any more: clients up to 1.69 would accept nothing after it.
            assert "RUN_ERROR" not in [frame.event["type"] for frame in client.replay("count", "kept")]


@pytest.mark.requirement("STORE-05", "CONNECT-09")
@pytest.mark.parametrize("server", ["gevent", "uvicorn-worker"])
def test_workers_last_seen_event_id_of_runs_whose_worker_is_killed_or_paused(
    server: str, shared_store: SharedStore
) -> None:
    """For gthread and uvicorn, the tests above of killed and of paused processes resume their runs."""
    store = shared_store.url(lease_seconds=1)
    adapter = "asgi" if server.startswith("uvicorn") else "wsgi"
    with serve_workers(adapter, store, server=server, workers=2) as running:
        client = Client(running)
        with client.start_run("count", "killed") as own:
            streamed = frames_until(own, 20)
            os.kill(pid_of(own), signal.SIGKILL)
            with contextlib.suppress(OSError, http.client.HTTPException):
                streamed += own.frames()
        wait_for_exit(pid_of(own))
        answered(lambda: check_cursors(client, "count", "killed", streamed))
        with client.start_run("count", "paused") as own:
            streamed = frames_until(own, 20)
            with paused(pid_of(own), shared_store):
                check_cursors(client, "count", "paused", streamed)
            streamed += own.frames()
        assert (streamed[-1].event["type"], streamed[-1].event["code"]) == ("RUN_ERROR", "RUN_LOST")
        check_cursors(client, "count", "paused", streamed[:-1])


@pytest.mark.requirement("STORE-05", "CONNECT-09")
@pytest.mark.parametrize("adapter", ["wsgi", "asgi"])
@pytest.mark.parametrize("raw_seconds", [None, 0], ids=["raw", "compacted"])
def test_restart_last_seen_event_id_that_a_crash_took(
    adapter: str, raw_seconds: float | None, shared_store: SharedStore
) -> None:
    """Every reader learns of the end, also one that has received events that were never stored."""
    store = shared_store.url(lease_seconds=1)
    with serve_workers(adapter, store, raw_seconds=raw_seconds) as before:
        own = Client(before).start_run("count", "kept")
        start = frames_until(own, 20)
        with shared_store.locked():
            start += frames_until(own, 40)
            os.killpg(before.process.pid, signal.SIGKILL)
            before.process.wait()
        own.close()
    with serve_workers(adapter, store, raw_seconds=raw_seconds) as after:
        client = Client(after)
        end = client.replay("count", "kept")[-1]
        assert (end.event["type"], end.event["code"]) == ("RUN_ERROR", "RUN_LOST")
        assert end.id not in numbers(start)
        for frame in start:
            assert frame.id is not None
            assert resumed(client, frame.id, "header")[-1] == end
        for frame in start[-10:]:
            assert resumed(client, str(frame.id), "body") == [end]
        assert resumed(client, str(end.id), "body") == []


@pytest.mark.requirement("STORE-05")
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_restart_shutdown_ends_runs_with_run_interrupted(adapter: str, shared_store: SharedStore) -> None:
    store = shared_store.url()
    # Without a reader: gunicorn kills a worker whose streams have not ended within its graceful timeout.
    with serve_workers(adapter, store) as before, Client(before).start_run("count", "kept") as own:
        start = frames_until(own, 3)
    with serve_workers(adapter, store) as after:
        replay = events_of(Client(after).replay("count", "kept"))
        # No lease had to run out for it.
        assert (replay[-1]["type"], replay[-1]["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
        assert is_prefix(numbers_of(events_of(start)), numbers_of(replay))


WITHOUT_LIFESPAN = ["mounted_in_starlette", "mounted_in_fastapi", "routed_in_starlette", "endpoint_in_fastapi"]
"""Factories of applications whose framework passes on no lifespan events to the runtime."""


@pytest.mark.requirement("STOP-06", "STOP-09")
@pytest.mark.parametrize("factory", WITHOUT_LIFESPAN)
def test_shutdown_of_a_runtime_without_lifespan_stores_the_ends_of_its_runs(
    factory: str, shared_store: SharedStore
) -> None:
    """uvicorn ends with the signal that ended it, so it has to wait for the runs, also for those that nobody reads."""
    threads = [f"thread-{number}" for number in range(12)]
    with (
        serve_workers("asgi", shared_store.url(), application=f"asgi_worker_apps:{factory}") as server,
        contextlib.ExitStack() as streams,
    ):
        client = Client(server)
        for number, thread in enumerate(threads):
            own = client.start_run(("count", "count-sync")[number % 2], thread)
            frames_until(own, 1)
            if number < 3:
                streams.enter_context(own)
            else:
                own.close()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(STOP_SECONDS)
        log = server.log()
    store = open_store(shared_store)
    for thread in threads:
        stored = store.read(ThreadKey("", thread))
        assert stored.live is None
        end = json.loads(stored.runs[-1].records[-1].frame.partition(b"data: ")[2])
        assert (end["type"], end["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
    assert "Traceback" not in log


@pytest.mark.requirement("STORE-02")
def test_workers_connect_to_an_active_run_on_another_process(shared_store: SharedStore, tmp_path: Path) -> None:
    store = shared_store.url()
    gate = tmp_path / "gate"
    with (
        serve_workers("wsgi", store) as one,
        serve_workers("asgi", store) as two,
        Client(one).start_run("count", "kept", forwardedProps={"until": str(gate)}) as own,
    ):
        start = frames_until(own, 10)
        with Client(two).connect("count", "kept", start[5].id) as other:
            gate.touch()
            streamed = [*start, *own.frames()]
            assert list(other.frames()) == streamed[6:]


# --- who keeps it busy ---------------------------------------------------------------


@pytest.mark.requirement("STORE-02")
def test_workers_deleted_thread_ends_for_readers_of_every_process(shared_store: SharedStore) -> None:
    store = shared_store.url()
    with serve_workers("wsgi", store) as one, serve_workers("asgi", store) as two:
        here, there = Client(one), Client(two)
        with here.start_run("count", "gone") as own, there.connect("count", "gone") as other:
            frames_until(own, 3)
            with there.open("DELETE", "/threads/gone") as response:
                assert response.status == 204
            for stream in (own, other):
                assert stream.rest()[-1]["code"] == "RUN_LOST"
        assert here.replay("count", "gone") == there.replay("count", "gone") == []


def test_store_that_is_unusable_keeps_the_server_from_starting(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="ended with status") as raised,
        serve_workers("asgi", SqliteFile(tmp_path / "nowhere" / "threads.db").url()),
    ):
        pass
    assert any("does not exist: create it" in note for note in raised.value.__notes__)
