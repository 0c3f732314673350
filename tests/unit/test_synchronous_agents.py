"""Synchronous agents that a worker thread runs: without a task on an event loop, and with the same results."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from copilot_runtime._concurrency import driver, loops
from copilot_runtime._engine import Engine
from copilot_runtime._engine.endings import STOPPED_BY_USER
from copilot_runtime._engine.run import Run
from copilot_runtime._http.streaming import EventStream
from copilot_runtime.stores import MemoryStore

from .engine_helpers import HANG_SECONDS, THREAD, Reader, engine_on, given
from .recorder_helpers import FINISHED, STARTED, Event, read_frame, text
from .test_stream_readers import until

EVENTS = (STARTED, text("START"), text("CONTENT"), text("END"), FINISHED)


def stream_of(engine: Engine, agent: Any, **members: Any) -> EventStream:
    stream = driver.run_sync(engine.run(given(agent, **members)))
    assert isinstance(stream, EventStream)
    return stream


def read(stream: EventStream) -> list[Event]:
    """Returns all events, read on another thread, so that a test cannot hang."""
    chunks: list[bytes] = []
    thread = threading.Thread(target=lambda: chunks.extend(stream), daemon=True)
    thread.start()
    thread.join(HANG_SECONDS)
    assert not thread.is_alive()
    frames = [frame for frame in b"".join(chunks).split(b"\n\n") if frame and not frame.startswith(b":")]
    return [read_frame(frame + b"\n\n").event for frame in frames]


def yields(input: Any) -> Iterator[Event]:
    yield from EVENTS


def ends_early(input: Any) -> Iterator[Event]:
    yield STARTED
    yield text("START")


def yields_nothing(input: Any) -> Iterator[Event]:
    yield from ()


def yields_what_is_invalid(input: Any) -> Iterator[Event]:
    yield STARTED
    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m"}


def raises(*error: Any) -> Callable[[Any], Any]:
    def agent(input: Any) -> Iterator[Event]:
        yield STARTED
        raise error[0](*error[1:])

    return agent


def raises_at_once(*error: Any) -> Callable[[Any], Any]:
    def agent(input: Any) -> Any:
        raise error[0](*error[1:])

    return agent


async def asynchronous(input: Any) -> AsyncIterator[Event]:
    for event in EVENTS:
        await asyncio.sleep(0)
        yield event


async def returns_later(result: Any) -> Any:
    await asyncio.sleep(0)
    return result


async def raises_later() -> Any:
    await asyncio.sleep(0)
    raise LookupError("too late")


AGENTS: dict[str, Callable[[Any], Any]] = {
    "yields": yields,
    "ends early": ends_early,
    "yields nothing": yields_nothing,
    "yields what is invalid": yields_what_is_invalid,
    "returns a list": lambda input: list(EVENTS),
    "returns nothing": lambda input: None,
    "returns text": lambda input: "text",
    "returns an async generator": asynchronous,
    "returns through a lambda": lambda input: asynchronous(input),
    "returns a coroutine of a list": lambda input: returns_later(list(EVENTS)),
    "returns a coroutine of an async generator": lambda input: returns_later(asynchronous(input)),
    "returns a coroutine that raises": lambda input: raises_later(),
    "raises": raises(LookupError, "lost"),
    "raises at once": raises_at_once(LookupError, "lost"),
    "raises StopIteration": raises_at_once(StopIteration),
    "raises SystemExit": raises(SystemExit, 1),
    "raises CancelledError": raises(asyncio.CancelledError),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("name", AGENTS)
def test_agent_has_the_same_results_on_a_worker_thread_and_on_a_loop(name: str, debug: bool) -> None:
    reports: list[Any] = []
    reported = threading.Semaphore(0)

    def on_run_end(ended: Any) -> None:
        reports.append((ended.outcome, ended.failure, [event["type"] for event in ended.events()]))
        reported.release()

    def engine() -> Engine:
        return Engine(MemoryStore(), engine_on(MemoryStore(), debug=debug).options, on_run_end)

    async def on_a_loop() -> list[Event]:
        events = await Reader(await engine().run(given(AGENTS[name]))).rest()
        assert await asyncio.to_thread(reported.acquire, timeout=HANG_SECONDS)
        return events

    expected = asyncio.run(on_a_loop())
    assert read(stream_of(engine(), AGENTS[name])) == expected
    assert reported.acquire(timeout=HANG_SECONDS)
    assert reports[0] == reports[1]


def test_agent_on_a_worker_thread_needs_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_on(MemoryStore())
    assert read(stream_of(engine, yields))  # starts the timer that looks after active runs
    called: list[Any] = []
    monkeypatch.setattr(loops, "call_soon_threadsafe", lambda *call: called.append(call))
    assert read(stream_of(engine, yields))[-1]["type"] == "RUN_FINISHED"
    assert called == []
    assert not engine._runs.all()
    until(lambda: engine._agent_threads._busy == 0)


@pytest.mark.parametrize("name", AGENTS)
def test_run_on_a_worker_thread_is_freed_without_the_garbage_collector(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_on(MemoryStore())
    runs: weakref.WeakSet[Any] = weakref.WeakSet()
    start_on_thread = Run.start_on_thread
    monkeypatch.setattr(Run, "start_on_thread", lambda run: (runs.add(run), start_on_thread(run))[1])
    # What is logged is kept by pytest, with the traceback.
    monkeypatch.setattr(logging.getLogger("copilot_runtime.engine"), "disabled", True)
    gc.collect()
    gc.disable()
    try:
        assert read(stream_of(engine, AGENTS[name]))
        until(lambda: engine._agent_threads._busy == 0)
        until(lambda: not runs)
    finally:
        gc.enable()


class Waiting:
    """An agent that waits between two events, and notices when it is closed."""

    def __init__(self) -> None:
        self.waits, self.may_go, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, input: Any) -> Iterator[Event]:
        try:
            yield STARTED
            self.waits.set()
            self.may_go.wait(HANG_SECONDS)
            yield text("START")
            yield text("CONTENT")
        finally:
            self.closed.set()


def test_agent_on_a_worker_thread_is_closed_at_its_next_yield_when_it_is_stopped() -> None:
    engine, agent = engine_on(MemoryStore()), Waiting()
    stream = stream_of(engine, agent)
    assert agent.waits.wait(HANG_SECONDS)
    [run] = engine._runs.all()
    assert driver.run_sync(engine.stop(THREAD, None)).is_stopping
    until(lambda: run.waits_for_agent)
    agent.may_go.set()
    assert [event["type"] for event in read(stream)][-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert agent.closed.is_set()
    until(lambda: not run._timers)  # that of the grace period, cancelled on its loop


@pytest.mark.parametrize("on_thread", [False, True])
def test_coroutine_that_an_agent_returns_after_its_stop_is_awaited(on_thread: bool) -> None:
    engine = engine_on(MemoryStore())
    waits, may_go, is_awaited = threading.Event(), threading.Event(), threading.Event()

    async def cleans_up() -> list[Event]:
        is_awaited.set()
        return []

    def agent(input: Any) -> Any:
        waits.set()
        may_go.wait(HANG_SECONDS)
        return cleans_up()

    def stop() -> None:
        assert waits.wait(HANG_SECONDS)
        [run] = engine._runs.all()
        run.stop_threadsafe()
        until(lambda: run.waits_for_agent)
        may_go.set()

    async def on_a_loop() -> list[Event]:
        reader = Reader(await engine.run(given(agent)))
        await asyncio.to_thread(stop)
        return await reader.rest()

    if on_thread:
        stream = stream_of(engine, agent)
        stop()
        events = read(stream)
    else:
        events = asyncio.run(on_a_loop())
    assert [event["type"] for event in events] == ["RUN_STARTED", "RUN_FINISHED"]
    assert is_awaited.is_set()


@pytest.mark.parametrize("limit", ["stop", "timeout"])
def test_run_on_a_worker_thread_ends_without_an_agent_that_ignores_its_stop(limit: str) -> None:
    options = {"run_timeout_seconds": 0.01} if limit == "timeout" else {}
    engine, agent = engine_on(MemoryStore(), stop_grace_seconds=0.01, **options), Waiting()
    stream = stream_of(engine, agent)
    assert agent.waits.wait(HANG_SECONDS)
    if limit == "stop":
        [run] = engine._runs.all()
        run.stop_threadsafe(STOPPED_BY_USER)
    events = read(stream)
    assert events[-1].get("code") == ("RUN_TIMEOUT" if limit == "timeout" else None)
    assert not agent.closed.is_set()
    assert not engine._runs.all()
    agent.may_go.set()
    assert agent.closed.wait(HANG_SECONDS)


def test_timeout_that_is_set_while_a_run_on_a_worker_thread_ends_does_not_keep_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, agent = engine_on(MemoryStore(), run_timeout_seconds=1000), Waiting()
    loop = loops.background_loop()
    call_later = loop.call_later
    timers: list[asyncio.TimerHandle] = []

    def call_later_while_the_run_ends(delay: float, callback: Any, *args: Any, **options: Any) -> Any:
        run = getattr(callback, "__self__", None)
        if isinstance(run, Run):
            agent.may_go.set()
            until(lambda: run.log.ended)
            timers.append(call_later(delay, callback, *args, **options))
            return timers[0]
        return call_later(delay, callback, *args, **options)

    monkeypatch.setattr(loop, "call_later", call_later_while_the_run_ends)
    assert read(stream_of(engine, agent))
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(HANG_SECONDS)
    assert [timer.cancelled() for timer in timers] == [True]


@pytest.mark.parametrize("name", ["yields", "raises"])
def test_place_of_an_agent_on_a_worker_thread_is_free_before_its_client_sees_the_end(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the client's next run would have to wait, and a warning say that agents do not return."""
    engine = engine_on(MemoryStore(), max_agent_threads=1)
    busy: list[int] = []
    finish = engine._persistence.finish

    async def look(*args: Any) -> Any:
        busy.append(engine._agent_threads._busy)
        return await finish(*args)

    monkeypatch.setattr(engine._persistence, "finish", look)
    assert read(stream_of(engine, AGENTS[name]))
    assert busy == [0]


def test_run_on_a_worker_thread_continues_without_its_reader() -> None:
    engine, agent = engine_on(MemoryStore()), Waiting()
    stream = stream_of(engine, agent)
    assert agent.waits.wait(HANG_SECONDS)
    stream.close()
    joined = driver.run_sync(engine.connect(THREAD, None))
    agent.may_go.set()
    assert [event["type"] for event in read(joined)][:3] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
    ]


def test_run_on_a_worker_thread_whose_thread_cannot_be_started_ends_in_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start_thread(*values: Any, **options: Any) -> None:
        raise RuntimeError("can't start new thread")

    engine = engine_on(MemoryStore())
    monkeypatch.setattr(loops, "start_thread", start_thread)
    assert [event["type"] for event in read(stream_of(engine, yields))] == ["RUN_ERROR"]
    assert engine._agent_threads._busy == 0
