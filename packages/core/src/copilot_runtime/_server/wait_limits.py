"""Limits for waits of worker threads that have no timeout of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .._concurrency.loops import background_loop
from .._concurrency.periodic import PeriodicTask

CHECK_SECONDS = 0.5
"""How late a wait may be ended."""


class _Wait(NamedTuple):
    deadline: Callable[[], float]
    end: Callable[[], object]


def _end_late_waits(waits: list[_Wait]) -> None:
    now = time.monotonic()
    for wait in waits:
        if now > wait.deadline():
            wait.end()


_waits: PeriodicTask[_Wait] = PeriodicTask(CHECK_SECONDS, _end_late_waits)


@contextmanager
def limit_wait(deadline: Callable[[], float], end: Callable[[], object]) -> Iterator[None]:
    """Has ``end`` called if the block is not left before a deadline.

    Args:
        deadline: returns the deadline, by the monotonic clock; called several times.
        end: ends the wait. Called on the background loop, possibly several times, and must not block.
    """
    wait, loop = _Wait(deadline, end), background_loop()
    _waits.add(wait, loop)
    try:
        yield
    finally:
        _waits.discard(wait, loop)
