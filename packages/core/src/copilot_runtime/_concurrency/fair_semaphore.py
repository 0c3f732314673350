"""A semaphore that is acquired in turn."""

from __future__ import annotations

import threading
from collections import deque


class FairSemaphore:
    """A semaphore that those who wait acquire in the order in which they came: none waits for later ones."""

    def __init__(self, value: int) -> None:
        self.free = value
        """How often it can be acquired at once."""
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def acquire(self, timeout: float) -> bool:
        """Waits for up to ``timeout`` seconds. Returns whether the semaphore was acquired."""
        with self._lock:
            if self.free:
                self.free -= 1
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            return turn.wait(max(0.0, timeout)) or not self._leave(turn)
        except BaseException:  # such as of a greenlet that is ended
            if not self._leave(turn):
                self.release()
            raise

    def release(self) -> None:
        """Passes the semaphore on to who has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self.free += 1

    def _leave(self, turn: threading.Event) -> bool:
        """Returns whether who waited had not been passed the semaphore yet."""
        with self._lock:
            if turn.is_set():
                return False
            self._waiting.remove(turn)
            return True
