"""The watchdog, which logs where an event loop is stuck."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from copilot_runtime._concurrency import loop_watchdog
from copilot_runtime._concurrency.loop_watchdog import STUCK_CHECKS, LoopWatchdog
from copilot_runtime.stores import MemoryStore

from .engine_helpers import HANG_SECONDS, Reader, bounded, engine_on, given
from .recorder_helpers import FINISHED, STARTED, Event
from .test_stream_readers import until

pytestmark = [pytest.mark.requirement("AGENT-09")]


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.may_go_on = threading.Event()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def settle(self) -> None:
        """Waits until the loop has done what it was asked to."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(done.set)
        assert done.wait(HANG_SECONDS)

    def block(self) -> None:
        blocks = threading.Event()

        def blocking_call() -> None:
            blocks.set()
            self.may_go_on.wait()

        self.loop.call_soon_threadsafe(blocking_call)
        assert blocks.wait(HANG_SECONDS)

    def close(self) -> None:
        self.may_go_on.set()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(HANG_SECONDS)
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "copilot_runtime.loops"]


def check(watchdog: LoopWatchdog, times: int) -> None:
    for _ in range(times):
        watchdog.check()


def test_watchdog_logs_where_a_loop_is_stuck_once(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    watchdog = LoopWatchdog()
    watchdog.add("run", loop.loop)
    loop.settle()
    loop.block()
    check(watchdog, STUCK_CHECKS)  # the first of which finds that the loop has answered
    assert lines(caplog) == []
    check(watchdog, 10 * STUCK_CHECKS)
    [line] = lines(caplog)
    assert "stuck for 5 s in wait (" in line
    [record] = [record for record in caplog.records if record.name == "copilot_runtime.loops"]
    assert "in blocking_call\n    self.may_go_on.wait()" in str(record.stack_info)
    loop.may_go_on.set()
    loop.settle()
    assert "runs again" in lines(caplog)[-1]
    loop.may_go_on.clear()
    loop.block()
    check(watchdog, STUCK_CHECKS + 1)
    assert "stuck for 5 s" in lines(caplog)[-1]


def test_watchdog_does_not_log_what_is_not_stuck(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    watchdog = LoopWatchdog()
    watchdog.add("run", loop.loop)
    for _ in range(3 * STUCK_CHECKS):
        loop.settle()
        watchdog.check()
    watchdog.discard("run", loop.loop)
    loop.block()
    check(watchdog, 3 * STUCK_CHECKS)  # nothing runs on it any more
    idle, closed = asyncio.new_event_loop(), asyncio.new_event_loop()
    watchdog.add("run", idle)
    watchdog.add("run", closed)
    closed.close()
    check(watchdog, 3 * STUCK_CHECKS)
    idle.close()
    watchdog.check()
    assert lines(caplog) == []
    assert not watchdog._loops


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_watchdog_keeps_no_loop_that_is_dropped_without_being_closed() -> None:
    """Such as one of a script, which stops it as soon as its run has ended."""

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        yield FINISHED

    engine = engine_on(MemoryStore())

    async def main() -> None:
        await Reader(await engine.run(given(agent))).rest()

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(asyncio.wait_for(main(), HANG_SECONDS))
    reference = weakref.ref(loop)
    del loop
    until(lambda: gc.collect() >= 0 and reference() is None)  # the watchdog's thread may be looking at it


def test_watchdog_of_a_run_that_blocks_its_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop_watchdog, "CHECK_SECONDS", 0.01)
    logged = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is_blocking" in str(record.stack_info):
                logged.set()

    async def is_blocking(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        assert logged.wait(HANG_SECONDS)
        yield FINISHED

    @bounded
    async def run() -> None:
        events = await Reader(await engine_on(MemoryStore()).run(given(is_blocking))).rest()
        assert events[-1]["type"] == "RUN_FINISHED"

    handler = Handler()
    logging.getLogger("copilot_runtime.loops").addHandler(handler)
    try:
        run()
    finally:
        logging.getLogger("copilot_runtime.loops").removeHandler(handler)


def test_watchdog_without_a_thread_lets_runs_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loop_watchdog, "_watchdog", loop_watchdog.ProcessLocal(LoopWatchdog, fail))

    async def greet(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        yield FINISHED

    @bounded
    async def run() -> None:
        events = await Reader(await engine_on(MemoryStore()).run(given(greet))).rest()
        assert events[-1]["type"] == "RUN_FINISHED"

    run()
