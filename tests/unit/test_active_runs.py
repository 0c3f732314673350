"""The timer of an event loop that has active runs: it ticks while there are any, whichever thread adds them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from unittest.mock import Mock

import pytest

from copilot_runtime._engine import active_runs
from copilot_runtime._engine.active_runs import ActiveRuns
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import RunKey

from .engine_helpers import HANG_SECONDS, THREAD, bounded, settled


@pytest.fixture(autouse=True)
def short_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_runs, "CHECK_SECONDS", 0.001)


class Ticks:
    """Counts the looks at a loop with active runs."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    async def more(self) -> None:
        before = self.count
        await settled(lambda: self.count > before + 2)


def run_on(loop: asyncio.AbstractEventLoop, ordinal: int) -> Any:
    run = Mock(loop=loop)
    run.log.run = RunKey(THREAD, ordinal)
    return run


def ticks_at_all(runs: ActiveRuns) -> bool:
    return any(timer.is_ticking for timer in runs._timer._timers.values())


@bounded
async def test_loop_is_looked_at_while_it_has_any_active_run() -> None:
    ticks, loop = Ticks(), asyncio.get_running_loop()
    runs = ActiveRuns(MemoryStore(), ticks)
    first, second = run_on(loop, 1), run_on(loop, 2)
    for _ in range(3):  # also after a pause
        runs.add(first)
        await ticks.more()
        runs.add(second)
        runs.discard(first)
        await ticks.more()
        runs.discard(second)
        await settled(lambda: not ticks_at_all(runs))
    assert runs.all() == []
    assert not runs.shared


@bounded
async def test_loop_is_looked_at_for_runs_that_threads_add_while_others_end() -> None:
    ticks, loop = Ticks(), asyncio.get_running_loop()
    runs = ActiveRuns(MemoryStore(), ticks)

    def add_and_discard(first: int) -> None:
        for ordinal in range(first, first + 300):
            run = run_on(loop, ordinal)
            runs.add(run)
            runs.discard(run)

    threads = [threading.Thread(target=add_and_discard, args=(1000 * number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    await settled(lambda: not any(thread.is_alive() for thread in threads))
    last = run_on(loop, 1)
    await asyncio.to_thread(runs.add, last)
    await ticks.more()
    runs.discard(last)
    await settled(lambda: not ticks_at_all(runs))


@bounded
async def test_each_loop_is_looked_at_for_its_own_runs() -> None:
    ticks, loops_seen = Ticks(), set[asyncio.AbstractEventLoop]()

    def look() -> None:
        loops_seen.add(asyncio.get_running_loop())
        ticks()

    other, here = asyncio.new_event_loop(), asyncio.get_running_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    try:
        runs = ActiveRuns(MemoryStore(), look)
        there, mine = run_on(other, 1), run_on(here, 2)
        runs.add(there)
        await ticks.more()
        assert loops_seen == {other}
        runs.add(mine)
        runs.discard(there)
        await settled(lambda: here in loops_seen and not runs._timer._timers[other].is_ticking)
        loops_seen.clear()
        await ticks.more()
        await ticks.more()
        assert loops_seen == {here}
        runs.discard(mine)
        await settled(lambda: not ticks_at_all(runs))
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join(HANG_SECONDS)
        other.close()
