"""Polling for stop requests and lost leases: once for all runs of a process, and without its event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._concurrency import loops
from copilot_runtime._engine import StopResult
from copilot_runtime.stores import MemoryStore, SqliteStore
from copilot_runtime.stores.protocol import Batch, Lease, LeaseSignal, ThreadKey
from copilot_runtime.testing._factories import T1, T2, begin, poll_signal, record_run, store_run

from .engine_helpers import HANG_SECONDS, THREAD, Gated, Reader, bounded, engine_on, given, settled
from .recorder_helpers import FINISHED

pytestmark = pytest.mark.requirement("STORE-02")


class PolledStore(MemoryStore):
    """A store that is polled, and remembers for which leases."""

    poll_seconds = 0.005

    def __init__(self) -> None:
        super().__init__()
        self.polls: list[set[str]] = []
        self.polled = threading.Condition()

    def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        with self.polled:
            self.polls.append({lease.run_id for lease in leases})
            self.polled.notify_all()
        return super().poll_signals(leases)

    def wait_for(self, is_met: Callable[[], bool]) -> None:
        with self.polled:
            assert self.polled.wait_for(is_met, HANG_SECONDS)


@bounded
async def test_poll_covers_the_runs_of_all_event_loops() -> None:
    store = PolledStore()
    engine = engine_on(store)
    agent = Gated()
    reader = Reader(await engine.run(given(agent, "here", "t1")))
    await reader.until(2)

    async def elsewhere() -> None:
        other = Reader(await engine.run(given(Gated(), "there", "t2")))
        await other.until(2)
        await asyncio.to_thread(store.wait_for, lambda: {"here", "there"} in store.polls)
        assert await engine.stop(ThreadKey("", "t2"), None) == StopResult(True)
        await other.rest()

    await asyncio.to_thread(asyncio.run, elsewhere())
    agent.allow(agent.count)
    await reader.rest()


@bounded
async def test_poll_that_finds_nothing_wakes_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes: list[Any] = []
    call_soon_threadsafe = loops.call_soon_threadsafe

    def counted(loop: Any, function: Callable[..., object], *values: Any) -> bool:
        if threading.current_thread().name == "copilot-runtime-signals":  # and not the watchdog's, once a second
            wakes.append(function)
        return call_soon_threadsafe(loop, function, *values)

    store = PolledStore()
    engine = engine_on(store)
    reader = Reader(await engine.run(given(Gated())))
    await reader.until(2)
    monkeypatch.setattr(loops, "call_soon_threadsafe", counted)
    count = len(store.polls)
    await asyncio.to_thread(store.wait_for, lambda: len(store.polls) >= count + 3)
    assert wakes == []
    store.request_stop(THREAD, None)  # as another process does
    assert (await reader.rest())[-1] == FINISHED
    assert wakes
    [poller] = engine._persistence._poller._values.values()
    assert not poller._writers


@bounded
async def test_poll_forgets_the_runs_of_an_event_loop_that_was_closed() -> None:
    store = PolledStore()
    engine = engine_on(store)

    async def begins() -> None:
        await Reader(await engine.run(given(Gated()))).until(2)

    def closes_its_loop() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begins())
        loop.close()

    await asyncio.to_thread(closes_its_loop)
    poller = engine._persistence._poller.get()
    await settled(lambda: not poller._writers)


# --- what a poll of SQLite reads ---


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "threads.db")


@pytest.fixture
def reads(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements with which the store looks at all active runs."""
    statements: list[str] = []
    fetch_all = store._connections.fetch_all

    def counted(sql: str) -> list[Any]:
        statements.append(sql)
        return fetch_all(sql)

    monkeypatch.setattr(store._connections, "fetch_all", counted)
    return statements


def test_poll_signals_looks_at_the_runs_only_if_somebody_else_has_written(store: SqliteStore, reads: list[str]) -> None:
    leases = [begin(store, T1).lease, begin(store, T2).lease]
    for number in range(3):
        assert store.poll_signals(leases) == {}
        assert store.poll_signals(leases[:1]) == {}
        store.append([Batch(lease, [b"data: {}\n\n"]) for lease in leases])
        store.renew(leases)
        store_run(store, ThreadKey("", "ends"), f"m{number}")
        leases.append(begin(store, ThreadKey("", f"{number}")).lease)
    assert len(reads) == 1


@pytest.mark.parametrize("has_polled", [False, True])
def test_poll_signals_sees_what_another_process_has_written(store: SqliteStore, has_polled: bool) -> None:
    other = SqliteStore(store._connections.path)
    first, second = begin(store, T1).lease, begin(store, T2).lease
    if has_polled:
        assert store.poll_signals([first, second]) == {}
    other.request_stop(T1, None)
    assert store.poll_signals([first, second]) == {first: LeaseSignal.STOP}
    other.delete(T2)
    assert store.poll_signals([second]) == {second: LeaseSignal.LOST}


def test_poll_signals_sees_what_was_asked_of_a_run_before_its_first_poll(store: SqliteStore) -> None:
    other = SqliteStore(store._connections.path)
    first = begin(store, T1).lease
    second = begin(store, T2).lease
    other.request_stop(T2, None)
    assert store.poll_signals([first]) == {}  # which sees the same state of the file
    assert store.poll_signals([first, second]) == {second: LeaseSignal.STOP}


@pytest.mark.parametrize("kind", ["stop", "claim", "delete", "finish"])
def test_poll_signals_sees_what_its_own_process_has_written(store: SqliteStore, kind: str) -> None:
    lease = begin(store, T1).lease
    assert poll_signal(store, lease) is None
    if kind == "stop":
        store.request_stop(T1, None)
    elif kind == "claim":
        store.claim(lease.run, force=True)
    elif kind == "delete":
        store.delete(T1)
    else:
        store.finish(lease, *record_run(lease, []))
    assert poll_signal(store, lease) is (LeaseSignal.STOP if kind == "stop" else LeaseSignal.LOST)


def test_poll_signals_does_not_wait_for_a_write(store: SqliteStore, reads: list[str]) -> None:
    """Which may wait for another process for seconds."""
    lease = begin(store, T1).lease
    store_run(store, T2)
    writer = store._connections._state.get().writer
    with writer.lock:
        assert store.poll_signals([lease]) == {}
        assert store.poll_signals([lease]) == {}
    assert len(reads) == 2
