"""What a replay by ``connect`` costs by the events of the thread, on a real server."""

from __future__ import annotations

import http.client
import json
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from .. import shared
from .cases import run_request
from .in_process import HttpRequest
from .series import Growth, Point, Series
from .server import running

SIZES = (100, 1_000, 10_000)
EVENTS = 200_000
"""How many are replayed for one figure."""
AGENT = "custom"
"""Its events are not joined by a replay."""


def measure(rounds: int) -> Series:
    """Returns the CPU time per event, in microseconds, by the events of the thread."""
    with running() as server:
        for size in SIZES:
            _post(server, run_request(AGENT, thread=_thread(size), forwardedProps={"n": size}))
            _cpu_us(server, size)  # fills what is made once and kept
        figures: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(rounds):
            for size in SIZES:
                figures[size].append(_cpu_us(server, size))
    points = tuple(Point(size, tuple(of)) for size, of in figures.items())
    return Series("events of a replay", "CPU us per event", Growth.CONSTANT, points)


def _thread(size: int) -> str:
    return f"thread-{size}"


def _post(server: Any, request: HttpRequest) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", request.path, request.body, {"Content-Type": "application/json"})
        connection.getresponse().read()
    finally:
        connection.close()


def _cpu_us(server: Any, size: int) -> float:
    """Has a client connect again and again. Raises RuntimeError unless it receives all events each time."""
    bench, pid = shared.module(), server.proc.pid
    request, count = run_request(AGENT, thread=_thread(size), action="connect"), EVENTS // size
    with tempfile.NamedTemporaryFile(suffix=".json") as body:
        body.write(request.body)
        body.flush()
        command = [bench.loadgen(), "--port", str(server.port), "--path", request.path, "--body", body.name]
        command += ["--header", "Content-Type: application/json", "--requests", str(count)]
        before = bench.settle(pid)
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, Any] = json.loads(output)
    expected = count * _events_of_run(size)
    if result["errors"] or result["events"] != expected:
        raise RuntimeError(f"{result['events']} of {expected} events were replayed: {result['first_error']}")
    return float((bench.settle(pid) - before) * 1e6 / expected)


def _events_of_run(size: int) -> int:
    """Returns the events of a run, which include those of its start and its end."""
    return size + 2


def rows(series: Series) -> Sequence[dict[str, float]]:
    """Returns the figures of the longest thread, one row for each round."""
    return [{"turn": turn, "replay_us": figure} for turn, figure in enumerate(series.points[-1].figures)]
