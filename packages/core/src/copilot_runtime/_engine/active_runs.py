"""The active runs of an engine in this process."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from .._concurrency.loop_watchdog import unwatch_loop, watch_loop
from .._concurrency.periodic import PeriodicTask
from ..stores.protocol import ActiveRun, RunKey, RunStore, ThreadKey
from .local_runs import local_runs
from .persistence import FINISH_RETRY_SECONDS
from .run import Run
from .run_log import RunLog
from .shutdown import CHECK_SECONDS


class ActiveRuns:
    """Runs that have begun here and have not ended.

    What is done for the event loops that have any is done once for each loop, and not for each run: the log says where
    they are stuck, and the runs end in time if the server shuts down, even if nobody reads them.

    Args:
        store: the store of the threads.
        while_active: called every `CHECK_SECONDS` on each loop that has active runs.

    Attributes:
        shared: those on a thread, by their keys, and those of other engines over the same store object.
    """

    def __init__(self, store: RunStore, while_active: Callable[[], object]) -> None:
        self._runs: dict[RunLog, Run] = {}
        self.shared = local_runs(store)
        self._while_active = while_active
        self._timer: PeriodicTask[ActiveRuns] = PeriodicTask(
            CHECK_SECONDS, self._tick, started=partial(watch_loop, self), stopped=partial(unwatch_loop, self)
        )
        """Has these as a member on each loop that has runs. Each run would be a member for a millisecond."""
        self._ticking: weakref.ref[asyncio.AbstractEventLoop] | None = None
        """A loop that has them for certain."""

    def add(self, run: Run) -> None:
        """Adds a run that has begun."""
        log = run.log
        self._runs[log] = run
        if log.run is not None:
            self.shared[log.run] = run
        ticking = self._ticking
        if ticking is None or ticking() is not run.loop:
            self._start_timer(run.loop)

    def discard(self, run: Run) -> None:
        """Removes a run that has ended."""
        self._runs.pop(run.log, None)
        key = run.log.run
        # An ordinal may be in use again, where a store was replaced: then the run with this key is another one.
        if key is not None and self.shared.get(key) is run:
            del self.shared[key]

    def all(self) -> list[Run]:
        """Returns the runs of this engine."""
        return list(self._runs.values())

    def of_thread(self, thread: ThreadKey) -> list[Run]:
        """Returns those on a thread."""
        return [run for run in self.all() if run.log.run is not None and run.log.run.thread == thread]

    def of_log(self, log: RunLog) -> Run | None:
        """Returns the run of a log if it is active."""
        run = self._runs.get(log)
        return None if run is None or run.is_finished else run

    def own_log(self, key: RunKey) -> RunLog | None:
        """Returns the log of a run of this engine that is active."""
        run = self.shared.get(key)
        return run.log if run is not None and run.log in self._runs else None

    def find_log(self, key: RunKey) -> RunLog | None:
        """Returns the log of an active run of this process that any engine over the same store object runs."""
        run = self.shared.get(key)
        return None if run is None or run.loop.is_closed() else run.log

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._runs)

    def clear(self) -> None:
        """Forgets the runs of the parent process."""
        self._runs.clear()
        self.shared.clear()
        self._ticking = None
        self._timer.clear()

    # --- runs whose event loop does not run any more ---

    def have_closed_loop(self) -> bool:
        """Returns whether the event loop of any run was closed under it."""
        return any(run.loop.is_closed() for run in self.all())

    async def end_without_loop(self, live: ActiveRun) -> bool:
        """Ends a run of this process whose event loop was closed under it. Returns whether it was one."""
        run = self.shared.get(live.run)
        if run is None or not run.loop.is_closed():
            return False
        await run.end_without_loop()
        return True

    async def end_all_without_loop(self) -> None:
        """Ends all runs whose event loop was closed under them."""
        for run in self.all():
            if run.loop.is_closed():
                await run.end_without_loop()

    async def end_all_not_running(self) -> None:
        """Ends the runs of event loops that no longer run, closed or not."""
        deadline = time.monotonic() + FINISH_RETRY_SECONDS
        for run in self.all():
            if not run.loop.is_running() and time.monotonic() < deadline:
                await run.end_without_loop()

    def _start_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        # In this order, and `_tick` in that one: if it undoes what is done first, it has undone the other before.
        self._ticking = weakref.ref(loop)
        self._timer.add(self, loop)

    def _tick(self, _: Sequence[ActiveRuns]) -> None:
        loop = asyncio.get_running_loop()
        if not self._have(loop):
            # Before the second look, which misses none: whoever adds a run after it starts the timer.
            self._timer.discard(self, loop)
            self._ticking = None
            if not any(run.loop is loop for run in self.all()):
                return
            self._start_timer(loop)
        self._while_active()

    def _have(self, loop: asyncio.AbstractEventLoop) -> bool:
        # Without a copy, for which each of thousands of runs is touched 20 times a second: the first one is the answer.
        try:
            return any(run.loop is loop for run in self._runs.values())
        except RuntimeError:  # another thread has changed them meanwhile
            return False
