"""What grows with the number of open streams, on a real server: CPU time per event and memory per stream."""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import shared
from .series import Growth, Point, Series
from .server import running

SIZES = (100, 1_000, 10_000)
INTERVAL = 4.0
"""Seconds between two events of a stream, while memory and errors are measured."""
EVENTS_PER_SECOND = SIZES[-1] / INTERVAL
"""Of all streams together, while CPU time is measured: a server that is busier needs less for each event."""
OPENED_PER_SECOND = 500
MEASURED_SECONDS = 8.0
"""How long CPU time is measured, once all streams are open and before the first one ends."""
SPARE_FILES = 200
"""Descriptors that a process needs next to those of its streams."""


class Open(NamedTuple):
    """A number of streams that were open at the same time."""

    streams: int
    cpu_us: float
    """Per event."""
    kb: float
    """Memory per stream."""
    errors: int


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How streams are opened and kept open; ``interval`` is the seconds between two events of a stream."""

    streams: int
    interval: float

    @property
    def ramp(self) -> float:
        """Seconds until all streams are open."""
        return self.streams / OPENED_PER_SECOND

    @property
    def events(self) -> int:
        """The events of each stream."""
        return math.ceil((self.ramp + MEASURED_SECONDS + 2.0) / self.interval)

    @property
    def workload(self) -> dict[str, Any]:
        """As the shared benchmark has it."""
        properties = {"n": self.events, "interval": self.interval, "stamp": True}
        return {"agent": "paced", "fp": properties, "conns": self.streams, "ramp": self.ramp}


def measure() -> list[Open]:
    """Opens streams on a new server for each of `SIZES`. Leaves out what this process may not open."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # child processes inherit it
    possible = [size for size in SIZES if limit == resource.RLIM_INFINITY or size + SPARE_FILES <= limit]
    for size in sorted(set(SIZES) - set(possible)):
        print(f"# {size} streams left out: only {limit} open files are allowed (ulimit -Hn)", file=sys.stderr)
    return [_measure(size) for size in possible]


def _measure(size: int) -> Open:
    """Measures twice, unless one measurement serves both: at the same interval, and at the same rate of events."""
    plan, busy = Plan(size, INTERVAL), Plan(size, size / EVENTS_PER_SECOND)
    with running() as server:
        warm = shared.module().load_cmd(server, {**plan.workload, "conns": 20, "fp": {"n": 10}})
        subprocess.run(warm, check=True, stdout=subprocess.DEVNULL)
        slow = _load(server, plan)
        fast = slow if busy == plan else _load(server, busy)
    print(f"# {size} streams done", file=sys.stderr, flush=True)
    return slow._replace(cpu_us=fast.cpu_us, errors=slow.errors + (fast.errors if fast is not slow else 0))


def _load(server: Any, plan: Plan) -> Open:
    bench, pid = shared.module(), server.proc.pid
    bench.settle(pid)
    memory_before = bench.tree_pss(pid)
    with subprocess.Popen(bench.load_cmd(server, plan.workload), stdout=subprocess.PIPE) as load:
        time.sleep(plan.ramp + 1.0)
        memory = bench.tree_pss(pid) - memory_before
        cpu_before, began = bench.tree_cpu(pid), time.monotonic()
        time.sleep(MEASURED_SECONDS)
        cpu, seconds = bench.tree_cpu(pid) - cpu_before, time.monotonic() - began
        output, _ = load.communicate()
    result = json.loads(output)
    if result["first_error"]:
        print(f"# {plan.streams} streams: {result['errors']} errors, first: {result['first_error']}", file=sys.stderr)
    lost = plan.events * plan.streams - result["content"]
    events = seconds * plan.streams / plan.interval
    return Open(plan.streams, cpu * 1e6 / events, memory / plan.streams, result["errors"] + lost)


def series(measured: Sequence[Open]) -> list[Series]:
    """Returns what grows with the streams."""
    figures: Mapping[str, str] = {"cpu_us": "CPU us per event", "kb": "KB per stream"}

    def points(key: str) -> tuple[Point, ...]:
        return tuple(Point(of.streams, (getattr(of, key),)) for of in measured)

    return [Series("open streams", figure, Growth.CONSTANT, points(key)) for key, figure in figures.items()]


def rows(measured: Sequence[Open]) -> Sequence[dict[str, float]]:
    """Returns the figures of the most streams, as a row; none if they could not be opened."""
    if [of.streams for of in measured] != list(SIZES):
        return []
    before, most = measured[-2:]
    return [{"turn": 0, "stream_errors": most.errors, "memory_growth": most.kb / before.kb}]
