"""Runs that begin and end at the same time are written to a store that blocks together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._concurrency import driver
from copilot_runtime._engine import store_writes
from copilot_runtime._engine.async_store import AsyncStore
from copilot_runtime._engine.store_writes import FEW_CHANGES, MAX_CHANGES, PATIENT_SECONDS, QUIET_TURNS
from copilot_runtime.stores import LeaseLost, SqliteStore, StoreError
from copilot_runtime.stores.protocol import NewRun, RunCompletion, RunEnd, RunStarted, ThreadBusy, ThreadKey

from .engine_helpers import bounded


class RecordingStore(SqliteStore):
    """Notes how many changes come in each call. A call waits until it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.calls: list[int] = []
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()
        self.released.set()

    def write_runs(self, changes: Sequence[NewRun | RunEnd]) -> Sequence[RunStarted | ThreadBusy | Exception | None]:
        self.calls.append(len(changes))
        self.entered.release()
        assert self.released.wait(30)
        return super().write_runs(changes)

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        self.calls.append(0)
        return super().begin(run)


@pytest.fixture
def store(tmp_path: Path) -> RecordingStore:
    return RecordingStore(tmp_path / "threads.db")


def new(thread: object) -> NewRun:
    return NewRun(thread=ThreadKey("", str(thread)), run_id="r", agent_id="a")


async def begin_all(store: AsyncStore, count: int) -> list[RunStarted]:
    started = await asyncio.gather(*(store.begin(new(number)) for number in range(count)))
    assert all(isinstance(one, RunStarted) for one in started)
    return started  # type: ignore[return-value]


@bounded
async def test_group_commit_of_runs_that_begin_and_end_in_the_same_turn(store: RecordingStore) -> None:
    writes = AsyncStore(store)
    started = await begin_all(writes, 10)
    assert [one.lease.run.thread.thread_id for one in started] == [str(number) for number in range(10)]
    await asyncio.gather(*(writes.finish(one.lease, (), RunCompletion(persist=False)) for one in started))
    assert store.calls == [10, 10]


@bounded
async def test_group_commit_takes_all_that_come_while_the_store_writes(store: RecordingStore) -> None:
    writes = AsyncStore(store)
    store.released.clear()
    tasks = [asyncio.ensure_future(writes.begin(new("first")))]
    await asyncio.to_thread(store.entered.acquire)
    for number in range(MAX_CHANGES + 3):
        tasks.append(asyncio.ensure_future(writes.begin(new(number))))
        await asyncio.sleep(0)
    store.released.set()
    assert all(isinstance(started, RunStarted) for started in await asyncio.gather(*tasks))
    assert store.calls == [1, MAX_CHANGES, 3]


@bounded
async def test_group_commit_reports_to_each_run_its_own_failure(store: RecordingStore) -> None:
    writes = AsyncStore(store)
    [lost, kept] = await begin_all(writes, 2)
    store.delete(lost.lease.run.thread)
    outcomes = await asyncio.gather(
        *(writes.finish(one.lease, (), RunCompletion(persist=False)) for one in (lost, kept)),
        writes.begin(new("other")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], LeaseLost)
    assert outcomes[1] is None
    assert isinstance(outcomes[2], RunStarted)


@bounded
async def test_group_commit_of_a_store_that_fails_fails_all(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(changes: object) -> Any:
        raise StoreError("full disk")

    writes = AsyncStore(store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_runs", fail)
        outcomes = await asyncio.gather(*(writes.begin(new(at)) for at in range(3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["full disk"] * 3
    # Each has a traceback of its own, or that of the last one would have the frames of all.
    assert len({id(outcome) for outcome in outcomes}) == 3
    await begin_all(writes, 3)


@bounded
async def test_group_commit_of_a_store_that_loses_a_result_fails_and_goes_on(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = AsyncStore(store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_runs", lambda changes: [None])
        outcomes = await asyncio.gather(*(writes.begin(new(at)) for at in range(3)), return_exceptions=True)
    assert ["returned 1 of 3 results" in str(outcome) for outcome in outcomes] == [True] * 3
    await begin_all(writes, 3)


@bounded
async def test_group_commit_without_a_thread_to_start_fails_and_goes_on(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    writes = AsyncStore(store)
    with monkeypatch.context() as patch:
        patch.setattr(driver, "start_blocking", refuse)
        outcomes = await asyncio.gather(*(writes.begin(new(at)) for at in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
    await begin_all(writes, 3)


@bounded
async def test_group_commit_of_a_request_that_is_cancelled_leaves_the_others_alone(store: RecordingStore) -> None:
    writes = AsyncStore(store)
    cancelled, kept = (asyncio.ensure_future(writes.begin(new(name))) for name in ("cancelled", "kept"))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert isinstance(await kept, RunStarted)
    assert cancelled.cancelled()
    await begin_all(writes, 2)
    # And it has left its thread free.
    assert isinstance(await writes.begin(new("cancelled")), RunStarted)


@bounded
async def test_group_commit_of_a_request_that_is_cancelled_when_its_run_has_begun_leaves_its_thread_free(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = store_writes._LoopQueue._resolve

    def resolve_and_cancel(*values: Any) -> None:
        resolve(*values)
        request.cancel()

    writes = AsyncStore(store)
    with monkeypatch.context() as patch:
        patch.setattr(store_writes._LoopQueue, "_resolve", resolve_and_cancel)
        request = asyncio.ensure_future(writes.begin(new("t")))
        await asyncio.wait([request])
    assert request.cancelled()
    assert isinstance(await writes.begin(new("t")), RunStarted)


def test_group_commit_of_a_loop_that_is_closed_writes_what_is_left(store: RecordingStore) -> None:
    writes = AsyncStore(store)
    loop = asyncio.new_event_loop()
    lease = loop.run_until_complete(begin_all(writes, 1))[0].lease
    store.released.clear()

    async def leave_behind() -> None:
        tasks.append(asyncio.ensure_future(writes.begin(new("first"))))
        for _ in range(2):
            await asyncio.to_thread(store.entered.acquire)
        tasks.append(asyncio.ensure_future(writes.finish(lease, (), RunCompletion(persist=False))))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    tasks: list[asyncio.Future[Any]] = []
    loop.run_until_complete(leave_behind())
    loop.close()
    store.released.set()
    while store.read(lease.run.thread).live is not None:
        threading.Event().wait(0.001)
    assert store.calls == [1, 1, 1]


@bounded
async def test_group_commit_of_several_runs_takes_what_the_next_turns_of_the_loop_bring(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or clients that are answered together would fall apart into groups, with a call for each."""
    monkeypatch.setattr(store_writes, "GATHER_SECONDS", 3600.0)
    writes = AsyncStore(store)
    await begin_all(writes, 2)
    tasks = []
    for number in range(5):
        tasks.append(asyncio.ensure_future(writes.begin(new(f"next {number}"))))
        for _ in range(QUIET_TURNS):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert store.calls == [2, 5]


@bounded
async def test_group_commit_of_several_runs_waits_for_no_others_for_long(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_writes, "GATHER_SECONDS", 0.0)
    writes = AsyncStore(store)
    await begin_all(writes, 2)
    store.released.clear()
    assert store.entered.acquire(timeout=0)
    tasks = []
    while not store.entered.acquire(blocking=False):
        tasks.append(asyncio.ensure_future(writes.begin(new(f"next {len(tasks)}"))))
        await asyncio.sleep(0)
    store.released.set()
    await asyncio.gather(*tasks)
    assert store.calls[1] == 1


@bounded
async def test_group_commit_of_a_run_that_is_alone_waits_for_no_others(store: RecordingStore) -> None:
    writes = AsyncStore(store)
    [started] = await begin_all(writes, 1)
    assert store.entered.acquire(timeout=0)
    task = asyncio.ensure_future(writes.finish(started.lease, (), RunCompletion(persist=False)))
    for _ in range(2):
        await asyncio.sleep(0)
    assert store.entered.acquire(timeout=30)
    await task


LONG = PATIENT_SECONDS
SHORT = PATIENT_SECONDS / 2


async def end_all(store: AsyncStore, started: Sequence[RunStarted], lasted: float) -> None:
    for one in started:
        await store.finish(one.lease, (), RunCompletion(persist=False), lasted=lasted)


@bounded
async def test_group_commit_of_long_runs_waits_until_there_are_a_few(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = AsyncStore(store)
    started = await begin_all(writes, FEW_CHANGES)
    monkeypatch.setattr(store_writes, "PAUSE_SECONDS", 3600.0)
    ends = []
    for one in started:
        await asyncio.sleep(0)
        assert store.calls == [FEW_CHANGES]
        ends.append(asyncio.ensure_future(end_all(writes, [one], LONG)))
    await asyncio.gather(*ends)
    assert store.calls == [FEW_CHANGES] * 2


@bounded
async def test_group_commit_of_long_runs_waits_only_for_a_while(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_writes, "PAUSE_SECONDS", 0.001)
    writes = AsyncStore(store)
    await end_all(writes, await begin_all(writes, 10), LONG)
    assert store.calls == [10] + [1] * 10


@bounded
async def test_group_commit_of_long_runs_goes_along_with_a_short_one(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = AsyncStore(store)
    [one, other] = await begin_all(writes, 2)
    monkeypatch.setattr(store_writes, "PAUSE_SECONDS", 3600.0)
    long = asyncio.ensure_future(end_all(writes, [one], LONG))
    await asyncio.sleep(0)
    await asyncio.gather(long, end_all(writes, [other], SHORT))
    assert store.calls == [2, 2]


@bounded
async def test_group_commit_of_long_runs_goes_along_with_one_that_begins_which_does_not_wait(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = AsyncStore(store)
    started = await begin_all(writes, 2)
    monkeypatch.setattr(store_writes, "PAUSE_SECONDS", 3600.0)
    ends = [asyncio.ensure_future(end_all(writes, [one], LONG)) for one in started]
    await asyncio.sleep(0)
    assert isinstance(await writes.begin(new("next")), RunStarted)
    await asyncio.gather(*ends)
    assert store.calls == [2, 3]


def test_group_commit_of_a_long_run_does_not_wait_if_its_loop_is_about_to_be_closed(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = AsyncStore(store)

    async def leave_behind() -> RunStarted:
        [started] = await begin_all(writes, 1)
        monkeypatch.setattr(store_writes, "PAUSE_SECONDS", 3600.0)
        waiting.append(asyncio.ensure_future(end_all(writes, [started], LONG)))
        await asyncio.sleep(0)
        return started

    waiting: list[asyncio.Future[None]] = []
    started = asyncio.run(leave_behind())  # which cancels what is left, and closes its loop
    assert waiting[0].cancelled()
    while store.read(started.lease.run.thread).live is not None:
        threading.Event().wait(0.001)
    assert store.calls == [1, 1]


def test_group_commit_is_not_for_stores_with_a_begin_of_their_own(tmp_path: Path) -> None:
    class Counting(SqliteStore):
        begun = 0

        def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
            self.begun += 1
            return super().begin(run)

    store = Counting(tmp_path / "threads.db")
    asyncio.run(begin_all(AsyncStore(store), 3))
    assert store.begun == 3


def test_group_commit_is_not_for_store_objects_with_a_begin_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "threads.db")
    begun: list[NewRun] = []
    begin = store.begin

    def recorded(run: NewRun) -> RunStarted | ThreadBusy:
        begun.append(run)
        return begin(run)

    monkeypatch.setattr(store, "begin", recorded)
    asyncio.run(begin_all(AsyncStore(store), 3))
    assert len(begun) == 3
