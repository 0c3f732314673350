"""How late event loops are: what an agent that blocks its loop costs everybody else on it."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Hashable

from .periodic import PeriodicTask

TICK_SECONDS = 0.25
"""How often a loop that is measured has to answer."""

WINDOW_SECONDS = 10.0
"""For how long, and for up to twice as long, a delay is reported: probes come every ten seconds or so."""

IDLE_SECONDS = 60.0
"""A loop that nobody has asked about for this long is not measured any more."""


class LoopLag:
    """Measures how late the timers of event loops are, while somebody asks."""

    def __init__(self) -> None:
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LagOfLoop] = weakref.WeakKeyDictionary()
        self._timer: PeriodicTask[Hashable] = PeriodicTask(TICK_SECONDS, self._tick, started=self._start)

    def read(self, loop: asyncio.AbstractEventLoop) -> float:
        """Returns the longest recent delay of a loop in seconds, 0 at first. To be called from any thread."""
        lag = self._loops.setdefault(loop, LagOfLoop())
        lag.asked_at = time.monotonic()
        self._timer.add(self, loop)
        return lag.longest()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loops.setdefault(loop, LagOfLoop()).restart()

    def _tick(self, _: list[Hashable]) -> None:
        loop = asyncio.get_running_loop()
        lag = self._loops[loop]
        lag.tick()
        if time.monotonic() - lag.asked_at > IDLE_SECONDS:
            self._timer.discard(self, loop)
            lag.stop()


class LagOfLoop:
    """How late one loop has been."""

    def __init__(self) -> None:
        self.asked_at = 0.0
        self._ticked_at: float | None = None
        """When the loop answered last; None while it is not measured."""
        self._window_began = 0.0
        self._in_window = 0.0
        self._before = 0.0

    def restart(self) -> None:
        """Begins to measure, on the loop."""
        self._ticked_at = self._window_began = time.monotonic()
        self._in_window = self._before = 0.0

    def stop(self) -> None:
        """Ends to measure, on the loop."""
        self._ticked_at = None

    def tick(self) -> None:
        """Records an answer of the loop."""
        late = self._late()
        self._ticked_at = now = time.monotonic()
        if now - self._window_began > WINDOW_SECONDS:
            self._before, self._in_window, self._window_began = self._in_window, 0.0, now
        self._in_window = max(self._in_window, late)

    def longest(self) -> float:
        """Returns the longest delay of the window and the one before it."""
        # A loop that is blocked right now, which only another thread can ask about, has not recorded that yet.
        return max(self._before, self._in_window, self._late())

    def _late(self) -> float:
        ticked_at = self._ticked_at
        return 0.0 if ticked_at is None else max(0.0, time.monotonic() - ticked_at - TICK_SECONDS)
