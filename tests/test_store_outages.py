"""Stores on other machines that fail in the middle of runs: real servers, real connections.

Whatever happens for less than the time of a lease, no run is lost, none is stored other than it was streamed, and
nothing has to be restarted. What is answered meanwhile is 503 with Retry-After.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .compaction_oracle import compact
from .http_client import Client, Frame, Stream, unique
from .services.redis import new_prefix, run_redis
from .services.tcp_proxy import TcpProxy, run_tcp_proxy
from .workers import events_of, eventually, frames_until, serve_workers

LEASE_SECONDS = 8.0
TIMEOUT_SECONDS = 1.0
"""The longest that a store waits for its server."""
BOUND_SECONDS = 30.0
RUNS = 50
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
    """Lets the server refuse all writes, until `empty`."""
    empty: Callable[[], None]


@contextlib.contextmanager
def redis_service() -> Iterator[Service]:
    with run_redis() as server, run_tcp_proxy(server.port) as proxy:
        options = f"lease_seconds={LEASE_SECONDS}&timeout_seconds={TIMEOUT_SECONDS}&poll_seconds=0.5"
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


SERVICES: dict[str, Callable[[], contextlib.AbstractContextManager[Service]]] = {"redis": redis_service}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with SERVICES[request.param]() as service:
        yield service


class Outage:
    """A fault of the store's server, from the outside. ``begin`` returns once it is there, ``end`` once it is over."""

    def __init__(self, begin: Callable[[Service], object], end: Callable[[Service], object] = lambda _: None) -> None:
        self.begin = begin
        self.end = end


def cut_again_and_again(service: Service) -> None:
    for _ in range(5):
        connections = service.proxy.connections
        service.proxy.drop()
        eventually(lambda before=connections: service.proxy.connections > before, BOUND_SECONDS)  # type: ignore[misc]


OUTAGES = {
    "restarted": Outage(lambda service: service.restart()),
    "suspended": Outage(lambda service: service.pause(), lambda service: service.resume()),
    "cut off": Outage(lambda service: service.proxy.refuse(), lambda service: service.proxy.restore()),
    "silent": Outage(lambda service: service.proxy.freeze(), lambda service: service.proxy.restore()),
    "connections cut": Outage(cut_again_and_again),
    "connections ended by the server": Outage(lambda service: service.end_connections()),
    "out of memory": Outage(lambda service: service.fill(), lambda service: service.empty()),
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


def works(client: Client, thread: str) -> bool:
    """Whether a run is begun, which then ends well and is kept. False where it is not begun yet."""
    with client.start_run("count", thread, forwardedProps={"n": 1}) as stream:
        if stream.status != 200:
            assert stream.status in (409, 503), stream.read()
            return False
        frames = events_of(stream.frames())
    assert frames[-1]["type"] == "RUN_FINISHED", frames[-1]
    assert events_of(client.replay("count", thread))[-len(compact(frames)) :] == compact(frames)
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
            assert self._reached.acquire(timeout=BOUND_SECONDS)

    def _read(self, open_: Callable[[], Stream]) -> list[Frame]:
        with open_() as stream:
            assert stream.status == 200, stream.read()
            begun = frames_until(stream, 3)
            self._reached.release()
            return [*begun, *stream.frames()]

    def end(self) -> tuple[list[list[Frame]], list[list[Frame]]]:
        """Ends all runs, and returns what their readers, and those on another process, have received."""
        self._until.touch()
        streamed = [future.result(BOUND_SECONDS) for future in self._streams]
        joined = [future.result(BOUND_SECONDS) for future in self._joined]
        self._pool.shutdown()
        return streamed, joined


@contextlib.contextmanager
def two_servers(name: str, service: Service) -> Iterator[tuple[Client, Client]]:
    with serve_workers(name, service.url) as first, serve_workers(name, service.url) as second:
        yield Client(first), Client(second)


@pytest.mark.requirement("STORE-06")
@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_outage_in_the_middle_of_runs(name: str, service: Service, outage: str, tmp_path: Path) -> None:
    fault = OUTAGES[outage]
    with two_servers(name, service) as (owner, other):
        before = unique("before")
        assert works(owner, before)
        kept = events_of(other.replay("count", before))
        crowd = Crowd(owner, other, tmp_path / "until", RUNS)
        fault.begin(service)
        # Not one of these hangs, or is answered in another way.
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            asked = [
                *(pool.submit(owner.connect, "count", before) for _ in range(5)),
                *(
                    pool.submit(owner.start_run, "count", unique("meanwhile"), forwardedProps={"n": 1})
                    for _ in range(5)
                ),
                *(pool.submit(owner.open, "POST", f"/agent/count/stop/{unique('none')}") for _ in range(5)),
                *(pool.submit(owner.open, "GET", "/threads") for _ in range(5)),
            ]
            answers = [refused(request.result(BOUND_SECONDS)) for request in asked]
        fault.end(service)
        if fault.end is not None and outage in ("suspended", "cut off", "silent"):
            assert all(answers)
        streamed, joined = crowd.end()
        for frames, thread in zip(streamed, crowd.threads, strict=True):
            assert frames[-1].event["type"] == "RUN_FINISHED", frames[-1]
            replayed = eventually(lambda thread=thread: _replay(other, thread), BOUND_SECONDS)  # type: ignore[misc]
            assert events_of(replayed) == compact(events_of(frames)), thread
        for followed, frames in zip(joined, streamed, strict=False):
            assert [frame.event for frame in followed] == events_of(frames)
        for client in (owner, other):
            eventually(lambda client=client: works(client, unique("after")), BOUND_SECONDS)  # type: ignore[misc]
        assert events_of(other.replay("count", before)) == kept


def _replay(client: Client, thread: str) -> list[Frame] | None:
    with client.connect("count", thread) as stream:
        return list(stream.frames()) if stream.status == 200 else None
