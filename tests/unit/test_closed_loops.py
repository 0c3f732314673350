"""Runs and readers whose event loop was closed under them, without a cancellation."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._concurrency import loops
from copilot_runtime._concurrency.worker_pools import WorkerPool
from copilot_runtime._engine import Engine, run_end_notifier
from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.engine import StopResult
from copilot_runtime._engine.leases import LeaseRenewer
from copilot_runtime._engine.run_end_notifier import RunEndNotifier
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._engine.run_reader import RunReader
from copilot_runtime._engine.run_writer import RunWriter
from copilot_runtime._engine.types import EndedRun
from copilot_runtime._http.streaming import EventStream
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.stores.protocol import Lease, RunKey, ThreadKey

from .engine_helpers import HANG_SECONDS, THREAD, Reader, answers, bounded, engine_on, given
from .recorder_helpers import STARTED, Event, read_frame

pytestmark = [pytest.mark.requirement("STOP-10")]


class Forever:
    """Agents that send an event and then wait, until the test ends."""

    def __init__(self) -> None:
        self.released = threading.Event()

    async def asynchronous(self, input: Any) -> AsyncIterator[Event]:
        yield STARTED
        await asyncio.Event().wait()

    def synchronous(self, input: Any) -> Iterator[Event]:
        yield STARTED
        self.released.wait()


@pytest.fixture
def forever() -> Iterator[Forever]:
    agents = Forever()
    yield agents
    agents.released.set()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "threads.db")


@pytest.fixture(params=["asynchronous", "synchronous"])
def agent(request: pytest.FixtureRequest, forever: Forever) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(forever, request.param)
    return found


def left_behind(engine: Engine, agent: Callable[..., Any]) -> Reader:
    """Begins a run on a loop that is closed while it is active, and returns its reader."""

    async def begin() -> Reader:
        reader = Reader(await engine.run(given(agent)))
        await reader.until(1)
        return reader

    loop = asyncio.new_event_loop()
    reader = loop.run_until_complete(asyncio.wait_for(begin(), HANG_SECONDS))
    loop.close()
    return reader


def stored_codes(store: RunStore) -> list[str]:
    return [read_frame(run.records[-1].frame).event.get("code", "") for run in store.read(THREAD).runs]


@bounded
async def stop_answers_false(engine: Engine) -> None:
    assert await engine.stop(THREAD, None) == StopResult(False)
    assert await engine.stop(THREAD, "r") == StopResult(False, is_other=True)


@bounded
async def connect_receives_the_end(engine: Engine) -> None:
    assert (await Reader(await engine.connect(THREAD, None)).rest())[-1]["code"] == "RUN_INTERRUPTED"


@bounded
async def run_begins(engine: Engine) -> None:
    assert (await Reader(await engine.run(given(answers, "next"))).rest())[-1]["type"] == "RUN_FINISHED"


@bounded
async def delete_succeeds(engine: Engine) -> None:
    assert await engine.delete(THREAD)
    assert await engine.connect(THREAD, None)


@bounded
async def shutdown_ends_it(engine: Engine) -> None:
    await engine.shutdown(0)


@bounded
async def close_ends_it(engine: Engine) -> None:
    engine.close()


FINDING = [
    stop_answers_false,
    connect_receives_the_end,
    run_begins,
    delete_succeeds,
    shutdown_ends_it,
    close_ends_it,
]


@pytest.mark.parametrize("find", FINDING, ids=lambda find: find.__name__)
def test_closed_loop_frees_its_threads(
    store: RunStore, agent: Callable[..., Any], find: Callable[[Engine], None]
) -> None:
    has_failed = threading.Event()

    def report(run: EndedRun) -> None:
        if run.outcome == "failed":
            has_failed.set()

    engine = engine_on(store)
    engine.on_run_end = report
    reader = left_behind(engine, agent)
    assert store.read(THREAD).live is not None
    find(engine)
    assert store.read(THREAD).live is None
    if find is not delete_succeeds:
        assert stored_codes(store)[0] == "RUN_INTERRUPTED"
    assert has_failed.wait(HANG_SECONDS)
    assert reader.events[0]["type"] == "RUN_STARTED"


def test_closed_loop_ends_its_runs_for_readers_of_other_loops(forever: Forever) -> None:
    engine = engine_on(MemoryStore())
    loop = asyncio.new_event_loop()
    own = loop.run_until_complete(engine.run(given(forever.asynchronous)))

    @bounded
    async def read() -> None:
        other = Reader(await engine.connect(THREAD, None))
        loop.close()
        assert (await other.rest())[-1]["code"] == "RUN_INTERRUPTED"

    read()
    del own


def test_closed_loop_has_its_streams_read_no_further_from_another_loop_of_its_thread() -> None:
    """As that of a server that does not cancel its tasks: what waits there can be neither resumed nor sent for."""
    log = RunLog(None, "r", "a")
    callbacks = ReaderCallbacks(lambda _: None, lambda _: None)
    chunks = aiter(EventStream(RunReader(log, callbacks)))

    async def waits() -> None:
        waiting = chunks.wait(0, is_lasting=True)
        assert waiting is not None
        await waiting

    async def takes_its_first_step() -> asyncio.Task[None]:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        return task

    async def ends() -> None:
        log.extend([b"data: {}\n\n"])
        log.end()

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(takes_its_first_step())
    loop.close()
    asyncio.run(ends())
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_run_is_ended_whose_task_was_cancelled_before_its_first_step_with_its_loop(store: RunStore) -> None:
    """As a loop does it with a run that begins in its last turn."""
    engine = engine_on(store)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        beginning = loop.create_task(engine.run(given(answers)))
        while not engine._runs.all():
            loop.call_soon(loop.stop)
            loop.run_forever()
    assert beginning.done()
    run_begins(engine)


class SlowStore(SqliteStore):
    """A store that says when it is to store the end of a run, and does so only once it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ends, self.may_end = threading.Event(), threading.Event()

    def finish(self, *args: Any) -> None:
        self.ends.set()
        self.may_end.wait(HANG_SECONDS)
        super().finish(*args)


@pytest.mark.requirement("LIMIT-01")
def test_closed_loop_frees_the_place_of_a_run_whose_end_was_being_stored(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "threads.db")
    engine = engine_on(store, max_runs=1)
    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(engine.run(given(answers)))
    loop.run_until_complete(loop.run_in_executor(None, store.ends.wait, HANG_SECONDS))
    loop.close()
    store.may_end.set()
    run_begins(engine)
    assert not engine.status().live_runs
    assert [len(run.records) > 1 for run in store.read(THREAD).runs] == [True, True]
    del stream


class Outcomes(queue.SimpleQueue[str]):
    """An ``on_run_end`` that remembers how the run ``r`` has ended."""

    def __call__(self, run: EndedRun) -> None:
        if run.run_id == "r":
            self.put(run.outcome)


@pytest.mark.requirement("LIMIT-01")
def test_closed_loop_frees_the_place_of_a_run_whose_forced_end_was_being_stored(
    forever: Forever, tmp_path: Path
) -> None:
    store = SlowStore(tmp_path / "threads.db")
    engine = engine_on(store, max_runs=1)
    engine.on_run_end = outcomes = Outcomes()
    loop = asyncio.new_event_loop()

    async def stop() -> Reader:
        reader = Reader(await engine.run(given(forever.asynchronous)))
        await reader.until(1)
        (run,) = engine._runs.all()
        run.force_stop_threadsafe()
        await asyncio.to_thread(store.ends.wait, HANG_SECONDS)
        return reader

    reader = loop.run_until_complete(stop())
    loop.close()
    store.may_end.set()
    run_begins(engine)
    assert not engine.status().live_runs
    assert outcomes.get(timeout=HANG_SECONDS) == "stopped"
    assert reader.events[0]["type"] == "RUN_STARTED"


@bounded
async def test_run_whose_task_is_cancelled_while_its_end_is_being_stored_ends_for_all(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "threads.db")
    engine = engine_on(store)
    engine.on_run_end = outcomes = Outcomes()
    reader = Reader(await engine.run(given(answers)))
    await asyncio.to_thread(store.ends.wait, HANG_SECONDS)
    (run,) = engine._runs.all()
    assert run._task is not None
    run._task.cancel()
    await asyncio.wait([run._task])
    store.may_end.set()
    assert (await reader.rest())[-1]["type"] == "RUN_FINISHED"
    assert await asyncio.to_thread(outcomes.get, timeout=HANG_SECONDS) == "finished"
    assert outcomes.empty()
    assert not engine.status().live_runs


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "closed"])
def test_run_whose_end_is_being_stored_when_its_loop_is_closed_is_reported_once(
    is_cancelled: bool, tmp_path: Path
) -> None:
    store = SlowStore(tmp_path / "threads.db")
    engine = engine_on(store)
    engine.on_run_end = outcomes = Outcomes()

    async def begin() -> object:
        stream = await engine.run(given(answers))
        await asyncio.to_thread(store.ends.wait, HANG_SECONDS)
        return stream

    if is_cancelled:
        stream = asyncio.run(begin())
    else:
        loop = asyncio.new_event_loop()
        stream = loop.run_until_complete(begin())
        loop.close()
    store.may_end.set()
    shutdown_ends_it(engine)
    assert outcomes.get(timeout=HANG_SECONDS) == "finished"
    assert outcomes.empty()
    assert not engine.status().live_runs
    del stream


@pytest.fixture
def busy_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What ends the wait of the only thread for plain functions that are called with the ends of runs."""
    is_free = threading.Event()
    pool = WorkerPool("run-end", 1)
    pool._executor.get().submit(is_free.wait)
    monkeypatch.setattr(run_end_notifier, "RUN_END", pool)
    yield is_free
    is_free.set()


def test_end_of_a_run_is_reported_although_its_loop_is_closed_before_a_thread_is_free(
    busy_hooks: threading.Event,
) -> None:
    engine = engine_on(MemoryStore())
    engine.on_run_end = outcomes = Outcomes()

    async def run() -> None:
        await Reader(await engine.run(given(answers))).rest()
        await asyncio.sleep(0)

    asyncio.run(run())  # which cancels what is still waiting
    busy_hooks.set()
    assert outcomes.get(timeout=HANG_SECONDS) == "finished"
    asyncio.run(engine.shutdown())
    assert outcomes.empty()
    assert not engine._run_end_notifier._running


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("is_closed_before", [True, False])
@pytest.mark.parametrize("is_plain", [True, False])
def test_end_of_a_run_is_reported_once_if_the_loop_is_closed_at_that_moment(
    is_plain: bool, is_closed_before: bool
) -> None:
    reported: queue.SimpleQueue[EndedRun] = queue.SimpleQueue()

    async def report(ended: EndedRun) -> None:
        reported.put(ended)

    notifier, ended = RunEndNotifier(), EndedRun.__new__(EndedRun)
    loop = asyncio.new_event_loop()
    if is_closed_before:
        loop.close()
    notifier.notify_in_background(loop, "run", reported.put if is_plain else report, ended)
    loop.close()
    asyncio.run(notifier.drain(lambda loop: not loop.is_closed(), time.monotonic() + HANG_SECONDS))
    assert reported.get(timeout=HANG_SECONDS) is ended
    assert reported.empty()
    assert not notifier._running


def test_closed_loop_frees_its_places_under_max_streams(forever: Forever) -> None:
    engine = engine_on(MemoryStore(), max_streams=1)
    reader = left_behind(engine, forever.asynchronous)
    run_begins(engine)
    assert reader.events[0]["type"] == "RUN_STARTED"


def test_closed_loop_has_no_leases_renewed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "threads.db")
    renewer = LeaseRenewer(store, 30.0)
    loop = asyncio.new_event_loop()
    run = RunKey(ThreadKey("", "t"), 1)
    writer = RunWriter()
    writer.lease, writer.loop = Lease(run, "r", 1), loop
    renewer.add(writer)
    loop.close()
    assert renewer._renew()
    assert not renewer._renewed_at


SCRIPT = """
import asyncio, sys
from copilot_runtime import CopilotRuntime, Request, create_copilot_runtime_handler

async def agent(input):
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    await asyncio.Event().wait()

async def main():
    body = b'{"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": []}'
    response = await handler(Request(method="POST", path="/agent/a/run", body=body))
    print(response.status, await anext(response.body.__aiter__()))
    return response

runtime = CopilotRuntime(agents={"a": agent}, store=sys.argv[1], on_run_end=lambda run: print("ended", run.outcome))
handler = create_copilot_runtime_handler(runtime=runtime)
loop = asyncio.new_event_loop()
kept = loop.run_until_complete(main())
"""


def test_loop_that_no_longer_runs_when_the_process_exits(tmp_path: Path) -> None:
    """As daphne's: it is neither closed, nor are its tasks cancelled."""
    path = tmp_path / "threads.db"
    script = [sys.executable, "-c", SCRIPT, f"sqlite:///{path}"]
    printed = subprocess.run(script, check=True, capture_output=True, text=True, timeout=HANG_SECONDS).stdout
    assert printed.startswith("200 ")
    assert printed.endswith("ended failed\n")
    assert stored_codes(SqliteStore(path)) == ["RUN_INTERRUPTED"]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_shutdown_goes_on_although_no_thread_can_be_started_for_the_end_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    engine, loop = engine_on(MemoryStore()), asyncio.new_event_loop()
    engine._run_end_notifier.notify_in_background(loop, "run", print, EndedRun.__new__(EndedRun))
    loop.close()
    monkeypatch.setattr(loops, "background_loop", refuse)
    asyncio.run(engine.shutdown())


UNREPORTED = """
import asyncio, sys
from copilot_runtime._engine.types import EndedRun
from copilot_runtime.stores import MemoryStore
from tests.unit.engine_helpers import engine_on

engine = engine_on(MemoryStore())
loop = asyncio.new_event_loop()
engine._run_end_notifier.notify_in_background(loop, "run", lambda run: print("ended"), EndedRun.__new__(EndedRun))
loop.close()
if sys.argv[1] == "close":
    engine.close()
    del engine
"""


@pytest.mark.parametrize("how", ["close", "exit"])
def test_end_of_a_run_that_a_closed_loop_has_not_reported_is_when_the_process_exits(how: str) -> None:
    """Although nothing has needed the background loop before."""
    script = [sys.executable, "-W", "ignore", "-c", UNREPORTED, how]
    done = subprocess.run(script, check=True, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.stdout, done.stderr) == ("ended\n", "")


@pytest.mark.requirement("LIMIT-01")
def test_max_runs_are_released_by_runs_whose_loop_was_closed(store: RunStore, agent: Callable[..., Any]) -> None:
    engine = engine_on(store, max_runs=1)
    left_behind(engine, agent)

    @bounded
    async def begin_another() -> None:
        await Reader(await engine.run(given(answers, "second", "other"))).rest()
        await Reader(await engine.suggest(given(answers))).rest()

    begin_another()
