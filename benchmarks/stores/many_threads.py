"""Measures what the operations of a store cost with 100 threads and with 100,000, of 20 runs each.

    python -m benchmarks.stores.many_threads
    python -m benchmarks.stores.many_threads --stores sqlite --threads 100,10000 --blocks 10

See README.md in the folder above.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import itertools
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from copilot_runtime.stores._urls import store_from_url
from copilot_runtime.stores.portable import PortableThread
from copilot_runtime.stores.protocol import Batch, Lease, ThreadKey, ThreadQuery
from copilot_runtime.testing._factories import begin, message_events, record_run

from .. import machine, results, tables
from .services import SERVICES, Service, cpu_between

RUNS = 20
"""The runs of each thread, and its limit, so that a thread does not grow while it is measured."""
BLOCK = 50
"""How often an operation is called in a row, each time on another thread."""
ALLOWED = 1.5
"""How much more an operation may cost with the most threads."""
RARE = "rare"
"""An agent with few threads, whichever number of threads there are."""
RARE_THREADS = 5
PAGE = 20
"""The entries of a page of a list."""
THREADS_PER_USER = 10
"""Every second thread belongs to one owner, the others to users with that many."""
FILLING = 4
"""How many OS threads fill a store."""
ROOM = {"max_bytes": 0, "max_runs_per_thread": RUNS, "lease_seconds": 600}


class Cost(NamedTuple):
    """Microseconds of one call: until it has returned, of CPU time in this process, and in those of the store."""

    wall: float
    cpu: float
    store_cpu: float

    @property
    def all_cpu(self) -> float:
        return self.cpu + self.store_cpu


class Filled:
    """A store with a number of threads."""

    def __init__(self, url: str, threads: int) -> None:
        self.store: Any = store_from_url(url)
        self.limited = store_from_url(url.replace("max_threads=0", f"max_threads={threads + BLOCK}"))
        """The same, with room for that many threads."""
        self.threads = threads
        self.random = random.Random(threads)
        self.template = make_template(self.store)
        self._cursor: str | None = None

    def fill(self) -> None:
        """Adds the threads, by the way by which threads are copied between stores."""

        def add_some(start: int) -> None:
            for number in range(start, self.threads, FILLING):
                self.add(number)

        with concurrent.futures.ThreadPoolExecutor(FILLING) as pool:
            list(pool.map(add_some, range(FILLING)))
        while self.store.sweep():
            pass

    def add(self, number: int) -> None:
        """Adds a thread that was used before all those of a higher number, and before now."""
        at = time.time() - 1_000_000 + number
        # The long list begins with threads of even numbers that are high, so that those with few are behind them.
        agent = RARE if 0 <= number < 2 * RARE_THREADS else "agent"
        runs = [dataclasses.replace(run, agent_id=agent) for run in self.template.runs]
        changes: dict[str, Any] = {"key": key_of(number), "agent_id": agent, "runs": runs}
        times = dict.fromkeys(("created_at", "updated_at", "used_at"), at)
        self.store.import_thread(dataclasses.replace(self.template, **changes, **times))

    def keys(self) -> list[ThreadKey]:
        """Returns different threads, chosen at random."""
        return [key_of(number) for number in self.random.sample(range(self.threads), BLOCK)]

    def cursor(self) -> str | None:
        """Returns the cursor of a page in the middle of the long list."""
        if self._cursor is None:
            self._cursor = self.store.threads("", ThreadQuery(limit=self.threads // 4)).next_cursor
        return self._cursor


def key_of(number: int) -> ThreadKey:
    return ThreadKey("" if number % 2 == 0 else f"user-{number // (2 * THREADS_PER_USER)}", f"thread-{number:08}")


Call = Callable[[], object]
Block = Iterator[tuple[str, list[Call]]]
"""The operations of a block, each with its calls."""


def run_events(number: int) -> list[dict[str, Any]]:
    return message_events(f"message-{number:08}", "Lorem ipsum dolor sit amet. " * 4)


def question(number: int) -> dict[str, Any]:
    return {"id": f"question-{number:08}", "role": "user", "content": "Lorem ipsum dolor sit amet?"}


_numbers = itertools.count()


def runs(filled: Filled) -> Block:
    """A run on each of some threads, in the way of the engine: begun, appended to, ended."""
    store, keys = filled.store, filled.keys()
    leases: list[Lease] = []

    def begun(key: ThreadKey) -> None:
        leases.append(begin(store, key, f"run-{next(_numbers)}", agent="agent").lease)

    yield "begin", [partial(begun, key) for key in keys]
    recorded = [record_run(lease, run_events(at := next(_numbers)), [question(at)]) for lease in leases]
    pairs = list(zip(leases, recorded, strict=True))
    yield "append", [partial(store.append, [Batch(lease, frames[:2], frame_count=2)]) for lease, (frames, _) in pairs]
    yield f"look for signals of {BLOCK} runs", [partial(store.poll_signals, leases)] * BLOCK
    yield "finish", [partial(store.finish, lease, frames[2:], completion) for lease, (frames, completion) in pairs]


def reads(filled: Filled) -> Block:
    store, keys = filled.store, filled.keys()
    yield "connect", [partial(store.read, key, touch=True) for key in keys]
    yield "messages", [partial(store.messages, key) for key in keys]
    queries: Mapping[str, tuple[str, ThreadQuery]] = {
        "list, first page": ("", ThreadQuery(limit=PAGE)),
        "list, page in the middle": ("", ThreadQuery(limit=PAGE, cursor=filled.cursor())),
        "list of an agent": ("", ThreadQuery(limit=PAGE, agent_id="agent")),
        "list of an agent with few threads": ("", ThreadQuery(limit=PAGE, agent_id=RARE)),
        "list of a user with few threads": (key_of(1).owner, ThreadQuery(limit=PAGE)),
    }
    for name, (owner, query) in queries.items():
        yield name, [partial(store.threads, owner, query)] * BLOCK


def new_threads(filled: Filled) -> Block:
    """Runs on new threads, for each of which the least recently used one is deleted."""
    keys = [ThreadKey("", f"new-{number}") for number in range(BLOCK)]
    for number, key in enumerate(keys):
        filled.store.delete(key)
        filled.add(number - BLOCK)
    while filled.store.sweep():
        pass

    def run(key: ThreadKey) -> None:
        lease = begin(filled.limited, key, f"run-{next(_numbers)}", agent="agent").lease
        filled.limited.finish(lease, *record_run(lease, run_events(0), [question(0)]))

    yield "run on a new thread, in place of another thread", [partial(run, key) for key in keys]


PARTS: Sequence[Callable[[Filled], Block]] = (reads, runs, new_threads)


def measure(service: Service, stores: Sequence[Filled], blocks: int) -> dict[str, list[list[Cost]]]:
    """Returns the costs of each operation, for each of the stores: those of all blocks."""
    costs: dict[str, list[list[Cost]]] = defaultdict(lambda: [[] for _ in stores])
    for part in PARTS:
        for _ in range(blocks):
            # In turn, so that whatever else the machine does is the same for all.
            for at, filled in enumerate(stores):
                for name, calls in part(filled):
                    costs[name][at].append(measure_calls(service, calls))
        for filled in stores:
            while filled.store.sweep():
                pass
    return costs


def measure_calls(service: Service, calls: Sequence[Call]) -> Cost:
    before, began, cpu = service.cpu_seconds(), time.perf_counter(), time.process_time()
    for call in calls:
        call()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    each = 1e6 / len(calls)
    return Cost(wall * each, cpu * each, cpu_between(before, service.cpu_seconds()) * each)


def make_template(store: Any) -> PortableThread:
    """Returns a thread to fill stores with."""
    key = ThreadKey("", "template")
    for number in range(RUNS):
        lease = begin(store, key, f"run-{number:08}", agent="agent").lease
        frames, completion = record_run(lease, run_events(number), [question(at) for at in range(number + 1)])
        store.finish(lease, frames, completion)
    thread = store.export_thread(key)
    assert isinstance(thread, PortableThread)
    store.delete(key)
    return thread


def rows(kind: str, costs: Mapping[str, Sequence[Sequence[Cost]]]) -> list[list[str]]:
    """Returns the rows of the table for a kind of store."""
    found = []
    for name, of_sizes in costs.items():
        cpus = [statistics.median(cost.all_cpu for cost in blocks) for blocks in of_sizes]
        walls = [statistics.median(cost.wall for cost in blocks) for blocks in of_sizes]
        factor, slower = cpus[-1] / cpus[0], walls[-1] / walls[0]
        found.append(
            [
                *(kind, name, *map(tables.significant, cpus), f"{factor:.2f}x"),
                *(*map(tables.significant, walls), f"{slower:.2f}x"),
                "" if min(factor, slower) <= ALLOWED else "**more**",
            ]
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stores.many_threads", description=(__doc__ or "").split("\n", 1)[0]
    )
    kinds = [kind for kind in SERVICES if kind != "memory"]
    parser.add_argument("--stores", default=",".join(kinds), help="comma-separated (default: %(default)s)")
    parser.add_argument("--threads", default="100,100000", help="comma-separated (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=40, help=f"each of {BLOCK} calls (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace this part of RESULTS.md")
    options = parser.parse_args()
    sizes = [int(size) for size in options.threads.split(",")]
    found: list[list[str]] = []
    for kind in options.stores.split(","):
        with contextlib.ExitStack() as stack:
            service = stack.enter_context(SERVICES[kind]())
            stores = [Filled(service.url({**ROOM, "max_threads": 0}), size) for size in sizes]
            for filled in stores:
                began = time.monotonic()
                filled.fill()
                seconds = time.monotonic() - began
                print(f"# {kind}: {filled.threads} threads after {seconds:.0f} s", file=sys.stderr, flush=True)
            service.settle()
            found += rows(kind, measure(service, stores, options.blocks))
    columns = [f"{size:,} threads" for size in sizes]
    table = tables.table(("store", "operation", *columns, "CPU", *columns, "time", ""), found)
    print(table)
    if options.write:
        results.write_many_threads(table, machine.describe(with_node=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
