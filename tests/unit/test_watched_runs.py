"""Stores that call back when another process has changed a run: nothing waits for the next poll, and nobody polls."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._engine import Engine, StopResult, orphans, persistence, remote_runs, signals
from copilot_runtime._engine.persistence import RunPersistence
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime.stores import StoreError
from copilot_runtime.stores.protocol import Batch, NewRun, RunKey, RunStarted, ThreadKey

from ..faulty_store import FaultyStore
from .engine_helpers import HANG_SECONDS, THREAD, Gated, Reader, answers, bounded, engine_on, given, settled
from .recorder_helpers import FINISHED
from .watched_store import NEVER, Notifications, WatchedStore

pytestmark = pytest.mark.requirement("STORE-15")


@pytest.fixture
def notifications() -> Notifications:
    return Notifications()


@pytest.fixture
def make(tmp_path: Path, notifications: Notifications, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    """Makes an engine of a process of its own. Nothing that is needed is polled for, or appended in intervals."""
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", NEVER)
    monkeypatch.setattr(signals, "WATCH_SECONDS", 0.002)

    def engine(**options: Any) -> Engine:
        return engine_on(WatchedStore(tmp_path / "threads.db", notifications, **options))

    return engine


def calls(engine: Engine) -> Counter[str]:
    assert isinstance(engine.store, WatchedStore)
    return engine.store.calls


@bounded
async def test_followed_run_is_read_event_by_event_without_polls(make: Callable[..., Engine]) -> None:
    here, there = make(), make()
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    for number in range(3, 8):
        agent.allow()
        await joined.until(number)  # before the agent may go on
    await joined.rest()
    await own.rest()
    assert joined.frames == own.frames
    assert joined.events[-1] == FINISHED


@bounded
async def test_stop_and_deletion_by_another_process_are_seen_without_polls(make: Callable[..., Engine]) -> None:
    here, there = make(), make()
    for action in (lambda: there.stop(THREAD, None), lambda: there.delete(THREAD)):
        agent = Gated()
        own = Reader(await here.run(given(agent)))
        await own.until(2)
        assert await action() in (StopResult(True), True)
        await own.rest()
        assert isinstance(agent.raised, asyncio.CancelledError)


@bounded
async def test_notifications_that_are_lost_are_replaced_by_polls(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of followers, of events and of stops: each arrives with the next poll."""
    monkeypatch.setattr(Notifications, "notify", lambda *_: None)
    here, there = make(poll_seconds=0.02), make(poll_seconds=0.02)
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    for number in range(3, 5):
        agent.allow()
        await joined.until(number)
    assert await there.stop(THREAD, None) == StopResult(True)
    await own.rest()
    await joined.rest()
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert joined.frames == own.frames


@bounded
async def test_run_that_nobody_follows_costs_one_look(
    make: Callable[..., Engine], notifications: Notifications
) -> None:
    engine = make()
    for _ in range(5):
        await Reader(await engine.run(given(answers))).rest()
    assert calls(engine)["poll_signals"] <= 1  # of one that took longer than it is waited for before a watch
    before = calls(engine)["poll_signals"]
    agent = Gated(100)
    own = Reader(await engine.run(given(agent)))
    await settled(lambda: calls(engine)["poll_signals"] > before)
    looks = calls(engine).copy()
    agent.allow(100)
    await own.rest()
    assert calls(engine)["poll_signals"] == looks["poll_signals"]
    assert calls(engine)["follow"] == calls(engine)["append"] == 0
    await settled(lambda: not notifications.watchers)
    assert notifications.sent == 0


@bounded
async def test_watches_end_with_their_runs_and_readers(
    make: Callable[..., Engine], notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_runs, "UNREAD_SECONDS", 0.0)
    here, there = make(), make(poll_seconds=0.005)
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    joined.close()
    await settled(lambda: not there._remote_runs._logs)
    assert [store for store, _, _ in notifications.watchers] == [here.store]
    # A reader that comes back gets all of it.
    joined = Reader(await there.connect(THREAD, None))
    agent.allow(5)
    await own.rest()
    await joined.rest()
    assert joined.frames == own.frames
    await settled(lambda: not notifications.watchers)
    assert not there._remote_runs._logs


@bounded
async def test_append_of_followed_runs_takes_what_has_come_during_the_one_before(make: Callable[..., Engine]) -> None:
    here, there = make(), make()
    appended: list[int] = []
    may_append, is_appending = threading.Event(), threading.Event()
    append = here.store.append

    def slow(batches: Sequence[Batch]) -> Any:
        appended.append(len(batches[0].frames))
        is_appending.set()
        assert may_append.wait(HANG_SECONDS)
        return append(batches)

    here.store.append = slow  # type: ignore[method-assign]
    agent = Gated(21)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await settled(is_appending.is_set)
    agent.allow(20)
    await own.until(22)
    may_append.set()
    await joined.until(22)
    agent.allow()
    await joined.rest()
    await own.rest()
    assert joined.frames == own.frames
    assert appended[:2] == [2, 20]
    assert len(appended) <= 3


async def follow_through_a_faulty_store(
    make: Callable[..., Engine],
) -> tuple[FaultyStore, Gated, Reader, Reader]:
    """Returns a store, an agent that has yielded two events, its own reader, and one that follows through the store."""
    here = make()
    store = FaultyStore(make().store)
    there = engine_on(store)  # type: ignore[arg-type]
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    return store, agent, own, joined


@bounded
async def test_follower_goes_on_when_the_store_reports_that_it_is_back(
    make: Callable[..., Engine], notifications: Notifications, caplog: pytest.LogCaptureFixture
) -> None:
    store, agent, own, joined = await follow_through_a_faulty_store(make)
    store.fail("follow")
    failures = store.failures["follow"]
    agent.allow(3)
    await settled(lambda: store.failures["follow"] > failures)
    store.work()
    notifications.notify(None, THREAD)
    await joined.until(5)
    agent.allow(2)
    await joined.rest()
    await own.rest()
    assert joined.frames == own.frames
    assert "following runs of other processes failed" in caplog.text


@bounded
async def test_follower_goes_on_when_the_store_reports_a_change_while_it_fails(
    make: Callable[..., Engine], notifications: Notifications
) -> None:
    """As one does that is back: what was asked before may still be about to fail."""
    store, agent, own, joined = await follow_through_a_faulty_store(make)
    store.hang("follow")
    agent.allow(3)
    await asyncio.to_thread(store.hanging.acquire)
    await own.until(5)
    notifications.notify(None, THREAD)
    store.work()
    await joined.until(5)
    agent.allow(2)
    await joined.rest()
    await own.rest()
    assert joined.frames == own.frames


@bounded
async def test_watch_of_a_closed_event_loop_ends(make: Callable[..., Engine], notifications: Notifications) -> None:
    here, there = make(), make()
    own = Reader(await here.run(given(Gated())))
    await own.until(2)

    async def joins() -> None:
        await Reader(await there.connect(THREAD, None)).until(2)

    await asyncio.to_thread(asyncio.run, joins())
    notifications.notify(None, THREAD)
    await settled(lambda: all(store is not there.store for store, _, _ in notifications.watchers))


@pytest.mark.parametrize("is_same_run", [True, False])
@bounded
async def test_run_that_was_followed_on_a_closed_event_loop_is_followed_on_another(
    make: Callable[..., Engine], notifications: Notifications, is_same_run: bool
) -> None:
    here, there = make(), make()
    agents = {name: Gated(1) for name in ("t", "other")}
    own = {name: Reader(await here.run(given(agent, "r", name))) for name, agent in agents.items()}
    for reader in own.values():
        await reader.until(2)

    async def joins() -> None:
        await Reader(await there.connect(THREAD, None)).until(2)

    await asyncio.to_thread(asyncio.run, joins())
    name = "t" if is_same_run else "other"
    joined = Reader(await there.connect(ThreadKey("", name), None))
    await joined.until(2)
    for agent in agents.values():
        agent.allow()
    await joined.rest()
    for reader in own.values():
        await reader.rest()
    assert joined.frames == own[name].frames
    await settled(lambda: not there._remote_runs._logs and not notifications.watchers)


@bounded
async def test_reader_that_comes_on_another_thread_while_an_unread_run_is_dropped_gets_the_rest(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_runs, "UNREAD_SECONDS", 0.0)
    here, there = make(), make(poll_seconds=0.005)
    agent = Gated(1)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    follower = there._remote_runs
    unfollow = follower._unfollow
    found: list[RunLog] = []

    def find(log: RunLog) -> None:
        assert log.run is not None
        found.append(follower.log(log.run, log.run_id, log.agent_id))
        found[0].add_reader(found[0])

    def unfollow_slowly(run: RunKey, log: RunLog, loop: asyncio.AbstractEventLoop) -> Any:
        if not found:
            coming = threading.Thread(target=find, args=(log,))
            coming.start()
            coming.join()
        return unfollow(run, log, loop)

    monkeypatch.setattr(follower, "_unfollow", unfollow_slowly)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    joined.close()
    await settled(lambda: bool(found))
    agent.allow()
    await own.rest()
    await settled(lambda: found[0].ended)
    assert found[0].frames == own.frames


@bounded
async def test_reader_of_a_lost_run_gets_its_end_as_soon_as_its_process_has_ended_it(
    make: Callable[..., Engine], notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 0.0)
    there = make(lease_seconds=0.2)
    begun = make(lease_seconds=0.2).store.begin(NewRun(THREAD, "r", "a"))
    assert isinstance(begun, RunStarted)
    joined = Reader(await there.connect(THREAD, None))
    rest = asyncio.ensure_future(joined.rest())
    await settled(lambda: calls(there)["follow"] >= 1)
    await settled(lambda: (live := there.store.read(THREAD).live) is not None and live.expired)
    notifications.notify(None, THREAD)
    assert (await rest)[-1]["code"] == "RUN_LOST"


@bounded
async def test_two_flushes_of_the_same_runs_do_not_wait_for_each_other(make: Callable[..., Engine]) -> None:
    """One of followed runs and one of the timer's may overlap."""
    engine = make()
    own = [Reader(await engine.run(given(Gated(), "r", f"t{number}"))) for number in range(2)]
    for reader in own:
        await reader.until(2)
    persistence_: RunPersistence = engine._persistence
    writers = engine._runs.all()
    with writers[0].flush_lock, writers[1].flush_lock:
        flushes = [
            threading.Thread(target=persistence_._flush, args=(order,), daemon=True)
            for order in (writers, writers[::-1])
        ]
        for flush in flushes:
            flush.start()
        for flush in flushes:
            await asyncio.to_thread(flush.join, HANG_SECONDS)
            assert not flush.is_alive()
    assert all(writer.flush_scheduled for writer in writers)


@bounded
async def test_append_of_followed_runs_that_fails_is_repeated(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 0.002)
    here, there = make(), make()
    failures = 0
    append = here.store.append

    def failing(batches: Sequence[Batch]) -> Any:
        nonlocal failures
        append(batches)  # and then the connection breaks
        failures += 1
        if failures < 4:
            raise StoreError("connection lost")
        return {}

    here.store.append = failing  # type: ignore[method-assign]
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    agent.allow(3)
    await joined.until(5)
    await settled(lambda: failures >= 4)
    agent.allow(2)
    await own.rest()
    await joined.rest()
    assert joined.frames == own.frames


@pytest.mark.requirement("STORE-07")
@bounded
async def test_runtimes_that_share_a_store_object_need_no_polls(
    make: Callable[..., Engine], notifications: Notifications
) -> None:
    """Nobody tells a store what was done through itself."""
    here = make()
    there = engine_on(here.store)
    agent = Gated(5)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    for number in range(2, 6):
        await joined.until(number)
        agent.allow()
    assert calls(here)["append"] == calls(here)["follow"] == 0
    assert await there.stop(THREAD, None) == StopResult(True)
    await own.rest()
    await joined.rest()
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert joined.frames == own.frames
    await settled(lambda: not notifications.watchers)
