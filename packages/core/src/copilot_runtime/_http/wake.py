"""What a worker thread waits for while its stream has nothing to send."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._concurrency.loops import wake_thread


class Wake:
    """A thread waits for it, and any other sets it. Set several times before the thread looks, it counts once."""

    __slots__ = ("_lock", "wait")

    wait: Callable[..., bool]
    """Waits until it is set, and has it no longer set: `threading.Lock.acquire`, with its ``timeout`` and result."""

    def __init__(self) -> None:
        # Looked up now and not at import: gevent patches the module later than that.
        self._lock = lock = threading.Lock()
        lock.acquire()
        self.wait = lock.acquire

    def set(self, _chunk: bytes | None = None, _count: int = 0) -> None:
        """Ends the wait of the thread, or the next one that it begins. Waits for nothing itself.

        Takes what any lasting waiter of a `StreamSource` is called with: the thread reads it.
        """
        if self._lock.locked():
            wake_thread(self._release)

    def _release(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # another thread, or the same one twice in a turn of its loop, has been faster
            pass
