"""`CopilotRuntime.shutdown`: what becomes of runs, of new ones, and of their readers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._concurrency import driver, lifecycle, loops, server_shutdown
from copilot_runtime._concurrency.server_shutdown import ServerShutdown
from copilot_runtime._engine import ShuttingDown
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import NewRun, RunStarted, ThreadBusy
from copilot_runtime.testing import AsyncTestClient, HTTPStatusError, TestClient
from copilot_runtime_asgi import create_copilot_asgi_app

from .engine_helpers import (
    HANG_SECONDS,
    THREAD,
    Deaf,
    Gated,
    Reader,
    answers,
    bounded,
    engine_on,
    given,
    settled,
    stored,
)
from .recorder_helpers import FINISHED, STARTED, Event

pytestmark = pytest.mark.requirement("STOP-06")


def runtime_of(agent: Any, **options: Any) -> CopilotRuntime:
    return CopilotRuntime(agents={"a": agent}, store="memory://", single_user=True, **options)


def is_refused(error: HTTPStatusError) -> bool:
    response = error.response
    return response.status == 503 and b"server_shutdown" in response.body and "retry-after" in response.headers


@pytest.mark.parametrize("reads", [True, False], ids=["read", "left"])
@bounded
async def test_shutdown_run_that_ends_within_the_grace_is_complete(reads: bool) -> None:
    agent = Gated()
    engine = engine_on(MemoryStore(), shutdown_grace_seconds=HANG_SECONDS, on_disconnect="stop")
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    ending = asyncio.create_task(engine.shutdown())
    await settled(lambda: engine.is_shutting_down)
    if not reads:  # as a server's connections are closed
        reader.close()
    agent.allow(3)
    if reads:
        assert (await reader.rest())[-1] == FINISHED
    await ending
    assert agent.raised is None
    assert b"RUN_FINISHED" in stored(engine.store).records[-1].frame


@bounded
async def test_shutdown_run_that_is_longer_than_the_grace_is_interrupted() -> None:
    engine = engine_on(MemoryStore())
    reader = Reader(await engine.run(given(Gated())))
    await reader.until(2)
    ending = asyncio.create_task(engine.shutdown(0.05))
    assert (await reader.rest())[-1]["code"] == "RUN_INTERRUPTED"
    await ending
    assert b"RUN_INTERRUPTED" in stored(engine.store).records[-1].frame
    assert engine.store.read(THREAD).live is None


@bounded
async def test_shutdown_second_call_may_shorten_the_grace() -> None:
    engine = engine_on(MemoryStore())
    reader = Reader(await engine.run(given(Gated())))
    await reader.until(2)
    patient = asyncio.create_task(engine.shutdown(HANG_SECONDS))
    await settled(lambda: engine.is_shutting_down)
    at_once = asyncio.create_task(engine.shutdown(0))
    assert (await reader.rest())[-1]["code"] == "RUN_INTERRUPTED"
    await patient
    await at_once
    assert not engine.is_shutting_down


@bounded
async def test_shutdown_reader_may_join_a_run_within_its_grace() -> None:
    agent = Gated()
    engine = engine_on(MemoryStore())
    own = Reader(await engine.run(given(agent)))
    await own.until(2)
    ending = asyncio.create_task(engine.shutdown(HANG_SECONDS))
    await settled(lambda: engine.is_shutting_down)
    joined = Reader(await engine.connect(THREAD, None))
    await joined.until(2)
    agent.allow(3)
    assert await joined.rest() == await own.rest()
    await ending
    assert joined.events[-1] == FINISHED


@pytest.mark.parametrize("is_over", [False, True], ids=["at work", "over"])
@bounded
async def test_shutdown_run_that_is_about_to_begin_leaves_its_thread_free(is_over: bool) -> None:
    """Its client is sent to another process, which is not to find the thread busy."""
    may_begin, begins = threading.Event(), threading.Event()

    class SlowStore(MemoryStore):
        blocking = True

        def begin(self, new: Any) -> Any:
            begins.set()
            may_begin.wait(HANG_SECONDS)
            return super().begin(new)

    engine = engine_on(SlowStore())
    gated = Gated()
    keeps = Reader(await engine.suggest(given(gated)))
    await keeps.until(2)
    beginning = asyncio.create_task(engine.run(given(answers)))
    await settled(begins.is_set)
    ending = asyncio.create_task(engine.shutdown(HANG_SECONDS))
    await settled(lambda: engine.is_shutting_down)
    if is_over:
        gated.allow(3)
        await keeps.rest()
        await ending
    may_begin.set()
    with pytest.raises(ShuttingDown):
        await beginning
    assert engine.store.read(THREAD).live is None
    assert not engine.store.read(THREAD).runs
    if not is_over:
        gated.allow(3)
        await keeps.rest()
        await ending


@bounded
async def test_shutdown_while_the_history_of_a_run_is_loaded_leaves_its_thread_free() -> None:
    may_load, loads = asyncio.Event(), asyncio.Event()

    class Remembers:
        async def __call__(self, input: Any) -> AsyncIterator[Event]:
            yield STARTED
            yield FINISHED

        async def history(self, thread_id: str, context: Any) -> list[Any]:
            loads.set()
            await may_load.wait()
            return []

    engine = engine_on(MemoryStore(), history="stored")
    beginning = asyncio.create_task(engine.run(given(Remembers())))
    await loads.wait()
    await engine.shutdown(0)
    may_load.set()
    with pytest.raises(ShuttingDown):
        await beginning
    assert engine.store.read(THREAD).live is None


def test_shutdown_while_a_worker_thread_begins_a_run_refuses_it() -> None:
    begins, may_begin = threading.Event(), threading.Event()

    class Store(MemoryStore):
        def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
            begins.set()
            assert may_begin.wait(HANG_SECONDS)
            return super().begin(run)

    def begin() -> None:
        with pytest.raises(ShuttingDown):
            driver.run_sync(engine.run(given(answers)))

    engine = engine_on(Store())
    with ThreadPoolExecutor() as pool:
        beginning = pool.submit(begin)
        try:
            assert begins.wait(HANG_SECONDS)
            engine.shutdown_sync(0)
        finally:
            may_begin.set()
        beginning.result(HANG_SECONDS)
    assert engine.store.read(THREAD).live is None


@pytest.mark.requirement("STOP-11")
@bounded
async def test_shutdown_last_request_of_a_recycled_worker_may_begin_a_run_beside_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = ServerShutdown(HANG_SECONDS, accepts_requests=True)
    monkeypatch.setattr("copilot_runtime._engine.shutdown.server_shutdown", lambda: server)
    engine, agent = engine_on(MemoryStore(), shutdown_grace_seconds=HANG_SECONDS), Gated()
    keeps = Reader(await engine.suggest(given(agent)))
    await keeps.until(2)
    await settled(lambda: engine._shutdown.is_active)
    assert (await Reader(await engine.run(given(answers))).rest())[-1] == FINISHED
    agent.allow(3)
    await keeps.rest()


@pytest.mark.requirement("STOP-11")
@bounded
async def test_shutdown_refuses_new_runs_with_503_and_retry_after() -> None:
    agent = Gated()
    client = AsyncTestClient(runtime_of(agent))
    async with client.stream("a", thread_id="t") as stream:
        await anext(aiter(stream))
        ending = asyncio.create_task(client.runtime.shutdown(HANG_SECONDS))
        await settled(lambda: client.runtime.is_shutting_down)
        for begin in (client.run, client.suggest):
            with pytest.raises(HTTPStatusError) as refused:
                await begin("a", thread_id="other")
            assert is_refused(refused.value)
        agent.allow(3)
        assert (await stream.result()).events[-1]["type"] == "RUN_FINISHED"
        await ending
    with pytest.raises(HTTPStatusError) as refused:
        await client.run("a", thread_id="other")
    assert is_refused(refused.value), "afterwards too"


@pytest.mark.requirement("STOP-11")
def test_shutdown_is_over_with_the_next_startup_event_or_event_loop() -> None:
    """As test suites serve one application again and again."""
    runtime = runtime_of(answers)
    app = create_copilot_asgi_app(runtime=runtime)

    async def lifespan() -> None:
        events = iter(["lifespan.startup", "lifespan.shutdown"])
        sent: list[str] = []

        async def receive() -> Any:
            if sent:
                assert (await client.run("a")).events[-1]["type"] == "RUN_FINISHED"
            return {"type": next(events)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        client = AsyncTestClient(runtime)
        await app({"type": "lifespan"}, receive, send)
        with pytest.raises(HTTPStatusError):
            await client.run("a")

    async def twice() -> None:
        await lifespan()
        await lifespan()

    asyncio.run(twice())

    async def own_lifespan() -> None:
        client = AsyncTestClient(runtime)
        assert (await client.run("a")).events[-1]["type"] == "RUN_FINISHED"
        await runtime.shutdown()

    for _ in range(2):
        asyncio.run(own_lifespan())


@pytest.mark.requirement("STOP-11")
def test_shutdown_sync_ends_runs_of_worker_threads_and_refuses_new_ones() -> None:
    ended = threading.Event()

    def agent(input: Any) -> Iterator[Event]:
        yield STARTED
        ended.wait(HANG_SECONDS)
        yield FINISHED

    client = TestClient(runtime_of(agent))
    with client.stream("a", thread_id="t") as stream:
        next(iter(stream))
        ending = threading.Thread(target=client.runtime.shutdown_sync, args=(HANG_SECONDS,))
        ending.start()
        while not client.runtime.is_shutting_down:
            time.sleep(0.001)
        with pytest.raises(HTTPStatusError) as refused:
            client.run("a", thread_id="other")
        assert is_refused(refused.value)
        ended.set()
        assert stream.result().events[-1]["type"] == "RUN_FINISHED"
        ending.join(HANG_SECONDS)
        assert not ending.is_alive()
    with pytest.raises(HTTPStatusError):
        client.run("a", thread_id="other")
    with TestClient(client.runtime) as another:
        assert another.run("a", thread_id="third").events[-1]["type"] == "RUN_FINISHED"
    assert TestClient(client.runtime).run("a").events[-1]["type"] == "RUN_FINISHED"


@bounded
async def test_shutdown_sync_on_an_event_loop_says_what_to_write() -> None:
    with pytest.raises(RuntimeError, match=r"await runtime\.shutdown\(\)"):
        runtime_of(answers).shutdown_sync()


@pytest.mark.parametrize("grace", [-1, "10", float("nan"), True])
def test_shutdown_grace_is_a_number_of_seconds(grace: Any) -> None:
    runtime = runtime_of(answers)
    with pytest.raises(ValueError, match="grace="):
        asyncio.run(runtime.shutdown(grace))
    with pytest.raises(ValueError, match="grace="):
        runtime.shutdown_sync(grace)


GIVEN = 10.0
"""The configured grace period of the rows below."""
LIMITS = {
    "no limit": (ServerShutdown(None), False, GIVEN),
    "a long one": (ServerShutdown(30.0), False, GIVEN),
    "one that is shorter than the grace period": (ServerShutdown(9.0), False, 6.0),
    "one that leaves no time": (ServerShutdown(3.0), False, 0.0),
    "development": (ServerShutdown(0.0), False, 0.0),
    "one that leaves no time, for a last request": (
        ServerShutdown(3.0, accepts_requests=True),
        False,
        1.0,
    ),
    "that of the process, which does not exit": (ServerShutdown(30.0, exit_seconds=8.0), False, GIVEN),
    "that of the process, which exits": (ServerShutdown(30.0, exit_seconds=8.0), True, 5.0),
}


@pytest.mark.parametrize("name", LIMITS)
@bounded
async def test_shutdown_grace_seconds_are_no_more_than_the_server_allows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By when agents are stopped after the server was seen to shut down, with a while left to store what they did."""
    server, exits, expected = LIMITS[name]
    monkeypatch.setattr("copilot_runtime._engine.shutdown.server_shutdown", lambda: server)
    shutdown = engine_on(MemoryStore(), shutdown_grace_seconds=GIVEN)._shutdown
    shutdown.refuses_runs()
    noticed = shutdown._noticed_at
    assert noticed is not None
    times = shutdown._end_times(None, noticed if exits else None)
    assert max(times.stop, noticed) <= times.force <= times.store - 1
    assert max(times.stop - noticed, 0.0) == pytest.approx(expected)


@bounded
async def test_shutdown_looks_at_the_server_once_for_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    engine = engine_on(MemoryStore())
    monkeypatch.setattr("copilot_runtime._engine.shutdown.time.monotonic", lambda: 1000.0)
    monkeypatch.setattr("copilot_runtime._engine.shutdown.server_shutdown", lambda: looks.append(None))
    for _ in range(100):
        assert not engine._shutdown.refuses_runs()
    assert len(looks) == 1


@bounded
async def test_shutdown_agent_that_does_not_react_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Although the server, its lifespan and the exit of the process may all end its run."""
    agent = Deaf()
    engine = engine_on(MemoryStore(), shutdown_grace_seconds=0)
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    endings = [asyncio.create_task(engine.shutdown()) for _ in range(3)]
    assert (await reader.rest())[-1]["code"] == "RUN_INTERRUPTED"
    await asyncio.gather(*endings)
    agent.may_go.set()
    assert caplog.text.count("did not stop in time") == 1


@bounded
async def test_shutdown_agent_that_does_not_react_is_logged_once_if_two_end_it_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The grace after its stop may be over in the same step of the event loop as that of the shutdown."""
    agent = Deaf()
    engine = engine_on(MemoryStore())
    reader = Reader(await engine.run(given(agent)))
    await reader.until(2)
    (run,) = engine._shutdown._runs()
    for _ in range(2):
        run.force_stop_threadsafe()
    await reader.rest()
    agent.may_go.set()
    assert caplog.text.count("did not stop in time") == 1


# --- the exit of a process -------------------------------------------------------------


async def endless(input: Any) -> AsyncIterator[Event]:
    yield STARTED
    await asyncio.Event().wait()


@pytest.fixture
def nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for streams that are read only once the process has exited."""
    monkeypatch.setattr("copilot_runtime._engine.shutdown.SEND_SECONDS", 0.0)


@pytest.mark.usefixtures("nobody_reads")
@pytest.mark.parametrize(
    ("serves", "variable"),
    [(False, ""), (True, "RUN_MAIN"), (True, "WERKZEUG_RUN_MAIN")],
    ids=["script", "django", "werkzeug"],
)
def test_process_exit_of_a_script_and_below_a_reloader_waits_for_no_run(
    serves: bool, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_shutdown, "_serving_process_id", os.getpid() if serves else None)
    if variable:
        monkeypatch.setenv(variable, "true")
    client = TestClient(runtime_of(endless, shutdown_grace_seconds=HANG_SECONDS), timeout_seconds=HANG_SECONDS / 2)
    with client.stream("a", thread_id="t") as stream:
        next(iter(stream))
        client.runtime.engine.at_exit(time.monotonic())
        assert stream.result().events[-1]["code"] == "RUN_INTERRUPTED"


@pytest.mark.usefixtures("nobody_reads")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_process_exit_ctrl_c_ends_the_runs_of_all_runtimes_at_once(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_shutdown, "_serving_process_id", os.getpid())
    monkeypatch.setattr(server_shutdown, "_quick_process_id", None)
    client, other = (
        TestClient(runtime_of(endless, shutdown_grace_seconds=HANG_SECONDS), timeout_seconds=HANG_SECONDS / 2)
        for _ in range(2)
    )
    shutdown = client.runtime.engine._shutdown
    end = shutdown.end
    raises = iter([True])

    async def interrupted(*args: Any, **named: Any) -> None:
        if next(raises, False):
            raise error
        await end(*args, **named)

    monkeypatch.setattr(shutdown, "end", interrupted)
    with client.stream("a", thread_id="t") as stream, other.stream("a", thread_id="t") as another:
        for each in (stream, another):
            next(iter(each))
        for each in (client, other):
            each.runtime.engine.at_exit(time.monotonic())
        for each in (stream, another):
            assert each.result().events[-1]["code"] == "RUN_INTERRUPTED"
    assert caplog.text.count("Ctrl+C ends them at once") == 1


def test_process_exit_time_is_counted_once_for_all_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten runtimes of one process, or a server's hook before the interpreter's, do not add up their grace periods."""
    seen: list[float] = []

    class Life:
        def after_fork(self) -> None: ...

        def at_exit(self, exiting_since: float) -> None:
            seen.append(exiting_since)

    lives = [Life(), Life()]
    monkeypatch.setattr(lifecycle, "_lifecycles", set(lives))
    monkeypatch.setattr(lifecycle, "_exiting", None)
    lifecycle.end_process_runs()
    lifecycle.end_process_runs()
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_process_exit_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The other runtimes of the process have runs as well, and a server's hook more to do."""
    ended = []

    class Life:
        def after_fork(self) -> None: ...

        def at_exit(self, exiting_since: float) -> None:
            ended.append(self)
            raise OSError("the disk is full")

    lives = [Life(), Life()]
    monkeypatch.setattr(lifecycle, "_lifecycles", set(lives))
    lifecycle.end_process_runs()
    assert len(ended) == 2
    assert [record.name for record in caplog.records] == ["copilot_runtime.lifecycle"] * 2


def test_background_loop_is_blocked_only_by_who_waits_on_it() -> None:
    assert not loops.would_block_loop()

    async def would_block() -> bool:
        return loops.would_block_loop()

    assert asyncio.run_coroutine_threadsafe(would_block(), loops.background_loop()).result(HANG_SECONDS)
    assert not loops.would_block_loop()
