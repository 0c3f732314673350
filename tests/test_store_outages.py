"""Stores on other machines that fail in the middle of runs: real servers, real connections.

Whatever happens for less than the time of a lease, no run is lost, none is stored other than it was streamed, and
nothing has to be restarted. What is answered meanwhile is 503 with Retry-After.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from .compaction_oracle import compact
from .http_client import Client, Frame, Stream, unique
from .services.pgbouncer import run_pgbouncer
from .services.postgres import run_postgres, shared_postgres
from .services.redis import new_prefix, run_redis, shared_redis
from .services.tcp_proxy import TcpProxy, run_tcp_proxy
from .shared_stores import FULL_REPETITIONS, repetitions
from .workers import events_of, eventually, frames_until, numbers_of, serve_workers, works

ALL = bool(os.environ.get(FULL_REPETITIONS))
LEASE_SECONDS = 8.0
TIMEOUT_SECONDS = 1.0
"""The longest that a store waits for its server."""
BOUND_SECONDS = 30.0
RUNS = 50
OUTAGE_SECONDS = repetitions(0, 5)
"""How long a store is away beyond the answers of the requests that are sent meanwhile."""
FOLLOWED = 3
"""So many of them have a reader on another process as well."""


class Service(NamedTuple):
    """A store's server, with a proxy in between."""

    proxy: TcpProxy
    url: str
    pause: Callable[[], None]
    resume: Callable[[], None]
    restart: Callable[[], None]
    end_connections: Callable[[], None]
    fill: Callable[[], None]
    """Lets the server refuse all writes, until `empty`: it has no memory left, or is read-only."""
    empty: Callable[[], None]


@contextlib.contextmanager
def redis_service(lease_seconds: float = LEASE_SECONDS, *, is_shared: bool = False) -> Iterator[Service]:
    """A server of one's own, unless all that happens to it happens in the proxy: then it may be ``is_shared``."""
    server_context = contextlib.nullcontext(shared_redis()) if is_shared else run_redis()
    with server_context as server, run_tcp_proxy(server.port) as proxy:
        options = f"lease_seconds={lease_seconds}&timeout_seconds={TIMEOUT_SECONDS}&poll_seconds=0.5"
        yield Service(
            proxy,
            f"redis://127.0.0.1:{proxy.port}/0?prefix={new_prefix()}&{options}",
            server.pause,
            server.resume,
            server.restart,
            lambda: [server.command("CLIENT", "KILL", "TYPE", kind) for kind in ("normal", "pubsub")] and None,
            lambda: server.command("CONFIG", "SET", "maxmemory", "1") and None,
            lambda: server.command("CONFIG", "SET", "maxmemory", "0") and None,
        )


@contextlib.contextmanager
def postgres_service(
    lease_seconds: float = LEASE_SECONDS, *, is_shared: bool = False, has_pooler: bool = False
) -> Iterator[Service]:
    with contextlib.ExitStack() as stack:
        server = shared_postgres() if is_shared else stack.enter_context(run_postgres())
        port = stack.enter_context(run_pgbouncer(server)) if has_pooler else server.port
        proxy = stack.enter_context(run_tcp_proxy(port))

        def set_read_only(value: str) -> None:
            with server.connect() as db:
                db.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
                db.execute("SELECT pg_reload_conf()")

        yield Service(
            proxy,
            server.url(port=proxy.port, lease_seconds=lease_seconds, timeout_seconds=TIMEOUT_SECONDS, poll_seconds=0.5),
            server.pause,
            server.resume,
            server.restart,
            lambda: server.terminate_backends() and None,
            lambda: set_read_only("on"),
            lambda: set_read_only("off"),
        )


SERVICES: dict[str, Callable[..., contextlib.AbstractContextManager[Service]]] = {
    "redis": redis_service,
    "postgres": postgres_service,
    "pgbouncer": functools.partial(postgres_service, has_pooler=True),
}


class Outage:
    """A fault of the store's server, from the outside. ``begin`` returns once it is there, ``end`` once it is over."""

    def __init__(
        self,
        begin: Callable[[Service], object],
        end: Callable[[Service], object] = lambda _: None,
        *,
        is_total: bool = False,
    ) -> None:
        self.begin = begin
        self.end = end
        self.is_total = is_total
        """Whether nothing works meanwhile."""


def cut_again_and_again(service: Service) -> None:
    for _ in range(5):
        connections = service.proxy.connections
        service.proxy.drop()
        eventually(lambda before=connections: service.proxy.connections > before, BOUND_SECONDS)  # type: ignore[misc]


OUTAGES = {
    "restarted": Outage(lambda service: service.restart()),
    "suspended": Outage(lambda service: service.pause(), lambda service: service.resume(), is_total=True),
    "cut off": Outage(lambda service: service.proxy.refuse(), lambda service: service.proxy.restore(), is_total=True),
    "silent": Outage(lambda service: service.proxy.freeze(), lambda service: service.proxy.restore(), is_total=True),
    "connections cut": Outage(cut_again_and_again),
    "connections ended by the server": Outage(lambda service: service.end_connections()),
    "refusing writes": Outage(lambda service: service.fill(), lambda service: service.empty()),
}


def refused(stream: Stream) -> bool:
    """Whether a request was refused as the documentation says; False if it was served all the same."""
    with stream:
        if stream.status != 503:
            assert stream.status in (200, 409), stream.read()
            return False
        assert int(stream.headers["retry-after"]) > 0
        response = stream.json()
    assert response["error"] == "store_unavailable"
    assert not {"127.0.0.1", "redis", "psycopg", "postgres"} & set(response["message"].lower().split())
    return True


class Crowd:
    """Runs that go on until `end`, each with a reader, and some with one on another process."""

    def __init__(self, owner: Client, other: Client, until: Path, count: int) -> None:
        self.owner = owner
        self.threads = [unique("crowd") for _ in range(count)]
        self._until = until
        self._pool = concurrent.futures.ThreadPoolExecutor(count + FOLLOWED + 8)
        self._reached = threading.Semaphore(0)
        self._streams: list[concurrent.futures.Future[list[Frame]]] = []
        self._joined: list[concurrent.futures.Future[list[Frame]]] = []
        props = {"until": str(until), "interval": 0.1}
        for thread in self.threads:
            self._streams.append(
                self._pool.submit(self._read, lambda t=thread: owner.start_run("count", t, forwardedProps=props))
            )
        self._wait(count)
        for thread in self.threads[:FOLLOWED]:
            self._joined.append(self._pool.submit(self._read, lambda t=thread: other.connect("count", t)))
        self._wait(FOLLOWED)

    def _wait(self, count: int) -> None:
        for _ in range(count):
            if not self._reached.acquire(timeout=BOUND_SECONDS):
                failed = [str(each.exception()) for each in (*self._streams, *self._joined) if each.done()]
                raise AssertionError(f"not all runs have begun: {failed}")

    def _read(self, open_: Callable[[], Stream]) -> list[Frame]:
        with open_() as stream:
            assert stream.status == 200, stream.read()
            begun = frames_until(stream, 3)
            self._reached.release()
            return [*begun, *stream.frames()]

    def let_end(self) -> None:
        """Has the agents return."""
        self._until.touch()

    def streamed(self) -> list[list[Frame]]:
        """Returns what the runs' readers have received, once all have ended."""
        return [future.result(BOUND_SECONDS) for future in self._streams]

    def end(self) -> tuple[list[list[Frame]], list[list[Frame]]]:
        """Ends all runs, and returns what their readers, and those on another process, have received."""
        self.let_end()
        streamed = self.streamed()
        joined = [future.result(BOUND_SECONDS) for future in self._joined]
        self._pool.shutdown()
        return streamed, joined


class Servers(NamedTuple):
    """Two servers over one store."""

    service: Service
    owner: Client
    other: Client


PAIRS = [f"{service}-{name}" for service in SERVICES for name in ("asgi", "wsgi")]


@pytest.fixture(scope="module", params=PAIRS if ALL else ["redis-asgi", "postgres-wsgi"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    kind, _, name = request.param.partition("-")
    # To start PostgreSQL takes long, and what happens to it every day happens in the proxy.
    is_shared = kind == "postgres" and not ALL
    with (
        SERVICES[kind](is_shared=is_shared) as service,
        serve_workers(name, service.url) as owner,
        serve_workers(name, service.url) as other,
    ):
        yield Servers(service, Client(owner), Client(other))


def outages(names: Iterable[str], every_day: Sequence[tuple[str, str]]) -> pytest.MarkDecorator:
    """Runs a test with each outage on all servers, or every day with some of them on some of these."""
    if ALL:
        return pytest.mark.parametrize("outage", list(names))
    return pytest.mark.parametrize(("servers", "outage"), every_day, indirect=["servers"], scope="module")


def ask_everything(client: Client, before: str) -> list[bool]:
    """Sends requests of all kinds at once. Returns whether each was refused; none may hang."""
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        streams = [
            *(pool.submit(client.connect, "count", before) for _ in range(5)),
            *(pool.submit(client.start_run, "count", unique("while"), forwardedProps={"n": 1}) for _ in range(5)),
            *(pool.submit(client.open, "POST", f"/agent/count/stop/{unique('none')}") for _ in range(5)),
            *(pool.submit(client.open, "GET", "/threads") for _ in range(5)),
            *(pool.submit(client.open, "GET", f"/threads/{before}/messages") for _ in range(20)),
        ]
        return [refused(stream.result(BOUND_SECONDS)) for stream in streams]


def recovers(servers: Servers) -> None:
    for client in (servers.owner, servers.other):
        eventually(lambda client=client: works(client, unique("after")), BOUND_SECONDS)  # type: ignore[misc]


@pytest.mark.requirement("STORE-14")
@outages(OUTAGES, every_day=[("redis-asgi", "restarted"), ("postgres-wsgi", "silent")])
def test_outage_in_the_middle_of_runs(servers: Servers, outage: str, tmp_path: Path) -> None:
    service, owner, other = servers
    fault = OUTAGES[outage]
    before = unique("before")
    eventually(lambda: works(owner, before), BOUND_SECONDS)
    kept = events_of(other.replay("count", before))
    crowd = Crowd(owner, other, tmp_path / "until", RUNS)
    fault.begin(service)
    answers = ask_everything(owner, before)
    if fault.is_total:
        assert all(answers)
        time.sleep(OUTAGE_SECONDS)
    fault.end(service)
    streamed, joined = crowd.end()
    for frames, thread in zip(streamed, crowd.threads, strict=True):
        assert frames[-1].event["type"] == "RUN_FINISHED", frames[-1]
        replayed = eventually(lambda thread=thread: _replay(other, thread), BOUND_SECONDS)  # type: ignore[misc]
        assert events_of(replayed) == compact(events_of(frames)), thread
    for followed, frames in zip(joined, streamed, strict=False):
        assert events_of(followed) == events_of(frames)
    recovers(servers)
    assert events_of(other.replay("count", before)) == kept


@pytest.mark.requirement("STORE-14")
@outages(["cut off", "suspended"], every_day=[("redis-asgi", "suspended")])
def test_outage_at_the_end_of_runs(servers: Servers, outage: str, tmp_path: Path) -> None:
    """Their streams stay open, and end as if nothing had been."""
    service, owner, other = servers
    fault = OUTAGES[outage]
    crowd = Crowd(owner, other, tmp_path / "until", 10)
    fault.begin(service)
    crowd.let_end()
    ask_everything(owner, crowd.threads[0])
    time.sleep(OUTAGE_SECONDS)
    fault.end(service)
    streamed, joined = crowd.end()
    for frames, thread in zip(streamed, crowd.threads, strict=True):
        assert frames[-1].event["type"] == "RUN_FINISHED", frames[-1]
        assert events_of(other.replay("count", thread)) == compact(events_of(frames)), thread
    for followed, frames in zip(joined, streamed, strict=False):
        assert events_of(followed) == events_of(frames)
    recovers(servers)


@pytest.mark.requirement("STORE-14")
def test_connections_that_break_while_runs_begin_and_end(servers: Servers) -> None:
    """Of each run, the client learns either that there is none, or how it ended; and its thread is free soon."""
    service, owner, other = servers
    threads = [unique("short") for _ in range(repetitions(24, 60))]

    def run(thread: str) -> list[Frame]:
        with owner.start_run("count", thread, forwardedProps={"n": 3, "interval": 0.01}) as stream:
            if stream.status != 200:
                assert refused(stream)
                return []
            return list(stream.frames())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(run, thread) for thread in threads]
        deadline = time.monotonic() + LEASE_SECONDS / 2  # without end, it would be an outage longer than a lease
        while concurrent.futures.wait(runs, timeout=0.05).not_done and time.monotonic() < deadline:
            service.proxy.drop()
        results = [each.result(BOUND_SECONDS) for each in runs]
    for thread, frames in zip(threads, results, strict=True):
        if frames:
            assert frames[-1].event["type"] == "RUN_FINISHED", frames[-1]
            assert events_of(other.replay("count", thread)) == compact(events_of(frames)), thread
    refused_threads = [thread for thread, frames in zip(threads, results, strict=True) if not frames]
    for thread in refused_threads:
        eventually(lambda thread=thread: works(other, thread), LEASE_SECONDS / 2)  # type: ignore[misc]


@pytest.mark.requirement("STORE-06")
@pytest.mark.skipif(not ALL, reason="takes long, and the engine's part is tested in tests/unit/test_store_outages.py")
@pytest.mark.parametrize("kind", SERVICES)
def test_outage_that_is_longer_than_the_lease(kind: str, tmp_path: Path) -> None:
    with (
        SERVICES[kind](lease_seconds=1.5, is_shared=True) as service,
        serve_workers("asgi", service.url) as owner,
        serve_workers("asgi", service.url) as other,
    ):
        servers = Servers(service, Client(owner), Client(other))
        eventually(lambda: works(servers.owner, unique("before")), BOUND_SECONDS)
        crowd = Crowd(servers.owner, servers.other, tmp_path / "until", 10)
        service.proxy.refuse()
        streamed = crowd.streamed()  # which end by themselves
        for frames in streamed:
            assert frames[-1].event["type"] == "RUN_ERROR"
            assert frames[-1].event["code"] in ("STORE_UNAVAILABLE", "RUN_INTERRUPTED")
        service.proxy.restore()
        recovers(servers)
        _, joined = crowd.end()
        for thread, frames in zip(crowd.threads[:3], streamed, strict=False):
            replayed = events_of(eventually(lambda thread=thread: _replay(servers.other, thread), BOUND_SECONDS))  # type: ignore[misc]
            assert (replayed[-1]["type"], replayed[-1]["code"]) == ("RUN_ERROR", "RUN_LOST")
            numbers = [number.value for number in numbers_of(events_of(frames))]
            assert [number.value for number in numbers_of(replayed)] == numbers[: len(numbers_of(replayed))]
        for followed in joined:
            assert (followed[-1].event["type"], followed[-1].event["code"]) == ("RUN_ERROR", "RUN_LOST")


def _replay(client: Client, thread: str) -> list[Frame] | None:
    with client.connect("count", thread) as stream:
        return list(stream.frames()) if stream.status == 200 else None
