"""Measures what each store costs: CPU time per event and per run, round trips per run, the delay on another process.

    python -m benchmarks.stores.costs
    python -m benchmarks.stores.costs --stores memory,postgres --rounds 7

See README.md in the folder above.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import statistics
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.http_client import Client, text_of
from tests.serve import command

from .. import machine, results, shared, tables
from ..servers import table
from .round_trips import counting_proxy
from .services import SERVICES, Service, cpu_between

WORKLOADS: Mapping[str, str] = {"W2": "event", "W3": "run"}
"""The workloads of the shared benchmark, and what their CPU time is divided by."""
COUNTED_RUNS = 50
FOLLOWED_RUNS = 10
"""How many runs are followed at a time while the delay is measured."""
FOLLOWED_EVENTS = 100
INTERVAL = 0.05
"""Seconds between two events of those runs."""
GOAL_MS = 15.0
"""What half of the events of a run on another process may take."""


class Costs(NamedTuple):
    """Of one round of a workload, in microseconds per event or run."""

    server: float
    store: float


@contextlib.contextmanager
def running(kind: str, url: str) -> Iterator[Any]:
    """Runs a server over a store, as the shared benchmark's own class."""
    name = f"ours-asgi-{kind}"
    specification = tomllib.loads(table(name, command("asgi", "bench", "{port}", store=url), shared.ROOT))[name]
    server = shared.module().Server(name, specification)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def measure_workload(server: Any, service: Service, workload: str) -> Costs:
    """Returns the CPU time of one round."""
    bench = shared.module()
    before = service.cpu_seconds()
    measured = bench.measure(server, workload, bench.WORKLOADS[workload])
    if measured["errors"] or measured["missing"]:
        print(f"# {server.name} {workload}: {measured['errors']} errors, {measured['first_error']}", file=sys.stderr)
    store = cpu_between(before, service.cpu_seconds()) * 1e6 / measured["units"]
    return Costs(measured["cpu_us"], store)


class RoundTrips(NamedTuple):
    """Of one run: until its response begins, and altogether."""

    before_headers: float
    all: float


def count_round_trips(service: Service) -> RoundTrips:
    """Counts with runs of ten events, one after the other, on new threads."""
    url = service.url({})
    port = urlsplit(url).port
    assert port is not None
    with counting_proxy(port) as proxy, running("counted", url.replace(f":{port}", f":{proxy.port}", 1)) as server:
        client = client_of(server)
        for number in range(10):  # by then, every connection has been made
            client.run("short", f"warm-{number}")
        time.sleep(1.0)
        counts: list[RoundTrips] = []
        for number in range(COUNTED_RUNS):
            before = proxy.round_trips
            with client.start_run("short", f"counted-{number}", forwardedProps={"interval": 0.002}) as stream:
                headers = proxy.round_trips - before
                stream.rest()
            counts.append(RoundTrips(headers, proxy.round_trips - before))
    return RoundTrips(*(statistics.median(values) for values in zip(*counts, strict=True)))


class Delay(NamedTuple):
    """Milliseconds from the agent to a reader of another process."""

    p50: float
    p99: float


def measure_delay(kind: str, url: str) -> Delay:
    """Measures with some runs at a time, whose readers are all on another process."""
    delays: list[float] = []
    with running(kind, url) as one, running(f"{kind}-2", url) as other:
        here, there = client_of(one), client_of(other)

        def follow(thread: str) -> None:
            properties = {"n": FOLLOWED_EVENTS, "interval": INTERVAL, "stamp": True}
            with here.start_run("paced", thread, forwardedProps=properties), there.connect("paced", thread) as stream:
                found: list[float] = []
                for event in stream.events():
                    now = time.monotonic_ns()
                    # Those that the reader finds when it comes are joined, and were sent before.
                    if len(stamps := re.findall(r"t=(\d+)", text_of([event]))) == 1:
                        found.append((now - int(stamps[0])) / 1e6)
                delays.extend(found[10:])

        followers = [threading.Thread(target=follow, args=(f"followed-{at}",)) for at in range(FOLLOWED_RUNS)]
        for follower in followers:
            follower.start()
            time.sleep(INTERVAL / FOLLOWED_RUNS)
        for follower in followers:
            follower.join()
    cuts = statistics.quantiles(delays, n=100)
    return Delay(cuts[49], cuts[98])


def client_of(server: Any) -> Client:
    class Place(NamedTuple):
        port: int
        base_url: str

    return Client(Place(server.port, f"http://127.0.0.1:{server.port}{server.base}"))


def measure(kinds: Sequence[str], rounds: int) -> list[list[str]]:
    """Returns the rows of the table."""
    costs: dict[str, dict[str, list[Costs]]] = {kind: {workload: [] for workload in WORKLOADS} for kind in kinds}
    rows: list[list[str]] = []
    with contextlib.ExitStack() as stack:
        services = {kind: stack.enter_context(SERVICES[kind]()) for kind in kinds}
        servers = {kind: stack.enter_context(running(kind, service.url({}))) for kind, service in services.items()}
        for kind, server in servers.items():  # warm
            measure_workload(server, services[kind], "W3")
        for _, workload, kind in itertools.product(range(rounds), WORKLOADS, kinds):
            costs[kind][workload].append(measure_workload(servers[kind], services[kind], workload))
        for kind, service in services.items():
            # Memory has no other process, and a file no round trips.
            is_remote = bool(service.pids())
            trips = count_round_trips(service) if is_remote else None
            delay = None if kind == "memory" else measure_delay(kind, service.url({}))
            rows.append(row(kind, costs[kind], trips, delay))
            print(f"# {kind} done", file=sys.stderr, flush=True)
    return rows


def row(kind: str, costs: Mapping[str, Sequence[Costs]], trips: RoundTrips | None, delay: Delay | None) -> list[str]:
    figures = [
        tables.significant(statistics.median(getattr(cost, which) for cost in costs[workload]))
        for workload in WORKLOADS
        for which in Costs._fields
    ]
    counted = [tables.NOTHING] * 2 if trips is None else [tables.significant(count) for count in trips]
    delayed = [tables.NOTHING] * 2 if delay is None else [f"{value:.1f} ms" for value in delay]
    return [kind, *figures, *counted, *delayed]


COLUMNS = (
    "store",
    *(f"{workload}, CPU us per {unit}: {which}" for workload, unit in WORKLOADS.items() for which in Costs._fields),
    *("round trips before the headers", "round trips of a run"),
    *("delay on another process, p50", "p99"),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stores.costs", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--stores", default=",".join(SERVICES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each workload (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace this part of RESULTS.md")
    options = parser.parse_args()
    shared.prepare_environment(with_node=False)
    found = tables.table(COLUMNS, measure(options.stores.split(","), options.rounds))
    print(found)
    if options.write:
        results.write_stores(found, machine.describe(with_node=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
