"""How many streams are open, and how many may be."""

from __future__ import annotations

import threading


class TooManyStreams(Exception):
    """As many streams are open as may be."""


class StreamLimiter:
    """Counts open streams, from any thread. ``limit`` None is no bound."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._count = 0
        # One that may be taken twice: a stream that nobody holds is closed wherever garbage happens to be collected.
        self._lock = threading.RLock()

    def acquire(self) -> None:
        """One more. Raises TooManyStreams."""
        with self._lock:
            if self._limit is not None and self._count >= self._limit:
                raise TooManyStreams
            self._count += 1

    def release(self) -> None:
        """One less."""
        with self._lock:
            self._count -= 1

    def after_fork(self) -> None:
        """This is a child process, which has no streams yet."""
        self._count, self._lock = 0, threading.RLock()
