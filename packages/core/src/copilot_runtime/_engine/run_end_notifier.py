"""Calls `on_run_end`, and tracks the calls that are running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from .._concurrency import driver, loops
from .._concurrency.framework import current_framework
from .._concurrency.waiters import Waiters
from .._concurrency.worker_pools import RUN_END
from .._log_text import log_failure
from .types import EndedRun, RunEndHook

logger = logging.getLogger("copilot_runtime.engine")


class RunEndNotifier:
    """Calls hooks with ended runs. What a hook raises is logged."""

    def __init__(self) -> None:
        self._running: dict[object, asyncio.AbstractEventLoop] = {}
        self._waiters = Waiters()

    def notify_in_background(
        self, loop: asyncio.AbstractEventLoop, key: object, hook: RunEndHook, ended: EndedRun
    ) -> None:
        """Starts a task on ``loop`` that calls a hook with the end of a run, ``key``."""
        self._running[key] = loop
        loops.create_task_threadsafe(loop, self._notify_in_scope(key, hook, ended))

    async def notify(self, hook: RunEndHook, ended: EndedRun) -> None:
        """Calls a hook."""
        try:
            await driver.call_user_function(hook, ended, pool=RUN_END)
        except Exception as error:
            log_failure(logger, error, "on_run_end failed for run %r", ended.run_id)

    async def drain(self, of_loop: Callable[[asyncio.AbstractEventLoop], bool], deadline: float) -> None:
        """Waits until no hook runs on some loops any more, or until ``deadline`` on the monotonic clock."""
        keys = [key for key, loop in list(self._running.items()) if of_loop(loop)]
        await driver.wait_while(lambda: not self._running.keys().isdisjoint(keys), self._waiters.add, deadline)

    def after_fork(self) -> None:
        """Forgets the parent process's calls."""
        self._running.clear()

    async def _notify_in_scope(self, key: object, hook: RunEndHook, ended: EndedRun) -> None:
        try:
            async with current_framework.get().async_agent_scope():
                await self.notify(hook, ended)
        finally:
            self._running.pop(key, None)
            self._waiters.notify()
