"""Telling a hook of runs that have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Any

from .._concurrency import driver, loops
from .._concurrency.framework import current_framework
from .run import Run
from .types import EndedRun

logger = logging.getLogger("copilot_runtime.engine")


class RunEndNotifier:
    """Calls hooks with ended runs, and knows which calls go on."""

    def __init__(self) -> None:
        self._runs: set[Run] = set()

    def notify_in_background(self, run: Run, on_end: Callable[[EndedRun], Any], ended: EndedRun) -> None:
        """Has a hook called, on the run's home loop."""
        self._runs.add(run)
        loops.create_task_threadsafe(run.loop, self._tell(run, on_end, ended))

    async def notify(self, on_end: Callable[[EndedRun], Any], ended: EndedRun) -> None:
        """Calls a hook; what it raises is logged."""
        try:
            await driver.call_user_function(on_end, ended)
        except Exception:
            logger.exception("on_run_end failed for run %r", ended.run_id)

    async def drain(self, runs: Collection[Run], deadline: float) -> None:
        """Waits until hooks have been told of these runs, or the deadline."""
        while not self._runs.isdisjoint(runs) and (left := deadline - time.monotonic()) > 0:
            await driver.sleep(min(left, 0.01))

    def after_fork(self) -> None:
        """This is a child process."""
        self._runs.clear()

    async def _tell(self, run: Run, on_end: Callable[[EndedRun], Any], ended: EndedRun) -> None:
        try:
            async with current_framework.get().async_agent_scope():
                await self.notify(on_end, ended)
        finally:
            self._runs.discard(run)
