"""A periodic callback over a set of members, with one timer per event loop while the set is not empty."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from . import loops

logger = logging.getLogger("copilot_runtime.loops")

T = TypeVar("T", bound=Hashable)

LoopCallback = Callable[[asyncio.AbstractEventLoop], object]


class PeriodicTask(Generic[T]):
    """Calls ``callback`` with all members of a loop, every ``seconds``, as long as there are any.

    Members are added and removed from any thread, at the cost of a set operation: only the first member after a
    pause wakes the loop.

    Args:
        seconds: how often the callback is called.
        callback: called with the members.
        started: called on a loop before the first member after a pause is looked at.
        stopped: called on a loop when it has had no members for ``seconds``.
    """

    def __init__(
        self,
        seconds: float,
        callback: Callable[[list[T]], None],
        *,
        started: LoopCallback | None = None,
        stopped: LoopCallback | None = None,
    ) -> None:
        self._seconds = seconds
        self._callback = callback
        self._started = started
        self._stopped = stopped
        self._timers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopTimer[T]] = weakref.WeakKeyDictionary()
        self._last: tuple[weakref.ref[asyncio.AbstractEventLoop], weakref.ref[_LoopTimer[T]]] | None = None
        """The loop that was looked for last, since most processes have but one, and its timer, which the loop keeps."""

    def _find(self, loop: asyncio.AbstractEventLoop) -> _LoopTimer[T] | None:
        last = self._last
        if last is not None and last[0]() is loop:
            return last[1]()
        timer = self._timers.get(loop)
        if timer is not None:
            self._last = (weakref.ref(loop), weakref.ref(timer))
        return timer

    def add(self, member: T, loop: asyncio.AbstractEventLoop) -> None:
        """Adds a member, for which the callback runs on ``loop``."""
        timer = self._find(loop)
        if timer is None:
            timer = _LoopTimer(self._seconds, self._callback, self._started, self._stopped)
            timer = self._timers.setdefault(loop, timer)
        timer.members.add(member)
        if not timer.is_ticking:
            timer.is_ticking = True
            if loops.is_running_on(loop):
                timer.start(loop)
            else:
                loops.call_soon_threadsafe(loop, timer.start, loop)

    def discard(self, member: T, loop: asyncio.AbstractEventLoop) -> None:
        """Removes a member, if it is one."""
        timer = self._find(loop)
        if timer is not None:
            timer.members.discard(member)

    def clear(self) -> None:
        """Drops all members: they were the parent process's."""
        self._timers, self._last = weakref.WeakKeyDictionary(), None


class _LoopTimer(Generic[T]):
    def __init__(
        self,
        seconds: float,
        callback: Callable[[list[T]], None],
        started: LoopCallback | None,
        stopped: LoopCallback | None,
    ) -> None:
        self.members: set[T] = set()
        self.is_ticking = False
        # Not the timer handle itself, which would keep its loop, and with it this object, alive forever.
        self._is_scheduled = False
        self._seconds = seconds
        self._callback = callback
        self._started = started
        self._stopped = stopped

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the timer, on the loop, unless it runs."""
        if not self._is_scheduled:
            if self._started is not None:
                self._started(loop)
            self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = True
        # With a context of its own: it would keep that of some request alive for as long as it ticks.
        loop.call_later(self._seconds, self._tick, loop, context=contextvars.Context())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = False
        members = list(self.members)
        try:
            if members:
                self._callback(members)
        except Exception:
            logger.exception("a periodic task failed; it will run again")
        # Before the last look: code that adds a member after it starts the timer.
        self.is_ticking = False
        if members or self.members:
            self.is_ticking = True
            self._schedule(loop)
        elif self._stopped is not None:
            self._stopped(loop)
