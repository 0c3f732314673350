"""The stores that are measured, each on a server of its own, and the CPU time that its processes take."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.services.postgres import run_postgres
from tests.services.redis import run_redis


class Service(NamedTuple):
    """A running store.

    ``url`` creates the URL of a new store there, with options; ``pids`` are its own processes; ``settle`` does at once
    what the store would do within minutes after it was filled.
    """

    url: Callable[[Mapping[str, Any]], str]
    pids: Callable[[], list[int]]
    settle: Callable[[], object] = lambda: None

    def cpu_seconds(self) -> dict[int, float]:
        """Returns the CPU time of each of its processes so far."""
        return {pid: seconds for pid in self.pids() if (seconds := _cpu_seconds(pid)) is not None}


def cpu_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Returns the CPU time of the processes that have run all the time."""
    return sum(seconds - before[pid] for pid, seconds in after.items() if pid in before)


def _cpu_seconds(pid: int) -> float | None:
    """Returns the CPU time of a process in nanoseconds' precision, or None if it has ended."""
    try:
        tasks = [(task / "schedstat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return None
    return sum(int(text.split()[0]) for text in tasks) / 1e9


@contextlib.contextmanager
def _memory() -> Iterator[Service]:
    yield Service(lambda options: f"memory://?{urlencode(_without_lease(options))}", list)


def _without_lease(options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if name.startswith("max_")}


@contextlib.contextmanager
def _sqlite() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        names = iter(range(1_000_000))
        yield Service(lambda options: f"sqlite:///{folder}/{next(names)}.db?{urlencode(options)}", list)


@contextlib.contextmanager
def _postgres() -> Iterator[Service]:
    with run_postgres("shared_buffers=1GB", "max_wal_size=4GB") as server:

        def vacuum() -> None:
            with server.connect() as db:
                db.execute("VACUUM ANALYZE")
                db.execute("CHECKPOINT")

        yield Service(lambda options: server.url(**options), server.pids, vacuum)


@contextlib.contextmanager
def _redis() -> Iterator[Service]:
    with run_redis("--appendfsync", "everysec") as server:
        yield Service(lambda options: f"{server.url}&{urlencode(options)}", lambda: [server.process.pid])


SERVICES: Mapping[str, Callable[[], contextlib.AbstractContextManager[Service]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgres": _postgres,
    "redis": _redis,
}
"""Starts the service of a kind of store, with the settings that its users have."""
