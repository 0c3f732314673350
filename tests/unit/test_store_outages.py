"""A store that is slow, away for a while, or answers that it failed although it did its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._concurrency import driver, loops
from copilot_runtime._engine import (
    EndedRun,
    Engine,
    async_store,
    leases,
    lost_begins,
    persistence,
    store_queue,
    store_writes,
)
from copilot_runtime._engine.async_store import AsyncStore
from copilot_runtime.stores import MemoryStore, SqliteStore, StoreError
from copilot_runtime.stores.protocol import StoredRun, ThreadKey, ThreadUnreadable

from ..faulty_store import FaultyStore
from .engine_helpers import THREAD, Gated, Reader, answers, bounded, engine_on, given, settled, stored
from .recorder_helpers import FINISHED, Event

pytestmark = pytest.mark.requirement("STORE-14")

LEASE_SECONDS = 3.0


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 0.005)
    monkeypatch.setattr(persistence, "FINISH_RETRY_INTERVAL", 0.005)
    monkeypatch.setattr(lost_begins, "CHECK_SECONDS", 0.005)
    return tmp_path / "threads.db"


@pytest.fixture
def store(path: Path) -> FaultyStore:
    return FaultyStore(SqliteStore(path, poll_seconds=0.01, lease_seconds=LEASE_SECONDS))


@pytest.fixture
def engine(store: FaultyStore) -> Engine:
    return engine_on(store)  # type: ignore[arg-type]


def raw_of(store: FaultyStore) -> list[bytes]:
    run: StoredRun = stored(store.inner)
    return list(run.raw or ())


# --- a run that is active during the outage ---


@bounded
async def test_outage_during_a_run_is_not_noticed_by_its_reader(store: FaultyStore, engine: Engine) -> None:
    agent = Gated(5)
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    store.fail()
    agent.allow(4)
    await own.until(6)
    await settled(lambda: min(store.failures[name] for name in ("append", "poll_signals")) >= 3)
    agent.allow()
    await settled(lambda: store.failures["write_runs"] >= 3)  # its end
    store.work()
    assert (await own.rest())[-1] == FINISHED
    assert raw_of(store) == own.frames
    assert (await Reader(await engine.run(given(answers, "second"))).rest())[-1] == FINISHED


@bounded
async def test_outage_at_the_end_of_a_run_may_take_as_long_as_its_lease(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "FINISH_RETRY_SECONDS", 0.0)  # of stores without leases
    agent = Gated(1)
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    store.fail("write_runs")
    agent.allow()
    await settled(lambda: store.failures["write_runs"] >= 5)
    store.work()
    assert (await own.rest())[-1] == FINISHED
    assert raw_of(store) == own.frames


@pytest.mark.parametrize("method", ["append", "finish"])
@bounded
async def test_answer_that_is_lost_stores_each_event_once(path: Path, method: str) -> None:
    """The store has done its work, and the connection broke before it said so."""
    store = FaultyStore(SqliteStore(path, poll_seconds=0.01))
    engine = engine_on(store)  # type: ignore[arg-type]
    ended: list[EndedRun] = []
    engine.on_run_end = ended.append
    agent = Gated(5)
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    store.fail_afterwards(*{"append": ("append",), "finish": ("finish", "write_runs")}[method])
    agent.allow(4)
    await own.until(6)
    if method == "append":
        await settled(lambda: store.failures["append"] >= 3)
        joined = Reader(await engine_on(SqliteStore(path, poll_seconds=0.01)).connect(THREAD, None))
        await joined.until(6)
        assert joined.frames == own.frames
        store.work()
    agent.allow()
    if method == "finish":
        await settled(lambda: store.failures["write_runs"] >= 1)
        store.work()
    assert (await own.rest())[-1] == FINISHED
    assert raw_of(store) == own.frames
    await settled(lambda: len(ended) == 1)
    assert ended[0].outcome == "finished"


async def fails_without_events(may_end: asyncio.Event, input: Any) -> AsyncIterator[Event]:
    await may_end.wait()
    raise RuntimeError("no")
    yield {}


async def goes_on_after_its_end(may_end: asyncio.Event, input: Any) -> AsyncIterator[Event]:
    async for event in answers(input):
        yield event
    await may_end.wait()


@pytest.mark.parametrize(
    ("agent", "shown", "outcome", "code"),
    [(fails_without_events, 0, "failed", "INCOMPLETE_STREAM"), (goes_on_after_its_end, 5, "finished", "")],
)
@bounded
async def test_answer_that_is_lost_for_an_unusual_end(
    store: FaultyStore, engine: Engine, agent: Any, shown: int, outcome: str, code: str
) -> None:
    ended: list[EndedRun] = []
    engine.on_run_end = ended.append
    may_end = asyncio.Event()
    own = Reader(await engine.run(given(partial(agent, may_end))))
    await own.until(shown)
    store.fail_afterwards("write_runs")
    may_end.set()
    await settled(lambda: store.failures["write_runs"] >= 1)
    store.work()
    assert (await own.rest())[-1].get("code", "") == code
    await settled(lambda: len(ended) == 1)
    assert ended[0].outcome == outcome


@bounded
async def test_run_that_another_process_has_ended_is_not_taken_for_stored(store: FaultyStore, engine: Engine) -> None:
    agent = Gated(1)
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    store.fail("finish", "write_runs", "poll_signals")
    agent.allow()
    await settled(lambda: store.failures["write_runs"] >= 1)
    store.inner.delete(THREAD)
    store.work()
    assert (await own.rest())[-1]["code"] == "RUN_LOST"


# --- leases ---


@bounded
async def test_lease_outlives_an_outage_that_is_shorter_than_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long before the outage it was renewed."""
    monkeypatch.setattr(leases, "RENEWALS_PER_LEASE", 1.1)
    store = FaultyStore(SqliteStore(path, poll_seconds=0.01, lease_seconds=1.2))
    engine = engine_on(store)  # type: ignore[arg-type]
    agent = Gated()
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    store.fail("renew")
    await settled(lambda: store.failures["renew"] >= 4)
    store.work()
    renewed = store.calls["renew"]
    await settled(lambda: store.calls["renew"] > renewed)
    agent.allow(agent.count)
    assert (await own.rest())[-1] == FINISHED


@bounded
async def test_outage_that_is_longer_than_the_lease_ends_the_run(path: Path) -> None:
    store = FaultyStore(SqliteStore(path, poll_seconds=0.01, lease_seconds=0.3))
    engine = engine_on(store)  # type: ignore[arg-type]
    own = Reader(await engine.run(given(Gated())))
    await own.until(2)
    store.fail()
    last = (await own.rest())[-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "STORE_UNAVAILABLE")


# --- requests ---


class Clock:
    """Stands still, unless it is set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@bounded
async def test_requests_of_a_store_that_hangs_do_not_wait_for_each_other(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have waited for the first ones fail with them, and are no further calls."""
    clock = Clock()
    for module in (async_store, store_queue):
        monkeypatch.setattr(module, "time", clock)
    store.hang("read")
    requests = [asyncio.ensure_future(engine.connect(ThreadKey("", f"t{number}"), None)) for number in range(100)]
    await settled(lambda: store.calls["read"] == driver._POOL_THREADS)
    clock.now += 1.0
    store.may_go_on.set()
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert store.calls["read"] == driver._POOL_THREADS


@bounded
async def test_messages_of_a_store_that_hangs_do_not_wait_for_each_other(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read on other threads, which serialise them as well."""
    calls = AsyncStore(store)  # type: ignore[arg-type]
    clock = Clock()
    for module in (async_store, store_queue):
        monkeypatch.setattr(module, "time", clock)
    store.hang("messages")
    requests = [asyncio.ensure_future(calls.call_off_loop(store.messages, THREAD)) for _ in range(100)]
    await settled(lambda: store.calls["messages"] == 4)
    clock.now += 1.0
    store.may_go_on.set()
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert store.calls["messages"] == 4


@bounded
async def test_flush_that_waits_too_long_for_its_turn_is_repeated(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another event that would bring its frames along."""
    agent = Gated()
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    await settled(lambda: store.calls["append"] >= 1)
    appended = store.calls["append"]
    clock = Clock()
    for module in (async_store, store_queue):
        monkeypatch.setattr(module, "time", clock)
    store.hang("read")
    requests = [asyncio.ensure_future(engine.connect(THREAD, None)) for _ in range(driver._POOL_THREADS)]
    await settled(lambda: store.calls["read"] == driver._POOL_THREADS)
    agent.allow()
    await own.until(3)
    await settled(lambda: driver._pool.get()._work_queue.qsize() >= 1)
    clock.now += 60.0
    store.work()
    await asyncio.gather(*requests, return_exceptions=True)
    await settled(lambda: store.calls["append"] > appended)
    agent.allow(agent.count)
    await own.rest()
    assert raw_of(store) == own.frames


@pytest.mark.parametrize(("seconds", "refused"), [(4.0, 0), (6.0, 100 - driver._POOL_THREADS)])
@bounded
async def test_requests_of_a_slow_store_wait_for_some_seconds(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: float, refused: int
) -> None:
    clock = Clock()
    for module in (async_store, store_queue):
        monkeypatch.setattr(module, "time", clock)
    store.hang("read", then_fail=False)
    requests = [asyncio.ensure_future(engine.connect(ThreadKey("", f"t{number}"), None)) for number in range(100)]
    await settled(lambda: store.calls["read"] == driver._POOL_THREADS)
    clock.now += seconds
    store.may_go_on.set()
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert sum(isinstance(result, StoreError) for result in results) == refused


@bounded
async def test_runs_that_begin_on_a_store_that_hangs_do_not_wait_for_each_other(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    for module in (store_writes, store_queue):
        monkeypatch.setattr(module, "time", clock)
    store.fail("request_stop")  # with which they are looked for: one that succeeds would say that the store works
    store.hang("write_runs")
    requests = [
        asyncio.ensure_future(engine.run(given(answers, "r", f"t{number}")))
        for number in range(4 * store_writes.MAX_CHANGES)
    ]
    await settled(lambda: store.calls["write_runs"] == 1)
    clock.now += 1.0
    store.may_go_on.set()
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert store.calls["write_runs"] == 1
    store.work()
    assert (await Reader(await engine.run(given(answers))).rest())[-1] == FINISHED
    # Only what the store was called with may have begun.
    looks = lost_begins.CHECKS * store_writes.MAX_CHANGES
    await settled(lambda: store.calls["request_stop"] - store.failures["request_stop"] >= looks)
    await settled(lambda: not engine._starter._lost_begins._pending)
    assert store.calls["request_stop"] - store.failures["request_stop"] == looks


@pytest.mark.parametrize("where", ["event loop", "worker thread"])
@bounded
async def test_run_that_has_begun_although_begin_failed_frees_its_thread(
    store: FaultyStore, engine: Engine, where: str
) -> None:
    async def run(run_id: str) -> Any:
        request = engine.run(given(answers, run_id))
        return await (request if where == "event loop" else asyncio.to_thread(driver.run_sync, request))

    store.fail_afterwards("begin", "write_runs")
    store.fail("request_stop")  # before it is looked for
    with pytest.raises(StoreError):
        await run("first")
    begun = store.inner.read(THREAD).live
    assert begun is not None
    await settled(lambda: store.failures["request_stop"] >= 3)
    store.work()
    await settled(lambda: store.inner.read(THREAD).live is None)
    own = Reader(await run("second"))
    assert (await own.rest())[-1] == FINISHED
    assert [stored.run_id for stored in store.inner.read(THREAD).runs] == ["second"]


@bounded
async def test_run_that_has_begun_although_its_worker_thread_was_interrupted_frees_its_thread(
    store: FaultyStore, engine: Engine
) -> None:
    """As servers do that limit the time of a request: by an exception wherever it is."""

    class Interrupt(BaseException):
        pass

    store.fail_afterwards("begin", error=Interrupt())
    with pytest.raises(Interrupt):
        await asyncio.to_thread(driver.run_sync, engine.run(given(answers)))
    store.work()
    await settled(lambda: store.inner.read(THREAD).live is None)


@bounded
async def test_begin_that_failed_is_reported_although_no_thread_can_be_started(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loops, "background_loop", failing)
    store.fail("write_runs")
    with pytest.raises(StoreError):
        await engine.run(given(answers))


@bounded
async def test_begin_that_failed_in_a_store_that_does_not_block_ends_no_other_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FaultyStore(MemoryStore())
    engine = engine_on(store)  # type: ignore[arg-type]
    looked_for: list[Any] = []
    monkeypatch.setattr(engine._starter._lost_begins, "add", looked_for.append)
    agent = Gated(1)
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    store.fail("begin")
    with pytest.raises(StoreError):
        await engine.run(given(answers, "second"))
    assert not looked_for
    store.work()
    agent.allow()
    assert (await own.rest())[-1] == FINISHED


@bounded
async def test_damaged_thread_does_not_keep_others_busy_whose_begin_failed(path: Path) -> None:
    store = FaultyStore(SqliteStore(path, lease_seconds=3600))
    engine = engine_on(store)  # type: ignore[arg-type]
    request_stop = store.request_stop

    def fails_of_one(thread: ThreadKey, run_id: str | None) -> Any:
        if thread.thread_id == "damaged":
            raise ThreadUnreadable("damaged")
        return request_stop(thread, run_id)

    store.request_stop = fails_of_one
    store.fail_afterwards("begin", "write_runs")
    for name in ("damaged", "t"):
        with pytest.raises(StoreError):
            await engine.run(given(answers, "r", name))
    store.work()
    await settled(lambda: store.inner.read(THREAD).live is None)


@bounded
async def test_run_of_another_process_is_not_taken_for_one_whose_begin_failed(
    path: Path, store: FaultyStore, engine: Engine
) -> None:
    """With the same run id, as when a client sends its request again."""
    there = engine_on(SqliteStore(path, poll_seconds=0.01))
    store.fail("begin", "write_runs", "request_stop")
    with pytest.raises(StoreError):
        await engine.run(given(answers))
    agent = Gated()
    again = Reader(await there.run(given(agent)))
    await again.until(2)
    store.work()
    checked = store.calls["request_stop"]
    await settled(lambda: store.calls["request_stop"] >= checked + lost_begins.CHECKS - 1)
    agent.allow(agent.count)
    assert (await again.rest())[-1] == FINISHED


@bounded
async def test_run_that_cannot_be_launched_frees_its_thread_once_the_store_is_back(
    store: FaultyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        store.fail("finish", "write_runs")
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(engine._starter, "_launch", failing)
        with pytest.raises(StoreError, match="away"):
            await engine.run(given(answers))
    assert store.inner.read(THREAD).live is not None
    store.work()
    await settled(lambda: store.inner.read(THREAD).live is None)
    assert not store.inner.read(THREAD).runs
