"""What a run has taken is freed by reference counting as soon as it has ended and nobody reads it.

A circle would keep it, with its input, its events and its request, until the garbage collector runs, which takes
longer the more there is to look through.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import CoroutineType, FrameType, FunctionType, GeneratorType
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime._engine import Engine, RunRequest, TooManyRuns, persistence
from copilot_runtime._engine.run import Run
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._engine.run_reader import RunReader
from copilot_runtime._engine.thread_names import ThreadNaming
from copilot_runtime._events import RunRecorder
from copilot_runtime._http.stream_iterators import AsyncStreamIterator
from copilot_runtime._server.endpoints.run_input import parse_input
from copilot_runtime._server.endpoints.stored_messages import insert_messages
from copilot_runtime._server.errors import InvalidRunInput
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime._server.thread_names import parse_thread_names
from copilot_runtime.agents._context import RunContext
from copilot_runtime.middleware import use
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.stores._known_ids import KnownIds
from copilot_runtime.stores.protocol import (
    ActiveRun,
    LeaseLost,
    NewRun,
    RunCompletion,
    RunEnd,
    RunStarted,
    StoreError,
)

from .engine_helpers import THREAD, Deaf, Reader, answers, bounded, engine_on, given, settled
from .middleware_helpers import async_pass, plain_pass
from .recorder_helpers import FINISHED, STARTED, Event, text

pytestmark = [pytest.mark.requirement("PERF-02")]

OF_A_RUN = (
    Run,
    RunRequest,
    RunContext,
    RunAgentInput,
    RunLog,
    RunReader,
    RunRecorder,
    AsyncStreamIterator,
)


def alive() -> list[str]:
    """Returns the classes of which there are objects."""
    return sorted({type(value).__name__ for value in gc.get_objects() if isinstance(value, OF_A_RUN)})


def is_ours(value: object) -> bool:
    """Returns whether something is an object of the runtime, or code of it that has not ended."""
    code = {FunctionType: "__code__", CoroutineType: "cr_code", GeneratorType: "gi_code", FrameType: "f_code"}
    if (name := code.get(type(value))) is not None:
        path = Path(getattr(value, name).co_filename)
        # No store here is on a server: what earlier tests had there may still be listened to, on OS threads.
        return "copilot_runtime" in path.parts and not {"_postgres", "_redis"}.intersection(path.parts)
    return type(value).__module__.startswith("copilot_runtime")


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the garbage collector, which does not run by itself meanwhile, would have to free."""
    # A record of an exception, kept by whoever shows log lines, keeps the frames that it was raised in.
    monkeypatch.setattr(logging.getLogger("copilot_runtime.engine"), "disabled", True)
    gc.disable()
    gc.collect()
    gc.freeze()  # nothing that exists already is looked at
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "threads.db")


def synchronous(input: Any) -> Iterator[Event]:
    yield from (STARTED, text("START"), text("CONTENT"), text("END"), FINISHED)


async def waiting(input: Any) -> AsyncIterator[Event]:
    yield STARTED
    await asyncio.sleep(0)
    yield FINISHED


async def returning(input: Any) -> list[Event]:
    return [STARTED, FINISHED]


async def failing(input: Any) -> AsyncIterator[Event]:
    yield STARTED
    raise ValueError("no")


def failing_synchronous(input: Any) -> Iterator[Event]:
    yield STARTED
    raise ValueError("no")


async def invalid(input: Any) -> AsyncIterator[Event]:
    yield STARTED
    yield text("END")


def invalid_synchronous(input: Any) -> Iterator[Event]:
    yield STARTED
    yield text("END")


async def endless(input: Any) -> AsyncIterator[Event]:
    yield STARTED
    await asyncio.Event().wait()


def failing_when_stopped(input: Any, context: RunContext) -> Iterator[Event]:
    yield STARTED
    while not context.stop_requested:
        threading.Event().wait(0.001)
    threading.Event().wait(0.05)
    raise ValueError("no")


def polling(input: Any, context: RunContext) -> Iterator[Event]:
    yield STARTED
    while not context.stop_requested:
        threading.Event().wait(0.001)


async def read(engine: Engine, agent: Callable[..., Any]) -> None:
    await Reader(await engine.run(given(agent))).rest()


async def suggest(engine: Engine, agent: Callable[..., Any]) -> None:
    await Reader(await engine.suggest(given(agent))).rest()


async def stop(engine: Engine, agent: Callable[..., Any]) -> None:
    reader = Reader(await engine.run(given(agent)))
    await reader.until(1)
    assert (await engine.stop(THREAD, None)).is_stopping
    await reader.rest()


async def stop_before_the_first_step(engine: Engine, agent: Callable[..., Any]) -> None:
    reader = Reader(await engine.run(given(agent)))
    assert (await engine.stop(THREAD, None)).is_stopping
    await reader.rest()


async def delete(engine: Engine, agent: Callable[..., Any]) -> None:
    reader = Reader(await engine.run(given(agent)))
    await reader.until(1)
    assert await engine.delete(THREAD)
    await reader.rest()


async def leave(engine: Engine, agent: Callable[..., Any]) -> None:
    reader = Reader(await engine.run(given(agent)))
    await reader.until(1)
    reader.close()
    await settled(lambda: not engine._runs.all())


async def leave_and_connect(engine: Engine, agent: Callable[..., Any]) -> None:
    reader = Reader(await engine.run(given(agent)))
    joined = Reader(await engine.connect(THREAD, None))
    reader.close()
    await joined.rest()


async def shut_down(engine: Engine, agent: Callable[..., Any]) -> None:
    reader = Reader(await engine.run(given(agent)))
    await reader.until(1)
    await asyncio.gather(engine.shutdown(0), reader.rest())


async def supersede(engine: Engine, agent: Callable[..., Any]) -> None:
    first = Reader(await engine.run(given(agent)))
    await first.until(1)
    second = Reader(await engine.run(given(answers, "second")))
    await asyncio.gather(first.rest(), second.rest())


async def report(engine: Engine, agent: Callable[..., Any]) -> None:
    reported: list[str] = []
    engine.on_run_end = lambda ended: reported.append(ended.outcome)
    await Reader(await engine.run(given(agent))).rest()
    await settled(lambda: bool(reported))


async def show(engine: Engine, agent: Callable[..., Any]) -> None:
    feed = Reader(engine.debug_stream(""))
    await feed.more()
    await Reader(await engine.run(given(agent))).rest()
    await feed.more()
    feed.close()


async def refuse(engine: Engine, agent: Callable[..., Any]) -> None:
    first = Reader(await engine.run(given(agent)))
    await first.until(1)
    assert isinstance(await engine.run(given(answers, "second")), ActiveRun)
    other = Reader(await engine.run(given(agent, thread_id="second")))
    with pytest.raises(TooManyRuns):
        await engine.run(given(answers, thread_id="other"))
    await engine.shutdown(0)
    await asyncio.gather(first.rest(), other.rest())


async def name_threads(engine: Engine, function: Callable[..., Any]) -> None:
    source = parse_thread_names(function, ())
    assert source is not None
    engine._naming = ThreadNaming(source, engine.async_store, engine._starter.begin_beside_user)
    await Reader(await engine.run(given(answers))).rest()
    await settled(lambda: not engine._run_end_notifier._running)


async def complete(engine: Engine, agent: Callable[..., Any]) -> None:
    for run_id in ("first", "second"):
        message = {"id": f"{run_id} question", "role": "user", "content": "hi"}
        request = given(agent, run_id, messages=[message])
        inserts = partial(insert_messages, url_schemes=())
        context = dataclasses.replace(request.context, body=request.body)
        await Reader(await engine.run(dataclasses.replace(request, insert_messages=inserts, context=context))).rest()


class Forgetful:
    """An agent that cannot say what it remembers."""

    def run(self, input: Any) -> Iterator[Event]:
        yield from synchronous(input)

    async def history(self, thread_id: str, context: RunContext) -> None:
        raise ValueError("no")


Play = Callable[[Engine, Any], Coroutine[Any, Any, None]]

WAYS: dict[str, tuple[Play, Any, dict[str, Any]]] = {
    "ends": (read, answers, {}),
    "waits": (read, waiting, {}),
    "synchronous": (read, synchronous, {}),
    "a list": (read, returning, {}),
    "on no thread": (suggest, answers, {}),
    "fails": (read, failing, {}),
    "fails, synchronous": (read, failing_synchronous, {}),
    "yields nonsense": (read, invalid, {}),
    "yields nonsense, synchronous": (read, invalid_synchronous, {}),
    "stopped": (stop, endless, {}),
    "stopped, synchronous": (stop, polling, {}),
    "stopped before its first step": (stop_before_the_first_step, endless, {}),
    "stopped by force, synchronous": (stop, failing_when_stopped, {"stop_grace_seconds": 0}),
    "timed out": (read, endless, {"run_timeout_seconds": 0.01}),
    "timed out, synchronous": (read, polling, {"run_timeout_seconds": 0.01}),
    "has no reader": (leave, endless, {"on_disconnect": "stop"}),
    "has another reader": (leave_and_connect, answers, {}),
    "deleted": (delete, endless, {}),
    "shut down": (shut_down, endless, {}),
    "superseded": (supersede, endless, {"on_concurrent_run": "supersede"}),
    "reported": (report, failing, {}),
    "shown to developers": (show, answers, {"debug": True}),
    "named": (name_threads, lambda input: "a name", {}),
    "named by a coroutine function": (name_threads, returning, {}),
    "named by what fails": (name_threads, failing, {}),
    "completed": (complete, answers, {"history": "stored"}),
    "not completed": (complete, Forgetful(), {"history": "stored"}),
    "keeps others out": (refuse, endless, {"max_runs": 2}),
    **{
        f"{way}, in {style} middleware": (play, use(agent, middleware), {})
        for style, middleware in (("asynchronous", async_pass), ("synchronous", plain_pass))
        for way, (play, agent) in {
            "waits": (read, waiting),
            "synchronous": (read, synchronous),
            "fails": (read, failing),
            "fails, synchronous": (read, failing_synchronous),
            "stopped": (stop, endless),
            "stopped, synchronous": (stop, polling),
        }.items()
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_run_is_freed_without_the_garbage_collector(way: str, store: RunStore, collected: list[Any]) -> None:
    play, agent, options = WAYS[way]
    engine = engine_on(store, **options)

    @bounded
    async def main() -> None:
        await play(engine, agent)
        # The task and the agent's OS thread end a moment after the stream.
        await settled(lambda: not alive())

    main()
    gc.collect()
    assert [value for value in collected if is_ours(value)] == []


def test_run_of_an_agent_that_does_not_stop_is_freed_once_that_ends(collected: list[Any]) -> None:
    engine = engine_on(MemoryStore(), stop_grace_seconds=0, run_timeout_seconds=0.01)

    @bounded
    async def main() -> None:
        agent = Deaf()
        reader = Reader(await engine.run(given(agent.run)))
        await reader.rest()
        agent.may_go.set()
        del reader
        await settled(lambda: not alive())

    main()
    gc.collect()
    assert [value for value in collected if is_ours(value)] == []


def test_run_of_an_agent_that_does_not_stop_keeps_nothing_of_later_runs(collected: list[Any]) -> None:
    engine = engine_on(MemoryStore(), stop_grace_seconds=0)

    @bounded
    async def main() -> None:
        agent = Deaf()
        await Reader(await engine.run(given(answers))).rest()
        await stop(engine, agent.run)
        for number in range(3):
            await Reader(await engine.run(given(answers, f"later {number}"))).rest()
        kept = [type(value) for value in gc.get_objects() if isinstance(value, (RunRecorder, KnownIds))]
        agent.may_go.set()
        await settled(lambda: not alive())
        # Of the thread: the ids in its events, and those in its inputs.
        assert (kept.count(RunRecorder), kept.count(KnownIds)) == (1, 2)

    main()


@pytest.mark.parametrize("method", ["begin", "finish"])
def test_run_that_cannot_be_stored_is_freed_without_the_garbage_collector(
    method: str, store: RunStore, collected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = getattr(store, "write_runs", None)

    def fail(*_: Any) -> Any:
        raise StoreError("full")

    def fail_together(changes: Sequence[Any]) -> Any:
        if any(isinstance(change, RunEnd) for change in changes) == (method == "finish"):
            raise StoreError("full")
        return usual(changes) if usual is not None else None

    monkeypatch.setattr(persistence.RunPersistence, "_retry_seconds", lambda self: 0.0)
    monkeypatch.setattr(store, method, fail)
    if usual is not None:
        monkeypatch.setattr(store, "write_runs", fail_together)
    engine = engine_on(store)

    async def begin() -> bool:
        try:
            await Reader(await engine.run(given(answers))).rest()
        except StoreError:
            return True
        return False

    @bounded
    async def main() -> None:
        assert await begin() == (method == "begin")
        await settled(lambda: not alive())

    main()
    gc.collect()
    assert [value for value in collected if is_ours(value)] == []


@pytest.mark.parametrize("body", [b"{}", b"nonsense", b'{"threadId": 1}', b'{"messages": [{"role": "user"}]}'])
def test_invalid_input_is_freed_without_the_garbage_collector(body: bytes, collected: list[Any]) -> None:
    def refused() -> bool:
        try:
            parse_input(body, InputLimits())
        except InvalidRunInput:
            return True
        return False

    assert refused()
    gc.collect()
    assert [value for value in collected if is_ours(value)] == []


def test_threads_that_a_store_evicts_are_freed_without_the_garbage_collector(collected: list[Any]) -> None:
    engine = engine_on(MemoryStore(max_threads=1))

    @bounded
    async def main() -> None:
        for number in range(3):
            await Reader(await engine.run(given(answers, thread_id=f"t{number}"))).rest()

    main()
    gc.collect()
    assert [value for value in collected if is_ours(value)] == []


def test_errors_of_a_sqlite_store_are_freed_without_the_garbage_collector(collected: list[Any], tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "threads.db", timeout_seconds=0.01)
    new = NewRun(thread=THREAD, run_id="r", agent_id="a")
    started = store.begin(new)
    assert isinstance(started, RunStarted)
    store.finish(started.lease, (), RunCompletion(persist=True))
    with pytest.raises(LeaseLost):
        store.finish(started.lease, (), RunCompletion(persist=True))
    with closing(sqlite3.connect(tmp_path / "threads.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            store.begin(new)
    (tmp_path / "threads.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreError):
        store.read(THREAD)
    gc.collect()
    assert [value for value in collected if is_ours(value)] == []
