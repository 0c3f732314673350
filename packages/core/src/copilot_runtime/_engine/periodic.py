"""Visiting many things now and then with one timer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .._concurrency import loops

logger = logging.getLogger("copilot_runtime.engine")

T = TypeVar("T", bound=Hashable)


class PeriodicTask(Generic[T]):
    """Calls ``visit`` with all members, every ``seconds`` as long as there are any.

    Members are added and removed from any thread, at the cost of a set's operation: only
    the first one of a quiet time wakes the loop. There is one timer a loop.
    """

    def __init__(self, seconds: float, visit: Callable[[list[T]], None]) -> None:
        self._seconds = seconds
        self._callback = visit
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopTimer[T]] = weakref.WeakKeyDictionary()

    def add(self, member: T, loop: asyncio.AbstractEventLoop) -> None:
        """Has a member visited on a loop."""
        round_ = self._loops.get(loop)
        if round_ is None:
            round_ = self._loops.setdefault(loop, _LoopTimer(self._seconds, self._callback))
        round_.members.add(member)
        if not round_.is_ticking:
            round_.is_ticking = True
            if loops.is_running_on(loop):
                round_.schedule(loop)
            else:
                loops.call_soon_threadsafe(loop, round_.schedule, loop)

    def discard(self, member: T, loop: asyncio.AbstractEventLoop) -> None:
        """Has a member visited no more."""
        round_ = self._loops.get(loop)
        if round_ is not None:
            round_.members.discard(member)

    def clear(self) -> None:
        """Drops all members: they were a parent process's."""
        self._loops = weakref.WeakKeyDictionary()


class _LoopTimer(Generic[T]):
    def __init__(self, seconds: float, visit: Callable[[list[T]], None]) -> None:
        self.members: set[T] = set()
        self.is_ticking = False
        # Not the timer itself, which would keep its loop, and with it this round, for ever.
        self._has_timer = False
        self._seconds = seconds
        self._callback = visit

    def schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the timer, on the loop, unless it runs."""
        if not self._has_timer:
            self._has_timer = True
            # With a context of its own: it would keep that of some request alive for as long as it ticks.
            loop.call_later(self._seconds, self._tick, loop, context=contextvars.Context())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._has_timer = False
        members = list(self.members)
        try:
            if members:
                self._callback(members)
        except Exception:
            logger.exception("a round failed; the next one is tried all the same")
        # Said before the last look: one who comes after it starts the timer himself.
        self.is_ticking = False
        if members or self.members:
            self.is_ticking = True
            self.schedule(loop)
