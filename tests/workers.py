"""Servers of the runtime in `fixtures/worker_app.py`: several processes, or several servers, over one store."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from copilot_runtime._events import Cursor

from .compaction_oracle import compact
from .fixtures.worker_app import PID, RAW_SECONDS, STORE
from .http_client import Client, Event, Frame, HeaderFields, Stream
from .servers import RunningServer, serve_app

T = TypeVar("T")

RETRY_SECONDS = 0.02


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
    application: str = "worker_app:application",
    env: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """A server over the store of that URL, the adapter's first one unless ``server`` is set.

    ``raw_seconds`` is for how long it keeps raw frames, ``application`` a module of `fixtures` and its factory.
    """
    variables = {STORE: store, **(env or {}), **({} if raw_seconds is None else {RAW_SECONDS: str(raw_seconds)})}
    options: dict[str, Any] = {"workers": workers, "threads": threads, "preload": preload, "extra": extra}
    with serve_app(adapter, f"tests.fixtures.{application}", server=server, env=variables, **options) as running:
        yield running


class BalancedClient(Client):
    """Sends each request to the next one of several servers, as a load balancer does."""

    def __init__(self, servers: Sequence[RunningServer]) -> None:
        super().__init__(servers[0])
        self._clients = itertools.cycle([Client(server) for server in servers])

    def send(self, method: str, path: str, body: Any = None, headers: HeaderFields = ()) -> http.client.HTTPConnection:
        return next(self._clients).send(method, path, body, headers)


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


def resume(client: Client, agent: str, thread: str, seen: str | None) -> list[Frame]:
    """Returns what a reader receives that has received everything up to an event."""
    with client.connect(agent, thread, seen) as stream:
        assert stream.status == 200
        return list(stream.frames())


REAPERS = 1_000_000_000
"""The numbers from which on a process numbers the events that it adds to the run of another one."""


def check_cursors(client: Client, agent: str, thread: str, streamed: Sequence[Frame]) -> None:
    """Resumes an ended run, the thread's only one, at, before and after the last event that its process has stored.

    ``streamed`` is what a reader of that process has received, from the first event on.
    """
    sent = [frame for frame in streamed if frame.id is not None]
    rest = resume(client, agent, thread, sent[0].id)
    end = rest[-1]
    assert end.event["type"] == "RUN_ERROR"
    if end.id is None:  # the process was killed before it had stored any event
        assert client.replay(agent, thread) == []
        for seen in (sent[0].id, sent[-1].id):
            assert resume(client, agent, thread, seen) == [end], seen
        return
    stored = [sent[0], *(frame for frame in rest if _number(frame) < REAPERS)]
    closing = rest[len(stored) - 1 :]
    both = min(len(stored), len(sent))
    assert stored[:both] == sent[:both]
    assert resume(client, agent, thread, stored[-2].id) == [stored[-1], *closing], "before"
    assert resume(client, agent, thread, stored[-1].id) == closing, "at"
    lost = sent[len(stored) :]
    for seen in (*(frame.id for frame in (*lost[:1], *lost[-1:])), f"{ordinal_of(sent)}.999999"):
        assert resume(client, agent, thread, seen) == [end], f"after, {seen}"
    assert resume(client, agent, thread, end.id) == []


def ordinal_of(frames: Sequence[Frame]) -> int:
    """Returns the ordinal of a run on its thread, by the ids of its frames."""
    return _cursor(frames[0]).ordinal


def _number(frame: Frame) -> int:
    return _cursor(frame).number


def _cursor(frame: Frame) -> Cursor:
    cursor = Cursor.parse(frame.id)
    assert cursor is not None
    return cursor


def works(client: Client, thread: str) -> bool:
    """Whether a run on a thread is begun, which then ends well and is kept. False where it is not begun yet."""
    with client.start_run("count", thread, forwardedProps={"n": 1}) as stream:
        if stream.status != 200:
            assert stream.status in (409, 503), stream.read()
            return False
        frames = events_of(stream.frames())
    assert frames[-1]["type"] == "RUN_FINISHED"
    assert events_of(client.replay("count", thread))[-len(compact(frames)) :] == compact(frames)
    return True
