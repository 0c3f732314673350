"""Engines that share nothing but a SQLite file, as the workers of a server do; and owners that are gone."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._engine import EndedRun, Engine, StopResult, leases, orphans, persistence, run_starter
from copilot_runtime._engine.endings import LOST, STOPPED_BY_USER
from copilot_runtime._engine.reaper import reap
from copilot_runtime._events import Cursor, RunEnding, is_terminal
from copilot_runtime._http.streaming import EventStream
from copilot_runtime.stores import (
    LeaseLost,
    RunTooLarge,
    SqliteStore,
    StoreError,
)
from copilot_runtime.stores.protocol import (
    ActiveRun,
    Batch,
    Lease,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunKey,
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
from .random_run_helpers import verify
from .recorder_helpers import FINISHED, STARTED, Event, call, read_frame, step, text
from .store_helpers import live_frames, read_raw

Make = Callable[..., Engine]

LEASE_SECONDS = 0.3
"""Short, in tests of owners that are gone; long enough for one that lives to renew it now and then."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(persistence, "FLUSH_INTERVAL_SECONDS", 0.005)
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 0.05)
    return tmp_path / "threads.db"


@pytest.fixture
def make(path: Path) -> Make:
    """Makes an engine with a store object of its own, as every process has one."""

    def engine(lease_seconds: float = 15, **options: Any) -> Engine:
        return engine_on(SqliteStore(path, poll_seconds=0.01, lease_seconds=lease_seconds), **options)

    return engine


def run_ids(engine: Engine) -> list[str]:
    return [run.run_id for run in engine.store.read(THREAD).runs]


# --- live ---


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_run_is_followed_exactly(make: Make) -> None:
    here, there, elsewhere = make(), make(), make()
    agent = Gated(12)
    own = Reader(await here.run(given(agent)))
    readers = []
    for engine in (there, elsewhere, here, there, elsewhere):
        agent.allow(2)
        await own.until(len(own.frames) + 2)
        readers.append(Reader(await engine.connect(THREAD, None)))
    resumed = Reader(await there.connect(THREAD, Cursor.parse(own.ids[3])))
    await readers[0].until(4)
    agent.allow(2)
    await own.rest()
    assert len(own.frames) == 16
    for reader in readers:
        await reader.rest()
        assert reader.frames == own.frames
    await resumed.rest()
    assert resumed.frames == own.frames[4:]
    for engine in (here, there, elsewhere):
        again = Reader(await engine.connect(THREAD, Cursor.parse(own.ids[5])))
        await again.rest()
        assert again.frames == own.frames[6:]
    assert not there._remote_runs._logs


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_run_messages_of_the_history_are_left_out(make: Make) -> None:
    """Also where the store has had no news between."""
    here, there = make(), make()
    await Reader(await here.run(given(answers))).rest()
    agent = Gated()
    own = Reader(await here.run(given(agent, "second")))
    agent.allow()
    await own.until(3)
    first = Reader(await there.connect(THREAD, None))
    await settled(lambda: [len(log.frames) for log in there._remote_runs._logs.values()] == [3])
    looked = 0
    follow = there.store.follow

    def counted(run: RunKey, after: int) -> Any:
        nonlocal looked
        looked += 1
        return follow(run, after)

    there.store.follow = counted  # type: ignore[method-assign] - only to see that it is asked
    await settled(lambda: looked > 2)
    late = Reader(await there.connect(THREAD, None))
    await late.until(6)
    agent.allow(2)
    await own.rest()
    for reader in (first, late):
        assert [event["type"] for event in (await reader.rest())[5:]] == ["RUN_STARTED", "RUN_FINISHED"]


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_race_has_one_winner(make: Make) -> None:
    engines = [make() for _ in range(3)]
    for number in range(10):
        agent = Gated(1)
        name = f"t{number}"
        results = await asyncio.gather(*[engine.run(given(agent, thread_id=name)) for engine in engines])
        [won] = [result for result in results if isinstance(result, EventStream)]
        assert [result.run_id for result in results if isinstance(result, ActiveRun)] == ["r", "r"]
        agent.allow()
        assert len(await Reader(won).rest()) == 5


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_stop_from_any_process(make: Make) -> None:
    here, there, elsewhere = make(), make(), make()
    agent = Gated()
    told: list[EndedRun] = []
    here.on_run_end = told.append
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await elsewhere.connect(THREAD, None))
    assert await there.stop(THREAD, "other") == StopResult(False, is_other=True)
    results = await asyncio.gather(*[engine.stop(THREAD, "r") for engine in (there, elsewhere, there)])
    assert sorted(result.is_stopping for result in results) == [False, False, True]
    await own.rest()
    assert own.events[-1] == FINISHED
    assert isinstance(agent.raised, asyncio.CancelledError)
    await joined.rest()
    assert joined.frames == own.frames
    assert await there.stop(THREAD, None) == StopResult(False)
    await settled(lambda: bool(told))
    assert [ended.outcome for ended in told] == ["stopped"]


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_stop_that_takes_effect_before_its_response(make: Make) -> None:
    """The run's process may learn of it from the store, and end the run, before the request goes on."""
    here = make()
    own = Reader(await here.run(given(Gated())))
    await own.until(2)
    [run] = here._runs.all()
    store, may_finish = here.store, threading.Event()
    finish, request_stop = store.finish, store.request_stop

    def slow_finish(*args: Any) -> None:
        may_finish.wait(HANG_SECONDS)
        finish(*args)

    def slow_request(*args: Any) -> ActiveRun | None:
        live = request_stop(*args)
        deadline = time.monotonic() + HANG_SECONDS
        while not run.is_finished and time.monotonic() < deadline:
            time.sleep(0.001)
        return live

    store.finish = slow_finish  # type: ignore[method-assign]
    store.request_stop = slow_request  # type: ignore[method-assign]
    assert await here.stop(THREAD, "r") == StopResult(True)
    may_finish.set()
    assert (await own.rest())[-1] == FINISHED


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_run_is_superseded(make: Make) -> None:
    here, there = make(), make(on_concurrent_run="supersede")
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    second = Reader(await there.run(given(answers, "second")))
    assert (await second.rest())[-1] == FINISHED
    assert (await own.rest())[-1] == FINISHED
    await joined.rest()
    assert joined.frames == own.frames
    assert run_ids(there) == ["r", "second"]


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_run_that_ignores_its_cancellation_is_superseded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is taken from it; whatever it still does counts for nothing."""
    monkeypatch.setattr(run_starter, "SUPERSEDE_SECONDS", 0.1)
    here, there, elsewhere = make(), make(on_concurrent_run="supersede"), make()
    agent = Deaf()
    told: list[EndedRun] = []
    there.on_run_end = elsewhere.on_run_end = told.append
    here.on_run_end = told.append
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await elsewhere.connect(THREAD, None))
    await joined.until(2)
    second = Reader(await there.run(given(answers, "second")))
    assert (await second.rest())[-1] == FINISHED
    await joined.rest()
    assert joined.kinds == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    await own.rest()
    assert own.frames == joined.frames
    agent.may_go.set()
    await settled(lambda: not here._runs.all())
    assert run_ids(elsewhere) == ["r", "second"]
    assert list(stored(here.store).raw or ()) == own.frames
    assert [ended.outcome for ended in told if ended.run_id == "r"] == ["stopped"]


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_delete(make: Make) -> None:
    await deletes_what_goes_on(make(), make())


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_delete_of_a_run_that_was_joined_as_it_began(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may find a run in the store before its own process has it in its table."""
    engine, joined = make(), []
    begin = engine.async_store.begin

    async def begin_and_join(run: NewRun) -> Any:
        started = await begin(run)
        joined.append(Reader(await engine.connect(THREAD, None)))
        return started

    monkeypatch.setattr(engine.async_store, "begin", begin_and_join)
    own = Reader(await engine.run(given(Gated())))
    await own.until(2)
    assert await engine.delete(THREAD)
    for reader in (own, *joined):
        await reader.rest()
        assert reader.kinds[-1] == "RUN_ERROR"
    assert not engine._remote_runs._logs


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_shutdown_is_seen(make: Make) -> None:
    here, there = make(), make()
    own = Reader(await here.run(given(Gated())))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await here.shutdown(0)
    assert (await joined.rest())[-1]["code"] == "RUN_INTERRUPTED"
    assert (await own.rest()) == joined.events
    assert isinstance(await there.run(given(answers, "second")), EventStream)


@pytest.mark.requirement("STORE-05")
@bounded
async def test_restart_keeps_everything(make: Make) -> None:
    own = Reader(await make().run(given(answers)))
    await own.rest()
    later = make()
    for at in range(5):
        resumed = Reader(await later.connect(THREAD, Cursor.parse(own.ids[at])))
        await resumed.rest()
        assert resumed.frames == own.frames[at + 1 :]
    replayed = Reader(await later.connect(THREAD, None))
    assert await replayed.rest() == own.events


# --- owners that are gone ---


class CutOffStore(SqliteStore):
    """A store that its process no longer reaches, when told so."""

    is_cut_off = False

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        self._reach()
        return super().append(batches)

    def finish(self, lease: Lease, frames: Sequence[bytes], finished: RunCompletion) -> None:
        self._reach()
        super().finish(lease, frames, finished)

    def renew(self, leases: Sequence[Lease]) -> None:
        if not self.is_cut_off:
            super().renew(leases)

    def signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        self._reach()
        return super().poll_signals(leases)

    def _reach(self) -> None:
        if self.is_cut_off:
            raise StoreError("cut off")


class Process:
    """An engine whose loop, on a thread of its own, can be stopped dead, and go on later as if nothing had been."""

    def __init__(self, path: Path, lease_seconds: float) -> None:
        self.store = CutOffStore(path, poll_seconds=0.01, lease_seconds=lease_seconds)
        self.engine = engine_on(self.store)
        self.told: list[EndedRun] = []
        self.engine.on_run_end = self.told.append
        self.loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self.go_on()

    def go_on(self) -> None:
        self.store.is_cut_off = False
        if self._thread is None:
            self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
            self._thread.start()

    def cut_off(self) -> None:
        self.store.is_cut_off = True

    def halt(self) -> None:
        if self._thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(HANG_SECONDS)
            self._thread = None

    async def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Does something on the process's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def runs(self, agent: Any) -> Reader:
        """Begins a run, and gives its reader, which is for this process's loop."""

        async def begin() -> Reader:
            self.engine.on_run_end = self.told.append
            return Reader(await self.engine.run(given(agent)))

        return await self.do(begin())

    async def begins(self, agent: Gated, frames: int) -> Reader:
        """`runs`, and waits until so many frames were sent and are stored."""
        own = await self.runs(agent)
        self.loop.call_soon_threadsafe(agent.allow, frames - 2)
        await self.do(own.until(frames))
        run = self.store.read(THREAD).live
        assert run is not None
        await settled(lambda: len(self.store.follow(run.run, 0).frames) == frames)
        return own

    async def emits_unsaved(self, agent: Gated, own: Reader, frames: int) -> None:
        """Sends its reader some more frames, of which the store hears nothing."""
        self.cut_off()
        self.loop.call_soon_threadsafe(agent.allow, frames)
        await self.do(own.until(len(own.frames) + frames))

    def end(self) -> None:
        self.go_on()
        asyncio.run_coroutine_threadsafe(self.engine.shutdown(0), self.loop).result(HANG_SECONDS)
        self.halt()
        self.loop.close()


@pytest.fixture
def owner(path: Path, request: pytest.FixtureRequest) -> Iterator[Process]:
    process = Process(path, getattr(request, "param", LEASE_SECONDS))
    yield process
    process.end()


async def looks_by_connecting(engine: Engine) -> None:
    events = await Reader(await engine.connect(THREAD, None)).rest()
    assert events[-1]["code"] == "RUN_LOST"


async def looks_by_running(engine: Engine) -> None:
    assert (await Reader(await engine.run(given(answers, "second"))).rest())[-1] == FINISHED


async def looks_by_stopping(engine: Engine) -> None:
    assert await engine.stop(THREAD, None) == StopResult(False)


async def looks_by_stopping_it_by_name(engine: Engine) -> None:
    assert await engine.stop(THREAD, "r") == StopResult(False, is_other=True)


async def looks_by_asking_for_events(engine: Engine) -> None:
    view = await engine.read_thread(THREAD)
    assert view.live is None
    assert [run.run_id for run in view.runs] == ["r"]


LOOKING = [
    looks_by_connecting,
    looks_by_running,
    looks_by_stopping,
    looks_by_stopping_it_by_name,
    looks_by_asking_for_events,
]


def is_expired(engine: Engine) -> bool:
    live = engine.store.read(THREAD).live
    return live is not None and live.expired


def check_buried(engine: Engine, own: Reader, kept: int) -> None:
    """What the store has of a run is a prefix of what was sent, and its end."""
    raw = list(stored(engine.store).raw or ())
    assert raw[:kept] == own.frames[:kept]
    rest = [read_frame(frame) for frame in raw[kept:]]
    assert [frame.event["type"] for frame in rest] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert rest[-1].event["code"] == "RUN_LOST"
    ordinal = engine.store.read(THREAD).runs[0].ordinal
    sent = set(own.ids)
    assert all(frame.id and frame.id.startswith(f"{ordinal}.") and frame.id not in sent for frame in rest)
    messages = engine.store.messages(THREAD)
    said = "".join(event["delta"] for event in own.events[2:kept])
    assert {"id": "m", "role": "assistant", "content": said} in messages or "second" in run_ids(engine)


@pytest.mark.requirement("STORE-03")
@pytest.mark.parametrize("look", LOOKING)
@bounded
async def test_orphaned_run_is_ended_by_the_next_request(
    make: Make, owner: Process, look: Callable[[Engine], Coroutine[Any, Any, None]]
) -> None:
    here = make()
    here.on_run_end = owner.told.append
    agent = Gated(100)
    own = await owner.begins(agent, 5)
    await owner.emits_unsaved(agent, own, 3)
    owner.halt()
    await settled(lambda: is_expired(here))
    await look(here)
    live = here.store.read(THREAD).live
    assert live is None
    check_buried(here, own, 5)
    if look is not looks_by_running:
        await looks_by_running(here)
    assert run_ids(here) == ["r", "second"]
    # The owner was only paused. Nothing that it does counts any more, and it says so to its reader.
    before = read_raw(here.store, THREAD)
    owner.go_on()
    owner.loop.call_soon_threadsafe(agent.allow, 2)
    await owner.do(own.rest())
    assert own.events[-1]["type"] == "RUN_ERROR"
    assert own.events[-1]["code"] == "RUN_LOST"
    await owner.do(agent.ended.wait())
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert read_raw(here.store, THREAD) == before
    kept = before.runs[0].raw or ()
    named = {read_frame(frame).id: frame for frame in (*kept, *own.frames)}
    assert all(named[read_frame(frame).id] == frame for frame in kept), "an id names two events"
    assert [ended.outcome for ended in owner.told if ended.run_id == "r"] == ["failed"]


@pytest.mark.requirement("STORE-03", "CONNECT-09")
@pytest.mark.parametrize("sent", range(1, 7))
@pytest.mark.parametrize("ending", [STOPPED_BY_USER, LOST], ids=["superseded", "lost"])
@pytest.mark.parametrize("owner", [15], indirect=True, ids=["long lease"])  # else who connects first may end it
@bounded
async def test_superseded_process_ends_what_its_reader_has_open(
    make: Make, owner: Process, ending: RunEnding, sent: int
) -> None:
    """Its reader has events that the store has not; and so has a reader that comes back, to whichever process."""
    here, permits = make(), asyncio.Semaphore(0)

    async def opens_much(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        for event in (text("START"), call("START"), call("ARGS"), step("STARTED"), text("CONTENT")):
            await permits.acquire()
            yield event
        await permits.acquire()

    own = await owner.runs(opens_much)
    await owner.do(own.until(1))
    run = here.store.read(THREAD).live
    assert run is not None
    await settled(lambda: len(here.store.follow(run.run, 0).frames) == 1)
    owner.cut_off()
    for _ in range(sent - 1):
        owner.loop.call_soon_threadsafe(permits.release)
    await owner.do(own.until(sent))
    owner.halt()
    early = Reader(await here.connect(THREAD, Cursor.parse(own.ids[-1])))
    assert reap(here.store, run.run, ending, force=True) is not None
    late = Reader(await here.connect(THREAD, Cursor.parse(own.ids[-1])))
    for reader in (early, late):
        await reader.rest()
        verify([*own.events, *reader.events])
        assert is_terminal(reader.frames[-1])
    owner.go_on()
    await owner.do(own.rest())
    verify(own.events)
    assert own.frames[-1] == (stored(here.store).raw or ())[-1]
    kinds = [event["type"] for event in own.events]
    assert kinds.count("TOOL_CALL_RESULT") == kinds.count("TOOL_CALL_START")


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_is_reported_to_all_followers(make: Make, owner: Process) -> None:
    """Of several that look at once, one ends it and tells of it."""
    engines = [make(), make(), make()]
    for engine in engines:
        engine.on_run_end = owner.told.append
    agent = Gated(100)
    own = await owner.begins(agent, 4)
    readers = [Reader(await engine.connect(THREAD, None)) for engine in engines for _ in range(2)]
    for reader in readers:
        await reader.until(4)
    owner.cut_off()
    owner.halt()
    for reader in readers:
        await reader.rest()
        assert reader.frames == readers[0].frames
        assert reader.frames[:4] == own.frames
        assert reader.events[-1]["code"] == "RUN_LOST"
    check_buried(engines[0], own, 4)
    await settled(lambda: bool(owner.told))
    for engine in engines:
        assert not engine._remote_runs._logs
        assert await engine.stop(THREAD, None) == StopResult(False)
    owner.go_on()
    await owner.do(own.rest())
    assert own.frames == readers[0].frames
    assert [ended.outcome for ended in owner.told if ended.run_id == "r"] == ["failed"]


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_is_ended_once_by_many_requests(make: Make, owner: Process) -> None:
    engines = [make(), make(), make()]
    for engine in engines:
        engine.on_run_end = owner.told.append
    own = await owner.begins(Gated(100), 3)
    owner.cut_off()
    owner.halt()
    await settled(lambda: is_expired(engines[0]))
    shown = [Reader(stream) for stream in await asyncio.gather(*[engine.connect(THREAD, None) for engine in engines])]
    for reader in shown:
        assert (await reader.rest())[-1]["code"] == "RUN_LOST"
    results = await asyncio.gather(*[engine.run(given(Gated(1), "second")) for engine in engines])
    assert len([result for result in results if isinstance(result, EventStream)]) == 1
    check_buried(engines[0], own, 3)
    assert len(owner.told) == 1
    for engine in engines:
        await engine.shutdown(0)


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_without_stored_events(make: Make, owner: Process) -> None:
    here = make()
    here.on_run_end = owner.told.append
    owner.cut_off()
    own = await owner.runs(Gated())
    await owner.do(own.until(2))
    joined = Reader(await here.connect(THREAD, None))
    owner.halt()
    assert [event["code"] for event in await joined.rest()] == ["RUN_LOST"]
    assert run_ids(here) == []
    resumed = Reader(await here.connect(THREAD, Cursor.parse(own.ids[-1])))
    assert [event["code"] for event in await resumed.rest()] == ["RUN_LOST"]
    assert await Reader(await here.connect(THREAD, None)).rest() == []
    await looks_by_running(here)
    assert run_ids(here) == ["second"]


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_of_a_stuck_event_loop(make: Make, owner: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its process lives and reaches the store."""
    here = make()
    own = await owner.begins(Gated(100), 4)
    monkeypatch.setattr(leases, "LOOP_STALL_SECONDS", 0.05)
    owner.halt()
    await settled(lambda: is_expired(here))
    await looks_by_connecting(here)
    check_buried(here, own, 4)


@bounded
async def test_lease_is_renewed_by_its_owner(make: Make, owner: Process) -> None:
    """However long its agent is silent."""
    here = make()
    agent = Gated(3)
    own = await owner.begins(agent, 3)
    renewed = 0
    renew = owner.store.renew

    def counted(leases: Sequence[Lease]) -> None:
        nonlocal renewed
        renew(leases)
        renewed += 1

    owner.store.renew = counted  # type: ignore[method-assign] - only to see that it is asked
    joined = Reader(await here.connect(THREAD, None))
    await settled(lambda: renewed >= 2 * leases.RENEWALS_PER_LEASE)
    assert not is_expired(here)
    owner.loop.call_soon_threadsafe(agent.allow, 2)
    await owner.do(own.rest())
    await joined.rest()
    assert joined.frames == own.frames
    assert own.kinds[-1] == "RUN_FINISHED"


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_with_an_unusual_input(make: Make, owner: Process) -> None:
    """An agent may show any input it likes: messages without ids are nothing to store."""
    here = make()
    gate = Gated()

    async def agent(input: Any) -> Any:
        yield {**STARTED, "input": {"messages": [{"role": "user"}, {"id": ["x"]}, 7, {"id": "u", "role": "user"}]}}
        await gate.permits.acquire()

    own = await owner.runs(agent)
    await owner.do(own.until(1))
    await settled(lambda: len(live_frames(owner.store, THREAD)) == 1)
    owner.cut_off()
    owner.halt()
    await settled(lambda: is_expired(here))
    await looks_by_connecting(here)
    assert [message["id"] for message in here.store.messages(THREAD)] == ["u"]


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_messages_of_the_history_are_left_out(make: Make, owner: Process) -> None:
    here = make()
    await owner.do((await owner.runs(answers)).rest())

    async def agent(input: Any) -> Any:
        async for event in answers(input):
            if event["type"] != "RUN_FINISHED":
                yield event
        await asyncio.Event().wait()

    await owner.do((await owner.runs(agent)).until(4))
    live = owner.store.read(THREAD).live
    assert live is not None
    second = live.run
    await settled(lambda: len(owner.store.follow(second, 0).frames) == 4)
    repeats = owner.store.follow(second, 0).duplicates
    assert repeats
    owner.cut_off()
    owner.halt()
    await settled(lambda: is_expired(here))
    await looks_by_connecting(here)
    assert here.store.follow(second, 0).ended
    assert here.store.follow(second, 0).duplicates == repeats


@pytest.mark.requirement("STORE-03")
@bounded
async def test_orphaned_run_that_had_sent_its_last_event(make: Make, owner: Process) -> None:
    """The run ended as it says that it did."""
    here = make()
    here.on_run_end = owner.told.append
    cleaned_up = asyncio.Event()

    async def agent(input: Any) -> Any:
        async for event in answers(input):
            yield event
        await cleaned_up.wait()

    before = time.time()
    own = await owner.runs(agent)
    await owner.do(own.until(5))
    has_begun = time.time()
    await settled(lambda: len(live_frames(owner.store, THREAD)) == 5)
    owner.cut_off()
    owner.halt()
    await settled(lambda: is_expired(here))
    joined = Reader(await here.connect(THREAD, None))
    assert (await joined.rest()) == own.events
    [ended] = owner.told
    assert (ended.outcome, ended.failure) == ("finished", "")
    assert before <= ended.started_at <= has_begun <= ended.ended_at


# --- owners that are late ---


async def finds_it_going_on_by_connecting(engine: Engine) -> None:
    reader = Reader(await engine.connect(THREAD, None))
    await reader.until(5)
    assert "RUN_ERROR" not in reader.kinds
    reader.close()


async def finds_it_going_on_by_running(engine: Engine) -> None:
    live = await engine.run(given(answers, "second"))
    assert isinstance(live, ActiveRun)
    assert (live.run_id, live.expired) == ("r", False)


async def finds_it_going_on_by_stopping(engine: Engine) -> None:
    assert await engine.stop(THREAD, None) == StopResult(True)


async def finds_it_going_on_by_stopping_it_by_name(engine: Engine) -> None:
    assert await engine.stop(THREAD, "r") == StopResult(True)


async def finds_it_going_on_by_asking_for_events(engine: Engine) -> None:
    live = (await engine.read_thread(THREAD)).live
    assert live is not None
    assert (live.run_id, live.expired) == ("r", False)


FINDING = [
    finds_it_going_on_by_connecting,
    finds_it_going_on_by_running,
    finds_it_going_on_by_stopping,
    finds_it_going_on_by_stopping_it_by_name,
    finds_it_going_on_by_asking_for_events,
]


@pytest.mark.parametrize("find", FINDING)
@bounded
async def test_lease_expired_but_not_claimed_is_kept(
    make: Make,
    owner: Process,
    find: Callable[[Engine], Coroutine[Any, Any, None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a machine stands still for longer than a lease, everybody finds it run out, the owner included."""
    here = make()
    await owner.begins(Gated(100), 5)
    owner.cut_off()
    await settled(lambda: is_expired(here))
    reap = here._orphans.reap_lost

    async def after_the_owner_is_awake(run: RunKey) -> None:
        owner.go_on()
        await reap(run)

    monkeypatch.setattr(here._orphans, "reap_lost", after_the_owner_is_awake)
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 1.0)
    await find(here)
    assert [ended for ended in owner.told if ended.outcome != "stopped"] == []  # one that was stopped may have ended


@pytest.mark.parametrize("seconds", [1500, -1500], ids=["forward", "back"])
@bounded
async def test_lease_with_a_clock_that_is_set(make: Make, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    here, there = make(lease_seconds=1000), make()
    agent = Gated()
    own = Reader(await here.run(given(agent)))
    keeper = here._persistence._renewer.get_existing()
    assert keeper is not None
    await settled(lambda: keeper._active_seconds > 0)
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 1.0)
    may_renew, renew = threading.Event(), here.store.renew

    def renew_later(leases: Sequence[Lease]) -> None:
        assert may_renew.wait(HANG_SECONDS)
        renew(leases)

    monkeypatch.setattr(here.store, "renew", renew_later)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    assert is_expired(there)
    may_renew.set()
    joined = Reader(await there.connect(THREAD, None))
    agent.allow(3)
    assert (await joined.rest())[-1] == FINISHED
    assert (await own.rest())[-1] == FINISHED


@pytest.mark.requirement("STORE-02")
@bounded
async def test_remote_follower_does_not_wait_for_another_run(
    make: Make, owner: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make(), make()
    await owner.begins(Gated(100), 3)
    agent = Gated()
    await here.run(given(agent, thread_id="another"))
    lost = Reader(await there.connect(THREAD, None))
    joined = Reader(await there.connect(ThreadKey("", "another"), None))
    reap, reaping, may_reap = there._orphans.reap_lost, asyncio.Event(), asyncio.Event()

    async def when_told(run: RunKey) -> None:
        reaping.set()
        await may_reap.wait()
        await reap(run)

    monkeypatch.setattr(there._remote_runs, "_reap_lost", when_told)
    owner.cut_off()
    owner.halt()
    await reaping.wait()
    agent.allow(3)
    assert (await joined.rest())[-1]["type"] == "RUN_FINISHED"
    may_reap.set()
    assert (await lost.rest())[-1]["code"] == "RUN_LOST"


def test_leases_keep_no_event_loop_that_is_no_longer_used(tmp_path: Path) -> None:
    renewer = leases.LeaseRenewer(SqliteStore(str(tmp_path / "threads.db")), 30.0)
    loop = asyncio.new_event_loop()
    renewer.heartbeat(loop)
    loop.close()
    left = weakref.ref(loop)
    del loop
    gc.collect()
    assert left() is None
