"""One memory store in several runtimes of a process, and runtimes that are created for each request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._engine import Engine, StopResult, persistence
from copilot_runtime._engine.remote_runs import RemoteRunFollower
from copilot_runtime._server import memory_store_check
from copilot_runtime.stores import LeaseLost, MemoryStore, RunTooLarge
from copilot_runtime.stores.protocol import Batch, Lease, ThreadKey
from copilot_runtime.testing import TestClient

from .engine_helpers import THREAD, Gated, Reader, answers, bounded, engine_on, given, settled, stored
from .recorder_helpers import FINISHED, STARTED, Event, text

pytestmark = pytest.mark.requirement("STORE-07")


def two(**options: Any) -> tuple[Engine, Engine]:
    store = MemoryStore()
    return engine_on(store), engine_on(store, **options)


@bounded
async def test_shared_memory_store_run_is_stopped_through_another_runtime() -> None:
    here, there = two()
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    assert await there.stop(THREAD, "r") == StopResult(True)
    assert (await own.rest())[-1] == FINISHED
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert await joined.rest() == own.events
    assert await there.stop(THREAD, None) == StopResult(False)
    assert await here.stop(THREAD, None) == StopResult(False)


@bounded
async def test_shared_memory_store_run_is_superseded_through_another_runtime() -> None:
    here, there = two(on_concurrent_run="supersede")
    own = Reader(await here.run(given(Gated())))
    await own.until(2)
    await Reader(await there.run(given(answers, "second"))).rest()
    assert (await own.rest())[-1] == FINISHED
    assert [run.run_id for run in here.store.read(THREAD).runs] == ["r", "second"]


@bounded
async def test_shared_memory_store_thread_is_deleted_through_another_runtime() -> None:
    here, there = two()
    own = Reader(await here.run(given(Gated())))
    await own.until(2)
    assert await there.delete(THREAD)
    assert (await own.rest())[-1]["code"] == "RUN_LOST"


@bounded
async def test_shared_memory_store_shutdown_of_another_runtime_stops_nothing() -> None:
    here, there = two()
    agent = Gated(1)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    await there.shutdown(0)
    agent.allow()
    assert (await own.rest())[-1] == FINISHED
    assert not here._runs.shared


def test_shared_memory_store_run_of_another_event_loop_is_stopped() -> None:
    """As under WSGI: each client has a loop of its own."""
    store = MemoryStore()

    async def waits(input: Any) -> AsyncIterator[Event]:
        yield {**STARTED, "threadId": input.thread_id, "runId": input.run_id}
        await asyncio.Event().wait()

    runtimes = [CopilotRuntime(agents={"default": waits}, store=store) for _ in range(2)]
    with (
        TestClient(runtimes[0]) as here,
        TestClient(runtimes[1]) as there,
        here.stream("default", "hi", thread_id="t") as events,
    ):
        assert next(events)["type"] == "RUN_STARTED"
        assert there.stop("default", "t")["stopped"] is True
        assert [event["type"] for event in events] == ["RUN_FINISHED"]


@bounded
async def test_shared_memory_store_events_reach_another_runtime_without_polling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RemoteRunFollower, "_poll", lambda self, logs: None)
    here, there = two()
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    for count in (3, 4):
        agent.allow(1)
        await joined.until(count)
    agent.allow(3)
    assert (await joined.rest())[-1] == FINISHED
    await own.rest()
    assert joined.frames == own.frames


# --- active runs, which are appended only where somebody needs them ---


@bounded
async def test_memory_store_is_not_flushed_by_a_timer() -> None:
    here, there = two()
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    live = here.store.read(THREAD).live
    assert live is not None
    timer = here._persistence._flush_timer
    assert not any(of_loop.members for of_loop in timer._timers.values())
    assert not here.store.follow(live.run, 0).frames
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    assert not here.store.follow(live.run, 0).frames, "a reader in another runtime of the process needs no store"
    agent.allow(2)
    await joined.until(4)
    agent.allow(3)
    await joined.rest()
    await own.rest()
    assert joined.frames == own.frames
    assert list(stored(here.store).raw or ()) == own.frames


class Unhashable(MemoryStore):
    """As any dataclass is: runtimes that share it do not find each other's runs."""

    __hash__ = None  # type: ignore[assignment]


@bounded
async def test_memory_store_that_cannot_be_hashed_is_flushed_for_other_runtimes() -> None:
    store = Unhashable()
    here, there = engine_on(store), engine_on(store)
    agent = Gated(1)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    agent.allow()
    await own.rest()
    await joined.rest()
    assert joined.frames == own.frames


@bounded
async def test_memory_store_run_that_was_found_before_it_was_launched_is_followed() -> None:
    """By a request on another thread, which found it in the store and not yet in its engine."""
    engine = engine_on(MemoryStore())
    agent = Gated()
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    live = engine.store.read(THREAD).live
    assert live is not None
    log = engine._remote_runs.log(live.run, live.run_id, live.agent_id)
    await settled(lambda: log.frames == own.frames)
    agent.allow(3)
    await own.rest()
    await settled(lambda: log.ended)
    assert log.frames == own.frames


@bounded
async def test_memory_store_max_bytes_counts_what_active_runs_have_emitted() -> None:
    store = MemoryStore(max_bytes=20_000_000)
    engine = engine_on(store)
    agent = Gated(1)
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    before = store._table.size
    for length in (store.flush_bytes // 2, store.flush_bytes):
        await Reader(await engine.run(given(Says("x" * length), "r2", "other"))).until(3)
        assert (store._table.size - before >= length) == (length >= store.flush_bytes)
        await engine.delete(ThreadKey("", "other"))
    agent.allow()
    await own.rest()


class Says:
    """An agent that says something and then waits."""

    def __init__(self, delta: str) -> None:
        self.delta = delta

    async def run(self, input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        yield text("START")
        yield text("CONTENT", delta=self.delta)
        await asyncio.Event().wait()


@bounded
async def test_memory_store_with_an_append_of_its_own_gets_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 0.005)
    appended: list[bytes] = []

    class Watching(MemoryStore):
        def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
            appended.extend(frame for batch in batches for frame in batch.frames)
            return super().append(batches)

    engine = engine_on(Watching())
    agent = Gated()
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    await settled(lambda: appended == own.frames)
    agent.allow(3)
    await own.rest()


# --- a runtime for each request ---


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, in which no test replaces stores."""
    monkeypatch.setattr(memory_store_check._Suspects, "count", 0)
    monkeypatch.setattr(memory_store_check, "is_store_overridden", bool)


async def agent(input: Any) -> AsyncIterator[Event]:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


HISTORY = [
    {"id": "1", "role": "user", "content": "hi"},
    {"id": "2", "role": "assistant", "content": "hello"},
    {"id": "3", "role": "user", "content": "and now?"},
]


def requested(runtime: CopilotRuntime, messages: list[dict[str, str]]) -> None:
    with TestClient(runtime) as client:
        assert client.run("default", messages, thread_id="t").events[-1]["type"] == "RUN_FINISHED"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_runtime_per_request_with_a_memory_store_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(8):
        requested(CopilotRuntime(agents={"default": agent}), HISTORY)
    [warning] = warnings(caplog)
    assert "store = MemoryStore()" in warning


def test_runtime_per_request_that_is_right_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    for _ in range(8):
        requested(CopilotRuntime(agents={"default": agent}, store=store), HISTORY)
        requested(CopilotRuntime(agents={"default": agent}), HISTORY[:1])  # new threads are fine
    assert warnings(caplog) == []


def test_runtimes_that_are_created_at_the_start_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """After a restart, the first run of each has a history that its store has lost."""
    runtimes = [CopilotRuntime(agents={"default": agent}) for _ in range(8)]
    for runtime in (*runtimes, *runtimes):
        requested(runtime, HISTORY)
    assert warnings(caplog) == []


def test_runtime_of_each_test_is_not_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_store_check, "is_store_overridden", lambda: True)
    for _ in range(8):
        requested(CopilotRuntime(agents={"default": agent}), HISTORY)
    assert warnings(caplog) == []
