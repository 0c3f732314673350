"""Limits for waits of worker threads that have no timeout of their own."""

from __future__ import annotations

import time
from collections.abc import Callable

from .._concurrency.loops import background_loop
from .._concurrency.periodic import PeriodicTask

CHECK_SECONDS = 0.5
"""How late a wait may be ended."""


class LimitedWait:
    """A context in which ``end`` is called if it is not left before a deadline.

    Args:
        deadline: returns the deadline, by the monotonic clock; called several times.
        end: ends the wait. Called on the background loop, possibly several times, and must not block.
    """

    __slots__ = ("_loop", "deadline", "end")

    def __init__(self, deadline: Callable[[], float], end: Callable[[], object]) -> None:
        self.deadline = deadline
        self.end = end

    def __enter__(self) -> None:
        self._loop = background_loop()
        _waits.add(self, self._loop)

    def __exit__(self, *error: object) -> None:
        _waits.discard(self, self._loop)


def _end_late_waits(waits: list[LimitedWait]) -> None:
    now = time.monotonic()
    for wait in waits:
        if now > wait.deadline():
            wait.end()


_waits: PeriodicTask[LimitedWait] = PeriodicTask(CHECK_SECONDS, _end_late_waits)
