"""Runs, their readers and their ends, seen from inside: one process, and two that share a store.

A store that is polled makes an engine take the other's runs for those of another process.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._concurrency import driver, loops
from copilot_runtime._engine import (
    EndedRun,
    Engine,
    ShuttingDown,
    StopResult,
    TooManyStreams,
    held_bytes,
    leases,
    persistence,
    run_starter,
)
from copilot_runtime._engine.async_store import AsyncStore
from copilot_runtime._engine.run import Run
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._events import Cursor
from copilot_runtime._http.streaming import EventStream
from copilot_runtime.agents._context import RunContext
from copilot_runtime.stores import (
    LeaseLost,
    MemoryStore,
    RunTooLarge,
    SqliteStore,
    StoreError,
)
from copilot_runtime.stores.protocol import (
    ActiveRun,
    Batch,
    Lease,
    NewRun,
    RunCompletion,
    RunStarted,
    ThreadBusy,
    ThreadKey,
)

from .engine_helpers import (
    HANG_SECONDS,
    THREAD,
    Deaf,
    Gated,
    Reader,
    answers,
    bounded,
    deletes_what_goes_on,
    engine_on,
    given,
    settled,
    stored,
)
from .recorder_helpers import FINISHED, STARTED, Event, custom, read_frame, text


class SharedStore(MemoryStore):
    """A store that other processes see, too."""

    poll_seconds = 0.02

    def take_over(self, thread: ThreadKey) -> None:
        """What happens to a lease that was not renewed."""
        with self._process.get().lock:
            known = self._table.by_key[thread]
            assert known.live is not None
            self._table.count(known, -known.live.size)
            known.live = None


def two() -> tuple[Engine, Engine, SharedStore]:
    store = SharedStore()
    return engine_on(store), engine_on(store), store


# --- one engine ---


@bounded
async def test_run_from_its_request_to_its_replay() -> None:
    engine = engine_on(MemoryStore())
    reader = Reader(await engine.run(given(answers)))
    events = await reader.rest()
    assert [event["type"] for event in events] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert events[0]["input"]["runId"] == "r"
    again = Reader(await engine.connect(THREAD, None))
    assert await again.rest() == events
    assert again.ids == reader.ids


def tasks_of_this_loop() -> list[asyncio.Task[Any]]:
    """What the bridge has begun and is not done; other tests may have halted theirs with their loops."""
    loop = asyncio.get_running_loop()
    return [task for task in list(loops._tasks) if task.get_loop() is loop and not task.done()]


@bounded
async def test_run_leaves_nothing_in_memory() -> None:
    """Nothing: no run, no reader, no timer's member, no waiter."""
    engine = engine_on(MemoryStore(), sse_keep_alive_seconds=15, on_disconnect="stop", max_streams=2)
    runs: weakref.WeakSet[Any] = weakref.WeakSet()
    for number in range(3):
        reader = Reader(await engine.run(given(answers, f"r{number}")))
        runs.update(engine._runs.all())
        await reader.rest()
        reader = Reader(await engine.connect(THREAD, None))
        await reader.rest()
        reader = Reader(await engine.suggest(given(answers, f"s{number}")))
        runs.update(engine._runs.all())
        await reader.rest()
    del reader
    assert len(runs) in range(7)
    assert not engine._runs.all()
    assert engine._subscribers._held.size == 0
    assert engine._subscribers._limiter._count == 0
    persistence, subscribers = engine._persistence, engine._subscribers
    for rounds in (
        persistence._flush_timer,
        subscribers._keep_alive._timer,
        engine._remote_runs._timer,
    ):
        assert all(not round_.members for round_ in rounds._timers.values())  # type: ignore[union-attr]
    await settled(lambda: not tasks_of_this_loop())
    gc.collect()
    assert len(runs) == 0


@pytest.mark.requirement("SSE-09")
@bounded
async def test_max_streams_after_a_fork_do_not_count_readers_of_the_parent() -> None:
    """They are closed in the child as well, once they are garbage-collected there."""
    engine = engine_on(MemoryStore(), max_streams=1)
    of_parent = Reader(await engine.run(given(Gated())))
    engine.after_fork()
    of_child = Reader(await engine.run(given(answers, thread_id="other")))
    of_parent.close()
    with pytest.raises(TooManyStreams):
        await engine.run(given(answers, thread_id="third"))
    await of_child.rest()


@bounded
async def test_reader_that_disconnects_leaves_nothing() -> None:
    engine = engine_on(MemoryStore(), sse_keep_alive_seconds=15, max_streams=1)
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    with pytest.raises(TooManyStreams):
        await engine.connect(THREAD, None)
    reader.close()
    reader.close()
    [run] = engine._runs.all()
    assert not run.log.readers
    reader = Reader(await engine.connect(THREAD, None))
    agent.allow(3)
    assert len(await reader.rest()) == 7


@bounded
async def test_run_of_an_invalid_agent_leaves_the_thread_free() -> None:
    engine = engine_on(MemoryStore(), max_streams=1)
    for nonsense in (object(), type("Agent", (), {"run": None}), None):
        with pytest.raises(TypeError, match="not an agent"):
            await engine.run(given(nonsense))
        with pytest.raises(TypeError, match="not an agent"):
            await engine.suggest(given(nonsense))
    assert (await Reader(await engine.run(given(answers))).rest())[-1] == FINISHED


@bounded
async def test_run_that_cannot_be_launched_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_on(SqliteStore(str(tmp_path / "threads.db")), max_runs=1, debug=True)

    def fails(run: Run) -> None:
        raise RuntimeError("the event loop is being closed")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "start", fails)
        for begin in (engine.run, engine.suggest):
            with pytest.raises(RuntimeError, match="being closed"):
                await begin(given(answers))
    assert engine.status().live_runs == 0
    renewer = engine._persistence._renewer.get_existing()
    assert renewer is not None
    assert not renewer._renewed_at
    assert (await Reader(await engine.run(given(answers))).rest())[-1] == FINISHED


@pytest.mark.requirement("RUN-11")
@bounded
async def test_on_concurrent_run_reject() -> None:
    engine = engine_on(MemoryStore())
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    live = await engine.run(given(answers, "second"))
    assert isinstance(live, ActiveRun)
    assert live.run_id == "r"
    agent.allow(3)
    assert len(await reader.rest()) == 7


@bounded
async def test_stop_a_run() -> None:
    engine = engine_on(MemoryStore())
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    assert await engine.stop(THREAD, "other") == StopResult(False, is_other=True)
    assert await engine.stop(THREAD, "r") == StopResult(True)
    assert await engine.stop(THREAD, None) == StopResult(False)
    events = await reader.rest()
    assert reader.kinds[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert events[-1] == FINISHED
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert await engine.stop(THREAD, None) == StopResult(False)


@bounded
async def test_stop_before_the_first_step() -> None:
    engine = engine_on(MemoryStore())
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    assert (await engine.stop(THREAD, None)).is_stopping
    assert [event["type"] for event in await reader.rest()] == ["RUN_STARTED", "RUN_FINISHED"]
    assert not agent.ended.is_set()


@bounded
async def test_stop_while_the_run_begins() -> None:
    """Between the lease and the run's being known here: on a thread of WSGI."""

    results: list[StopResult] = []

    class Asked(MemoryStore):
        def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
            begun = super().begin(run)
            asked = threading.Thread(target=lambda: results.append(driver.run_sync(other.stop(run.thread, None))))
            asked.start()
            asked.join()
            return begun

    store = Asked()
    other = engine_on(store)
    reader = Reader(await engine_on(store).run(given(Gated())))
    assert (await reader.rest())[-1] == FINISHED
    assert results == [StopResult(True)]


@pytest.mark.requirement("STOP-05")
@bounded
async def test_stop_requested_is_seen_by_the_agent() -> None:
    engine = engine_on(MemoryStore())
    asked = asyncio.Event()
    seen: list[bool] = []

    async def polls(input: Any, context: RunContext) -> AsyncIterator[Event]:
        yield STARTED
        seen.append(context.stop_requested)
        try:
            await asked.wait()
        except asyncio.CancelledError:
            seen.append(context.stop_requested)
        yield FINISHED

    reader = Reader(await engine.run(given(polls)))
    await reader.until(1)
    await engine.stop(THREAD, None)
    await reader.rest()
    assert seen == [False, True]


@pytest.mark.requirement("STOP-04")
@bounded
async def test_stop_grace_seconds_abandons_an_agent_that_ignores_its_cancellation() -> None:
    engine = engine_on(MemoryStore(), stop_grace_seconds=0.05)
    agent = Deaf()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    await engine.stop(THREAD, None)
    events = await reader.rest()
    assert [event["type"] for event in events][-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    # Its thread is free while it is still there, and what it says then changes nothing.
    assert (await Reader(await engine.run(given(answers, "second"))).rest())[-1] == FINISHED
    agent.may_go.set()
    await settled(lambda: not engine._runs.all() and not tasks_of_this_loop())
    assert [run.run_id for run in engine.store.read(THREAD).runs] == ["r", "second"]
    assert len(stored(engine.store).raw or ()) == len(events)


@pytest.mark.requirement("STOP-04")
@bounded
async def test_stop_grace_seconds_abandons_a_synchronous_agent_that_blocks() -> None:
    engine = engine_on(MemoryStore(), stop_grace_seconds=0.05)
    may_go = threading.Event()
    closed = threading.Event()

    def blocks(input: Any) -> Iterator[Event]:
        try:
            yield STARTED
            may_go.wait(HANG_SECONDS)
            yield custom("late")
            yield FINISHED
        finally:
            closed.set()

    reader = Reader(await engine.run(given(blocks)))
    await reader.until(1)
    await engine.stop(THREAD, None)
    assert (await reader.rest())[-1] == FINISHED
    assert len(reader.frames) == 2
    may_go.set()
    await settled(closed.is_set)


@pytest.mark.requirement("STOP-06")
def test_shutdown_with_a_blocked_synchronous_agent_ends_the_loop() -> None:
    """As a server's does once it has been told to end; a thread cannot be killed, but it need not be waited for."""
    may_go = threading.Event()

    def blocks(input: Any) -> Iterator[Event]:
        yield STARTED
        may_go.wait(HANG_SECONDS)
        yield FINISHED

    async def serve() -> None:
        engine = engine_on(MemoryStore(), stop_grace_seconds=0.01, shutdown_grace_seconds=0.02)
        reader = Reader(await engine.run(given(blocks)))
        await reader.until(1)
        await engine.shutdown(0)

    server = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    server.start()
    server.join(HANG_SECONDS / 2)
    hangs = server.is_alive()
    may_go.set()
    server.join(HANG_SECONDS)
    assert not hangs


@bounded
async def test_stop_closes_a_synchronous_agent_at_its_next_yield() -> None:
    engine = engine_on(MemoryStore())
    first, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    seen: list[Any] = []

    def agent(input: Any, context: RunContext) -> Iterator[Event]:
        seen.append(threading.current_thread())
        try:
            yield STARTED
            first.set()
            go_on.wait(HANG_SECONDS)
            seen.append(context.stop_requested)
            yield custom()
            seen.append("went on")
        except GeneratorExit:
            seen.append("closed")
            raise
        finally:
            closed.set()

    reader = Reader(await engine.run(given(agent)))
    await asyncio.to_thread(first.wait, HANG_SECONDS)
    await engine.stop(THREAD, None)
    go_on.set()
    assert (await reader.rest())[-1] == FINISHED
    assert closed.is_set()
    assert seen[0] is not threading.current_thread()
    assert seen[1:] == [True, "closed"]


@pytest.mark.requirement("RUN-14")
@bounded
async def test_run_timeout_seconds_ends_a_run() -> None:
    engine = engine_on(MemoryStore(), run_timeout_seconds=0.05)
    events = await Reader(await engine.run(given(Gated()))).rest()
    assert events[-1]["code"] == "RUN_TIMEOUT"
    assert events[-2]["type"] == "TEXT_MESSAGE_END"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


FAILURES: dict[str, Callable[[], BaseException]] = {
    "an exception": lambda: RuntimeError("secret"),
    "one whose text is no text": lambda: RuntimeError("secret \ud800"),
    "one that cannot be printed": Unprintable,
    "a group": lambda: ExceptionGroup("secret", [RuntimeError("secret")]),
    "an exit": lambda: SystemExit("secret"),
    "an interrupt": lambda: KeyboardInterrupt("secret"),
    "a cancellation of its own": lambda: asyncio.CancelledError("secret"),
    "stop iteration": lambda: StopIteration("secret"),
    "stop async iteration": lambda: StopAsyncIteration("secret"),
    "a closed generator": lambda: GeneratorExit("secret"),
}


@pytest.mark.requirement("RUN-15")
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("shape", ["asynchronous", "synchronous", "coroutine", "plain"])
@pytest.mark.parametrize("name", FAILURES)
@bounded
async def test_agent_that_fails_ends_its_own_run_only(name: str, shape: str, debug: bool) -> None:
    engine = engine_on(MemoryStore(), debug=debug)

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        raise FAILURES[name]()

    def synchronous(input: Any) -> Iterator[Event]:
        yield STARTED
        raise FAILURES[name]()

    async def coroutine(input: Any) -> Any:
        raise FAILURES[name]()

    def plain(input: Any) -> Any:
        raise FAILURES[name]()

    agent = {"asynchronous": asynchronous, "synchronous": synchronous, "coroutine": coroutine, "plain": plain}[shape]
    other = Gated(1)
    beside = Reader(await engine.run(given(other, thread_id="beside")))
    await beside.until(2)
    reader = Reader(await engine.run(given(agent)))
    events = await reader.rest()
    assert reader.kinds[-1] == "RUN_ERROR"
    assert events[-1]["code"] == "INCOMPLETE_STREAM"
    if not debug:
        assert b"secret" not in b"".join(reader.frames)
    other.allow()
    assert (await beside.rest())[-1]["type"] == "RUN_FINISHED"
    assert isinstance(await engine.run(given(answers, "after")), EventStream)


@bounded
async def test_agent_that_cancels_its_own_task(caplog: pytest.LogCaptureFixture) -> None:
    """That is its failure, and no end of the server."""
    engine = engine_on(MemoryStore())

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        task = asyncio.ensure_future(asyncio.sleep(HANG_SECONDS))
        task.cancel()
        await task
        yield FINISHED

    with caplog.at_level(logging.ERROR):
        events = await Reader(await engine.run(given(agent))).rest()
    assert events[-1]["code"] == "INCOMPLETE_STREAM"
    assert "shut" not in events[-1]["message"]
    assert "'r'" in caplog.text


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda input: None,
        lambda input: 7,
        lambda input: "RUN_STARTED",
        lambda input: {"type": "RUN_STARTED"},
        lambda input: [7],
        lambda input: [None],
        lambda input: iter([{"type": "NO_SUCH"}]),
        lambda input, context, more: [],
    ],
    ids=["None", "a number", "a text", "an event", "numbers", "Nones", "unknown", "too many arguments"],
)
@bounded
async def test_agent_that_yields_invalid_events(nonsense: Any) -> None:
    engine = engine_on(MemoryStore())
    events = await Reader(await engine.run(given(nonsense))).rest()
    assert [event["type"] for event in events] == ["RUN_ERROR"]


@pytest.mark.requirement("RUN-17")
@bounded
async def test_agents_of_every_shape() -> None:
    engine = engine_on(MemoryStore())
    events = [STARTED, FINISHED]

    async def generator(input: Any) -> AsyncIterator[Event]:
        for event in events:
            yield event

    async def bound(prefix: str, input: Any) -> AsyncIterator[Event]:
        for event in events:
            yield event

    def synchronous(input: Any) -> Iterator[Event]:
        yield from events

    async def later(input: Any) -> Any:
        return generator(input)

    async def a_list(input: Any) -> Any:
        return events

    class Called:
        def __call__(self, input: Any) -> Any:
            return generator(input)

    class AsyncCalled:
        async def __call__(self, input: Any) -> AsyncIterator[Event]:
            for event in events:
                yield event

    class Method:
        def run(self, input: Any, context: RunContext) -> Any:
            assert isinstance(context, RunContext)
            return iter(events)

    class Slots:
        __slots__ = ()

        async def run(self, input: Any) -> AsyncIterator[Event]:
            for event in events:
                yield event

    class Unhashable(Slots):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return False

    class Stepped:
        """An iterator of the old school: __anext__ gives a coroutine, and there is no aclose."""

        def __init__(self, input: Any) -> None:
            self.left = list(events)

        def __aiter__(self) -> Stepped:
            return self

        async def __anext__(self) -> Event:
            await asyncio.sleep(0)
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    agents: list[Any] = [
        generator,
        functools.partial(bound, "x"),
        synchronous,
        later,
        a_list,
        Called(),
        AsyncCalled(),
        Method(),
        Slots(),
        Unhashable(),
        lambda input: Stepped(input),
        lambda input: events,
        lambda input: tuple(events),
        lambda input: map(dict, events),
        lambda input, context=None: generator(input),
        lambda *arguments: generator(arguments[0]),
    ]
    for number, agent in enumerate(agents):
        shown = await Reader(await engine.run(given(agent, thread_id=f"t{number}"))).rest()
        assert [event["type"] for event in shown] == ["RUN_STARTED", "RUN_FINISHED"], agent


@pytest.mark.requirement("HOOK-08")
@bounded
async def test_context_variables_of_the_request_are_kept_by_the_run() -> None:
    engine = engine_on(MemoryStore())
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen: list[str] = []

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        seen.append(variable.get())
        variable.set("the agent's")
        await asyncio.sleep(0)
        seen.append(variable.get())
        yield FINISHED

    def synchronous(input: Any) -> Iterator[Event]:
        yield STARTED
        seen.append(variable.get())
        variable.set("the agent's")
        yield custom()
        seen.append(variable.get())
        yield FINISHED

    def on_end(ended: EndedRun) -> None:
        seen.append(variable.get())

    for agent in (asynchronous, synchronous):
        variable.set("the request's")
        engine.on_run_end = on_end
        await Reader(await engine.run(given(agent, thread_id=agent.__name__))).rest()
        await settled(lambda: len(seen) == 3)
        assert seen[:2] == ["the request's", "the agent's"]
        assert variable.get() == "the request's"
        seen.clear()


@pytest.mark.requirement("HOOK-06")
@bounded
async def test_on_run_end_is_called_once_for_each_run() -> None:
    told: list[EndedRun] = []

    async def on_end(ended: EndedRun) -> None:
        told.append(ended)
        raise RuntimeError("the hook's own")

    engine = engine_on(MemoryStore(), debug=True)

    async def fails(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        raise RuntimeError("broken")

    engine.on_run_end = on_end
    await Reader(await engine.run(given(answers, "finishes"))).rest()
    await Reader(await engine.run(given(fails, "fails"))).rest()
    reader = Reader(await engine.run(given(Gated(), "stops")))
    await reader.until(2)
    await engine.stop(THREAD, None)
    await reader.rest()
    await settled(lambda: len(told) == 3)
    assert [(ended.run_id, ended.outcome) for ended in told] == [
        ("finishes", "finished"),
        ("fails", "failed"),
        ("stops", "stopped"),
    ]
    assert "broken" in told[1].failure
    assert told[0].messages() == [{"id": "m", "role": "assistant", "content": "x"}]
    assert [event["type"] for event in told[0].events()][-1] == "RUN_FINISHED"
    assert all(ended.started_at <= ended.ended_at for ended in told)


@pytest.mark.requirement("STOP-06")
@bounded
async def test_shutdown_ends_runs_and_calls_on_run_end() -> None:
    told: list[EndedRun] = []

    async def on_end(ended: EndedRun) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        told.append(ended)

    engine = engine_on(MemoryStore(), on_disconnect="stop")
    engine.on_run_end = on_end
    reader = Reader(await engine.run(given(Gated())))
    suggestion = Reader(await engine.suggest(given(Gated())))
    await reader.until(2)
    await suggestion.until(2)
    await engine.shutdown(0)
    assert [ended.run_id for ended in told] == ["r"]
    events = await reader.rest()
    assert events[-1]["code"] == "RUN_INTERRUPTED"
    assert (await suggestion.rest())[-1]["code"] == "RUN_INTERRUPTED"
    assert len(stored(engine.store).raw or ()) == len(events)
    with pytest.raises(ShuttingDown):
        await engine.run(given(Gated()))
    # The runtime can be served again, and is as it was.
    engine.accept_runs()
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    reader.close()
    await agent.ended.wait()


@pytest.mark.requirement("STOP-06")
@bounded
async def test_shutdown_grace_seconds_abandons_an_agent_that_ignores_its_cancellation() -> None:
    engine = engine_on(MemoryStore(), shutdown_grace_seconds=0.01)
    agent = Deaf()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    await engine.shutdown(0)
    agent.may_go.set()
    await reader.rest()


@pytest.mark.requirement("RUN-10")
@pytest.mark.parametrize(("setting", "stops"), [("continue", False), ("stop", True)])
@bounded
async def test_on_disconnect_stop_when_the_last_reader_has_left(setting: str, stops: bool) -> None:
    engine = engine_on(MemoryStore(), on_disconnect=setting)
    agent = Gated()
    first = Reader(await engine.run(given(agent)))
    await first.until(2)
    second = Reader(await engine.connect(THREAD, None))
    await second.until(2)
    first.close()
    agent.allow()
    await second.until(3)
    second.close()
    if not stops:
        agent.allow(2)
    await agent.ended.wait()
    await settled(lambda: not engine._runs.all())
    assert isinstance(agent.raised, asyncio.CancelledError) == stops
    assert len(stored(engine.store).raw or ()) == (5 if stops else 7)


@pytest.mark.requirement("SUGGEST-03")
@bounded
async def test_on_disconnect_stop_is_about_the_run_that_was_read() -> None:
    """Where a store was replaced, another run may have the ordinal of the one that a reader leaves."""
    engine = engine_on(MemoryStore(), on_disconnect="stop")
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    [run] = engine._runs.all()
    earlier = RunLog(run.log.run, "earlier", "a")
    engine._subscribers.reader_left(earlier)
    agent.allow(3)
    assert len(await reader.rest()) == 7


@bounded
async def test_disconnect_from_suggest_cancels_the_agent() -> None:
    engine = engine_on(MemoryStore())
    agent = Gated()
    reader = Reader(await engine.suggest(given(agent)))
    assert reader.ids == []
    await reader.until(2)
    assert reader.ids == [None, None]
    assert "input" not in reader.events[0]
    reader.close()
    await agent.ended.wait()
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert engine.store.read(THREAD).runs == ()


@pytest.mark.requirement("RUN-16")
@bounded
async def test_run_too_large_for_the_store() -> None:
    engine = engine_on(MemoryStore(max_bytes=50_000))

    async def floods(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        yield text("START")
        while True:
            yield text("CONTENT", delta="x" * 1000)

    events = await Reader(await engine.run(given(floods))).rest()
    assert events[-1]["code"] == "RUN_TOO_LARGE"
    assert isinstance(await engine.run(given(answers, "after")), EventStream)


@pytest.mark.requirement("RUN-16")
@pytest.mark.parametrize("is_synchronous", [False, True])
@bounded
async def test_agent_does_not_start_if_its_run_opens_with_more_than_the_store_takes(is_synchronous: bool) -> None:
    started: list[Any] = []

    async def agent(input: Any) -> AsyncIterator[Event]:
        started.append(input)
        yield STARTED

    def synchronous_agent(input: Any) -> Iterator[Event]:
        started.append(input)
        yield STARTED

    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "u", "role": "user", "content": "x" * 100_000}]}
    request = given(synchronous_agent if is_synchronous else agent)
    request = dataclasses.replace(request, opening=[STARTED, snapshot])
    events = await Reader(await engine_on(MemoryStore(max_bytes=50_000)).run(request)).rest()
    assert events[-1]["code"] == "RUN_TOO_LARGE"
    assert started == []


@bounded
async def test_readers_of_one_run_get_the_same_frames() -> None:
    engine = engine_on(MemoryStore())
    agent = Gated(20)
    readers = [Reader(await engine.run(given(agent)))]
    for _ in range(5):
        agent.allow(3)
        await readers[0].until(len(readers[0].frames) + 3)
        readers.append(Reader(await engine.connect(THREAD, None)))
    readers[2].close()
    agent.allow(5)
    del readers[2]
    for reader in readers:
        await reader.rest()
        assert reader.frames == readers[0].frames
    assert len(readers[0].frames) == 24


@bounded
async def test_cursor_of_an_active_run() -> None:
    engine = engine_on(MemoryStore())
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    agent.allow()
    await reader.until(3)
    resumed = Reader(await engine.connect(THREAD, Cursor.parse(reader.ids[1])))
    far = Reader(await engine.connect(THREAD, Cursor(int((reader.ids[0] or "").partition(".")[0]), 10**9)))
    agent.allow(2)
    await reader.rest()
    await resumed.rest()
    assert resumed.frames == reader.frames[2:]
    # It names an event that there never was: how the run ended is the least to say.
    assert (await far.rest())[-1] == FINISHED


@bounded
async def test_cursor_of_an_evicted_thread() -> None:
    """It is unknown, so it gives everything, and not the rest of a run that has the same number."""
    engine = engine_on(MemoryStore())
    reader = Reader(await engine.run(given(answers)))
    await reader.rest()
    old = Cursor.parse(reader.ids[2])
    engine.store.clear("")
    await Reader(await engine.run(given(answers))).rest()
    assert len(await Reader(await engine.connect(THREAD, old)).rest()) == 5


@pytest.mark.requirement("CONNECT-04")
@bounded
async def test_connect_leaves_out_messages_that_the_history_has() -> None:
    engine = engine_on(MemoryStore())
    await Reader(await engine.run(given(answers))).rest()
    agent = Gated()
    first = Reader(await engine.run(given(agent, "r2")))
    await first.until(2)
    joined = Reader(await engine.connect(THREAD, None))
    await joined.until(6)
    agent.allow(3)
    assert len(await first.rest()) == 7
    assert [event["type"] for event in (await joined.rest())[5:]] == ["RUN_STARTED", "RUN_FINISHED"]


@pytest.mark.requirement("SSE-08")
@bounded
async def test_slow_reader_of_a_finished_run_is_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_bytes, "MAX_STALLED_BYTES", 1000)
    monkeypatch.setattr(held_bytes, "MAX_HELD_BYTES", 1000)
    monkeypatch.setattr(held_bytes, "SLOW_SECONDS", 0)
    monkeypatch.setattr("copilot_runtime._engine.subscribers.UNCOUNTED_BYTES", 0)
    engine = engine_on(MemoryStore())
    slow = [Reader(await engine.run(given(answers, thread_id=f"t{number}"))) for number in range(4)]
    await settled(lambda: not engine._runs.all())
    engine._subscribers._held.evict_slow()
    seen = [await reader.rest() for reader in slow]
    assert len(seen[-1]) == 5
    assert [event["code"] for event in seen[0]] == ["SLOW_READER"]
    assert engine._subscribers._held.size == 0


# --- supersede ---


@pytest.mark.requirement("RUN-12")
@bounded
async def test_on_concurrent_run_supersede() -> None:
    engine = engine_on(MemoryStore(), on_concurrent_run="supersede")
    agent = Gated()
    first = Reader(await engine.run(given(agent)))
    await first.until(2)
    second = Reader(await engine.run(given(answers, "second")))
    assert (await second.rest())[-1] == FINISHED
    assert (await first.rest())[-1] == FINISHED
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert [run.run_id for run in engine.store.read(THREAD).runs] == ["r", "second"]


@pytest.mark.requirement("RUN-12")
@bounded
async def test_on_concurrent_run_supersede_an_agent_that_ignores_its_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_starter, "SUPERSEDE_SECONDS", 0.05)
    engine = engine_on(MemoryStore(), on_concurrent_run="supersede")
    agent = Deaf()
    first = Reader(await engine.run(given(agent)))
    await first.until(2)
    second = Reader(await engine.run(given(answers, "second")))
    assert (await second.rest())[-1] == FINISHED
    assert (await first.rest())[-1] == FINISHED
    agent.may_go.set()


@pytest.mark.requirement("RUN-12")
@bounded
async def test_on_concurrent_run_supersede_with_a_cancelled_request() -> None:
    """The run may begin all the same; nobody reads it, and nothing counts it as read."""
    engine = engine_on(MemoryStore(), on_concurrent_run="supersede", on_disconnect="stop", max_streams=2)
    agent, late = Deaf(), Gated()
    first = Reader(await engine.run(given(agent)))
    await first.until(2)
    request = asyncio.ensure_future(engine.run(given(late, "second")))
    await agent.asked.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    agent.may_go.set()
    await first.rest()
    await settled(lambda: not engine._runs.all())
    assert engine._subscribers._limiter._count == 0
    assert isinstance(await engine.run(given(answers, "third")), EventStream)


# --- two engines on one store ---


@bounded
async def test_remote_run_is_followed_to_its_end() -> None:
    here, there, _ = two()
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    agent.allow(2)
    await own.until(4)
    joined = [Reader(await there.connect(THREAD, None)) for _ in range(3)]
    assert len(there._remote_runs._logs) == 1
    await joined[0].until(4)
    agent.allow(3)
    await own.rest()
    for reader in joined:
        await reader.rest()
        assert reader.frames == own.frames
    assert len(own.frames) == 9
    assert not there._remote_runs._logs
    assert all(not round_.members for round_ in there._remote_runs._timer._timers.values())


@bounded
async def test_remote_run_is_followed_with_a_history_and_from_a_cursor() -> None:
    here, there, _ = two()
    first = Reader(await here.run(given(answers)))
    await first.rest()
    agent = Gated()
    own = Reader(await here.run(given(agent, "r2")))
    agent.allow()
    await own.until(3)
    joined = Reader(await there.connect(THREAD, None))
    resumed = Reader(await there.connect(THREAD, Cursor.parse(own.ids[1])))
    after_history = Reader(await there.connect(THREAD, Cursor.parse(first.ids[-1])))
    await joined.until(6)
    agent.allow(2)
    await own.rest()
    # The text's id is one of the history, so one who joins is not shown it again.
    assert [event["type"] for event in (await joined.rest())[5:]] == ["RUN_STARTED", "RUN_FINISHED"]
    await resumed.rest()
    assert resumed.frames == own.frames[2:]
    assert [event["type"] for event in await after_history.rest()] == ["RUN_STARTED", "RUN_FINISHED"]


@bounded
async def test_remote_stop() -> None:
    here, there, _ = two()
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    assert await there.stop(THREAD, "other") == StopResult(False, is_other=True)
    assert await there.stop(THREAD, "r") == StopResult(True)
    assert await there.stop(THREAD, "r") == StopResult(False)
    await own.rest()
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert own.events[-1] == FINISHED
    await joined.rest()
    assert joined.frames == own.frames


@bounded
async def test_remote_run_keeps_its_thread_busy() -> None:
    here, there, _ = two()
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    live = await there.run(given(answers, "second"))
    assert isinstance(live, ActiveRun)
    assert live.run_id == "r"
    agent.allow(3)
    assert len(await own.rest()) == 7
    assert isinstance(await there.run(given(answers, "second")), EventStream)


@bounded
async def test_remote_run_is_superseded() -> None:
    store = SharedStore()
    here, there = engine_on(store), engine_on(store, on_concurrent_run="supersede")
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    second = Reader(await there.run(given(answers, "second")))
    assert (await second.rest())[-1] == FINISHED
    assert (await own.rest())[-1] == FINISHED
    assert [run.run_id for run in store.read(THREAD).runs] == ["r", "second"]


@pytest.mark.requirement("STORE-04")
@pytest.mark.parametrize("kind", ["waits", "deaf"])
@bounded
async def test_lease_lost_ends_the_run(kind: str) -> None:
    """Its lease ran out, and another process has begun a run: it ends, writes nothing, and says how it ended."""
    here, there, store = two()
    agent: Any = Gated(100) if kind == "waits" else Deaf()
    told: list[EndedRun] = []
    here.on_run_end = told.append
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    store.take_over(THREAD)
    other = Gated(1)
    second = Reader(await there.run(given(other, "second")))
    await second.until(2)
    events = await own.rest()
    assert [event["type"] for event in events][-1] == "RUN_ERROR"
    assert events[-1]["code"] == "RUN_LOST"
    if kind == "deaf":
        agent.may_go.set()
    await settled(lambda: not [run for run in here._runs.all() if not run.is_finished])
    other.allow()
    await second.rest()
    assert [run.run_id for run in store.read(THREAD).runs] == ["second"]
    assert [read_frame(frame).event for frame in stored(store).raw or ()] == second.events
    assert not told
    assert not here._runs.all()
    await settled(lambda: not here._remote_runs._logs)


@bounded
async def test_remote_delete_ends_the_run() -> None:
    here, there, _ = two()
    await deletes_what_goes_on(here, there)


def test_delete_before_the_first_step_calls_no_agent() -> None:
    """From another worker thread, while the background loop has something else to do."""
    engine = engine_on(MemoryStore())
    is_busy, may_go_on, is_done = threading.Event(), threading.Event(), threading.Event()
    called: list[Any] = []

    async def agent(input: Any) -> Any:
        called.append(input)

    loop = loops.background_loop()
    loop.call_soon_threadsafe(lambda: (is_busy.set(), may_go_on.wait(HANG_SECONDS)))
    assert is_busy.wait(HANG_SECONDS)
    stream = driver.run_sync(engine.run(given(agent)))
    assert isinstance(stream, EventStream)
    assert driver.run_sync(engine.delete(THREAD))
    may_go_on.set()
    assert read_on_thread(stream) == ["RUN_ERROR"]
    loop.call_soon_threadsafe(is_done.set)  # after the step of the run's task, which has been scheduled before
    assert is_done.wait(HANG_SECONDS)
    assert called == []


@bounded
async def test_flush_of_a_run_that_has_ended_meanwhile_stores_nothing() -> None:
    """What it would store is stored with the end of the run."""
    store = MemoryStore()
    engine = engine_on(store)
    reader = Reader(await engine.run(given(Gated().run)))
    await reader.until(2)
    [run] = engine._runs.all()
    run.is_finished = True
    assert not await engine._persistence.flush_now(run)
    assert store.follow(run.lease.run, 0).frames == []
    run.is_finished = False
    run.stop()
    await reader.rest()


@pytest.mark.requirement("STORE-04")
@bounded
async def test_lease_lost_at_the_end_of_a_run() -> None:
    here, there, store = two()
    agent = Gated(1)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    store.take_over(THREAD)
    second = Reader(await there.run(given(Gated(1), "second")))
    agent.allow()
    assert (await own.rest())[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    assert store.read(THREAD).runs == ()
    second.close()
    await there.shutdown(0)


# --- a store that may wait ---


class WaitingStore(SharedStore):
    """A store on a disk or a network, which does one thing after the other and may take its time."""

    blocking = True
    poll_seconds = 5.0

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.appending = 0
        self._quiet = threading.Condition()

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        with self._quiet:
            self.appending += 1
        self.gate.wait(HANG_SECONDS)
        try:
            return super().append(batches)
        finally:
            with self._quiet:
                self.appending -= 1
                self._quiet.notify_all()

    def finish(self, lease: Lease, frames: Sequence[bytes], finished: RunCompletion) -> None:
        with self._quiet:
            self._quiet.wait_for(lambda: self.appending == 0, HANG_SECONDS)
        super().finish(lease, frames, finished)


@pytest.mark.parametrize("ends", ["while it is saved", "later"])
@bounded
async def test_slow_store_gets_every_event_once(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 0.005)
    store = WaitingStore()
    engine = engine_on(store)
    agent = Gated(6)
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    store.gate.clear()
    for number in range(3):
        agent.allow()
        await reader.until(3 + number)
        await settled(lambda: store.appending > 0)
        # Another round comes while the one before still waits for the store.
        engine._persistence._flush_timer._callback(engine._runs.all())
    if ends == "later":
        store.gate.set()
        await settled(lambda: store.appending == 0)
        agent.allow(3)
    else:
        agent.allow(3)
        await agent.ended.wait()
        store.gate.set()
    await reader.rest()
    assert len(reader.frames) == 10
    assert len(store.read(THREAD).runs) == 1
    assert list(stored(store).raw or ()) == reader.frames


@bounded
async def test_flush_of_many_runs_waits_for_one_more_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(persistence, "MANY_RUNS", 2)
    store = WaitingStore()
    engine = engine_on(store)
    agents = [Gated(4), Gated(4)]
    readers = [Reader(await engine.run(given(agent, thread_id=f"t{at}"))) for at, agent in enumerate(agents)]
    for reader in readers:
        await reader.until(2)

    async def appended(runs: Sequence[Run], flushes: int) -> list[int]:
        for _ in range(flushes):
            engine._persistence._flush_timer._callback(list(runs))
            await settled(lambda: not engine._persistence._flushing)
        return [len(store.follow(run.lease.run, 0).frames) for run in runs]

    [one, other] = engine._runs.all()
    assert await appended([one, other], 1) == [0, 0]
    assert await appended([one, other], 1) == [2, 2]
    for agent, reader in zip(agents, readers, strict=True):
        agent.allow()
        await reader.until(3)
    assert await appended([one, other], 1) == [2, 2]
    # One alone does not wait.
    assert await appended([one], 1) == [3]
    assert await appended([other], 1) == [3]
    for agent, reader in zip(agents, readers, strict=True):
        agent.allow(3)
        await reader.rest()


@bounded
async def test_event_beside_a_flush_on_another_thread_is_flushed_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 3600.0)
    engine = engine_on(WaitingStore())
    agent = Gated(4)
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    [run] = engine._runs.all()
    assert run.flush_scheduled

    def flushed_meanwhile(_: object) -> int:
        run.begin_flush()
        return sys.maxsize

    with monkeypatch.context() as patch:
        patch.setattr(persistence.RunPersistence, "overdue_bytes", property(flushed_meanwhile), raising=False)
        run._look_at_size(run.size)
    assert not run.flush_scheduled
    agent.allow()
    await reader.until(3)
    assert run.flush_scheduled
    agent.allow(3)
    await reader.rest()


class BrokenStore(MemoryStore):
    """A store that fails at times."""

    broken: Set[str] = frozenset()

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        self._fail("append")
        return super().append(batches)

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        self._fail("begin")
        return super().begin(run)

    def _fail(self, name: str) -> None:
        if name in self.broken:
            raise StoreError(name)


@bounded
async def test_store_that_fails_for_a_while_does_not_fail_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 0.005)
    store = BrokenStore()
    engine = engine_on(store)
    agent = Gated(6)
    reader = Reader(await engine.run(given(agent)))
    store.broken = frozenset({"append"})
    agent.allow(2)
    await reader.until(4)
    [run] = engine._runs.all()
    engine._persistence._flush_timer._callback([run])
    engine._persistence._flush([run])
    store.broken = frozenset()
    # Saving goes on by itself with what comes next.
    agent.allow()
    await reader.until(5)
    await settled(lambda: len(store.follow(run.lease.run, 0).frames) == 5)
    agent.allow(3)
    await reader.rest()
    assert reader.kinds[-1] == "RUN_FINISHED"
    assert list(stored(store).raw or ()) == reader.frames


@bounded
async def test_store_that_cannot_begin_a_run() -> None:
    store = BrokenStore()
    engine = engine_on(store, max_streams=1)
    store.broken = frozenset({"begin"})
    with pytest.raises(StoreError):
        await engine.run(given(answers))
    store.broken = frozenset()
    assert (await Reader(await engine.run(given(answers))).rest())[-1] == FINISHED


# --- on threads, as under WSGI ---


def driven(engine: Engine, *requests: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """What requests get that each have a thread of their own."""
    results: list[Any] = [None] * len(requests)

    def one(index: int) -> None:
        results[index] = driver.run_sync(requests[index]())

    threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    return results


def read_on_thread(stream: EventStream) -> list[str]:
    frames = [frame + b"\n\n" for frame in b"".join(stream).split(b"\n\n") if frame and not frame.startswith(b":")]
    return [read_frame(frame).event["type"] for frame in frames]


def test_runs_started_on_worker_threads() -> None:
    engine = engine_on(MemoryStore(), max_streams=20)

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        yield text("START")
        for _ in range(50):
            await asyncio.sleep(0)
            yield text("CONTENT")
        yield text("END")
        yield FINISHED

    def request(number: int) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def handle() -> list[list[str]]:
            name = f"t{number}"
            own = await engine.run(given(agent, thread_id=name))
            joined = await engine.connect(ThreadKey("", name), None)
            assert isinstance(own, EventStream)
            return [read_on_thread(own), read_on_thread(joined)]

        return handle

    for pair in driven(engine, *[request(number) for number in range(8)]):
        for kinds in pair:
            assert kinds[0] == "RUN_STARTED"
            assert kinds[-1] == "RUN_FINISHED"
        assert len(pair[0]) == 54
    assert engine._subscribers._limiter._count == 0
    assert not engine._runs.all()


@pytest.mark.requirement("RUN-11")
def test_on_concurrent_run_reject_race_has_one_winner() -> None:
    engine = engine_on(MemoryStore())
    go = threading.Event()

    def agent(input: Any) -> Iterator[Event]:
        yield STARTED
        go.wait(HANG_SECONDS)
        yield FINISHED

    results = driven(engine, *[lambda: engine.run(given(agent)) for _ in range(6)])
    streams = [result for result in results if isinstance(result, EventStream)]
    assert len(streams) == 1
    assert sum(isinstance(result, ActiveRun) for result in results) == 5
    go.set()
    assert read_on_thread(streams[0]) == ["RUN_STARTED", "RUN_FINISHED"]


def test_process_exit_ends_runs_of_the_background_loop() -> None:
    engine = engine_on(MemoryStore(), shutdown_grace_seconds=0)

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        await asyncio.Event().wait()

    [stream] = driven(engine, lambda: engine.run(given(agent)))
    engine.at_exit(time.monotonic())
    assert read_on_thread(stream)[-1] == "RUN_ERROR"


@pytest.mark.requirement("FORK-01")
def test_fork_child_has_no_runs() -> None:
    engine = engine_on(MemoryStore(), max_streams=1)

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        await asyncio.Event().wait()

    [stream] = driven(engine, lambda: engine.run(given(agent)))
    [run] = engine._runs.all()
    engine.after_fork()
    assert not engine._runs.all()
    assert engine.store.read(THREAD).live is None
    [again] = driven(engine, lambda: engine.run(given(answers)))
    assert read_on_thread(again)[-1] == "RUN_FINISHED"
    run.stop_threadsafe()  # there is no parent here that would
    stream.close()


def test_lease_renewer_is_one_for_runs_that_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    both = threading.Barrier(2)

    class Keeper(leases.LeaseRenewer):
        def __init__(self, *given: Any) -> None:
            both.wait(HANG_SECONDS)
            self.kept: list[Any] = []

        def start(self) -> None:
            started.append(self)

        def add(self, run: Any) -> None:
            self.kept.append(run)

    class Store(MemoryStore):
        lease_seconds = 15.0

    monkeypatch.setattr(persistence, "LeaseRenewer", Keeper)
    store = Store()
    tracker = persistence.RunPersistence(store, AsyncStore(store))
    threads = [threading.Thread(target=tracker.track, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
    assert [sorted(keeper.kept) for keeper in started] == [[0, 1]]
