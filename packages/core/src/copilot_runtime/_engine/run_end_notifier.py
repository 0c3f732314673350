"""Calls `on_run_end`, and tracks the calls that are running."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from .._concurrency import driver, loops
from .._concurrency.framework import current_framework
from .._concurrency.waiters import Waiters
from .._concurrency.worker_pools import RUN_END
from .._log_text import log_failure
from .types import EndedRun, RunEndHook

logger = logging.getLogger("copilot_runtime.engine")


class _Call:
    """One call of a hook, which is made once however often it is tried: its event loop may be closed before."""

    __slots__ = ("_hooks", "context", "ended", "is_plain", "loop")

    def __init__(self, hook: RunEndHook, ended: EndedRun, loop: asyncio.AbstractEventLoop) -> None:
        self._hooks = [hook]
        self.context = contextvars.copy_context()
        self.ended = ended
        self.is_plain = not driver.is_coroutine_function(hook)
        self.loop = loop

    @property
    def has_begun(self) -> bool:
        return not self._hooks

    def begin(self, ended: EndedRun) -> object:
        """Calls the hook unless somebody has, on whichever thread."""
        try:
            hook = self._hooks.pop()
        except IndexError:
            return None
        return hook(ended)

    async def begin_on_loop(self, ended: EndedRun) -> None:
        """Does the same with a coroutine function."""
        result: Any = self.begin(ended)
        if result is not None:
            await result


class RunEndNotifier:
    """Calls hooks with ended runs. What a hook raises is logged."""

    def __init__(self) -> None:
        self._running: dict[object, _Call] = {}
        self._waiters = Waiters()

    def notify_in_background(
        self, loop: asyncio.AbstractEventLoop, key: object, hook: RunEndHook, ended: EndedRun
    ) -> None:
        """Starts a task on ``loop`` that calls a hook with the end of a run, ``key``."""
        self._running[key] = call = _Call(hook, ended, loop)
        self._start(key, call)

    async def notify(self, hook: RunEndHook, ended: EndedRun) -> None:
        """Calls a hook."""
        try:
            await driver.call_user_function(hook, ended, pool=RUN_END)
        except Exception as error:
            log_failure(logger, error, "on_run_end failed for run %r", ended.run_id)

    async def drain(self, of_loop: Callable[[asyncio.AbstractEventLoop], bool], deadline: float) -> None:
        """Waits until no hook runs on some loops any more, or until ``deadline`` on the monotonic clock."""
        self.move_from_closed_loops()
        keys = [key for key, call in list(self._running.items()) if of_loop(call.loop)]
        await driver.wait_while(lambda: not self._running.keys().isdisjoint(keys), self._waiters.add, deadline)

    def move_from_closed_loops(self) -> None:
        """Has the background loop make the calls that a loop has not begun, or not ended, when it was closed."""
        for key, call in list(self._running.items()):
            if call.loop.is_closed():
                with contextlib.suppress(RuntimeError):  # no thread can be started
                    loops.run_in_context(call.context, self._move, key, call)

    def after_fork(self) -> None:
        """Forgets the parent process's calls."""
        self._running.clear()

    def _start(self, key: object, call: _Call) -> None:
        """Starts a task for a call on its loop."""
        try:
            loops.create_task_threadsafe(call.loop, self._notify_in_scope(key, call))
        except RuntimeError:  # closed at this moment
            self._move(key, call)

    def _move(self, key: object, call: _Call) -> None:
        """Starts a task for a call on the background loop, since its own loop is closed, or about to be."""
        call.loop = loops.background_loop()
        loops.create_task_threadsafe(call.loop, self._notify_in_scope(key, call))

    async def _notify_in_scope(self, key: object, call: _Call) -> None:
        loop = call.loop
        try:
            async with current_framework.get().async_agent_scope():
                await self.notify(call.begin if call.is_plain else call.begin_on_loop, call.ended)
        except asyncio.CancelledError:
            if not call.has_begun and loop is not loops.running_background_loop():
                self._move(key, call)
            raise
        finally:
            if call.loop is loop:
                self._running.pop(key, None)
                self._waiters.notify()
