"""Servers of the runtime in `fixtures/worker_app.py`: several processes, or several servers, over one store."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .fixtures.worker_app import PID, RAW_SECONDS, STORE
from .http_client import Event, Frame, Stream
from .servers import RunningServer, serve_app

T = TypeVar("T")

FULL_REPETITIONS = "FULL_REPETITIONS"
"""In the environment: all repetitions, where the everyday suite makes do with a few."""

RETRY_SECONDS = 0.02


def repetitions(few: int, all_: int) -> int:
    """Returns ``all_`` if the environment wants all repetitions, else ``few``."""
    return all_ if os.environ.get(FULL_REPETITIONS) else few


def sqlite_url(path: Path, **options: float) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"sqlite:///{path}?{query}"


@contextlib.contextmanager
def serve_workers(
    adapter: str,
    store: str,
    *,
    server: str | None = None,
    workers: int = 1,
    preload: bool = False,
    threads: int = 64,
    extra: Sequence[str] = (),
    raw_seconds: float | None = None,
    application: str = "application",
    env: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """A server over the store of that URL, the adapter's first one unless ``server`` is set.

    ``raw_seconds`` is for how long it keeps raw frames, ``application`` the factory in `fixtures.worker_app`.
    """
    variables = {STORE: store, **(env or {}), **({} if raw_seconds is None else {RAW_SECONDS: str(raw_seconds)})}
    options: dict[str, Any] = {"workers": workers, "threads": threads, "preload": preload, "extra": extra}
    with serve_app(
        adapter, f"tests.fixtures.worker_app:{application}", server=server, env=variables, **options
    ) as running:
        yield running


def pid_of(stream: Stream) -> int:
    """Returns the id of the process that sent a response."""
    return int(stream.headers[PID])


def eventually(attempt: Callable[[], T], seconds: float) -> T:
    """Calls a function until its result is true, and returns that; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := attempt()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(RETRY_SECONDS)
    return result


class Number(NamedTuple):
    """A number that an agent has sent, and when, in seconds of the machine's monotonic clock."""

    value: int
    at: float


def numbers_of(events: Iterable[Event]) -> list[Number]:
    """Returns the numbers in an agent's events, which may be compacted."""
    words = "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT").split()
    pairs = [word.partition("@") for word in words]
    return [Number(int(number), float(at)) for number, _, at in pairs]


def events_of(frames: Iterable[Frame]) -> list[Event]:
    return [frame.event for frame in frames]


def frames_until(stream: Stream, number: int) -> list[Frame]:
    """Returns the frames up to the one that has reached a number."""
    taken: list[Frame] = []
    for frame in stream.frames():
        taken.append(frame)
        if any(reached.value >= number for reached in numbers_of([frame.event])):
            return taken
    raise AssertionError(f"the stream ended before {number}: {taken[-1:]}")
