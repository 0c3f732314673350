"""What a worker thread waits for that has nothing to do, and how the background loop wakes it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .process_local import ProcessLocal

RELAY_SECONDS = 0.01
"""For how long threads are woken one after another. A thread that computes has the interpreter's lock for half as long
each time (`sys.getswitchinterval`)."""

WakeThread = Callable[[], bool]
"""Wakes a thread. Returns whether that calls `WakeRelay.pass_on` as soon as it runs. Must not raise."""


class WakeRelay:
    """Wakes the threads for which an event loop has something, from the end of its turn on.

    Only one thread at a time can have the interpreter's lock. One that is woken while the loop runs, or together with
    others, finds it taken, waits for it as well, and is woken in vain whenever another is faster. So the loop wakes one
    thread when it is about to give up that lock, and that thread the next one: with 200 paced streams, an event takes
    2.6 switches between threads in place of 6. Once that takes long, all that are left are woken: each may have to
    wait for threads that compute, or one may have been ended before it passed on.
    """

    __slots__ = ("_due", "_due_since", "_thread_id")

    def __init__(self) -> None:
        self._due: deque[WakeThread] = deque()
        self._due_since = 0.0
        """When the first one of those that are due was added, on the monotonic clock."""
        self._thread_id: int | None = None
        """That of the loop's thread or, below gevent, of its greenlet, for as long as a turn lasts."""

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has a loop end its turns. Does nothing for a loop that is not made in Python, such as uvloop's."""
        selector = getattr(loop, "_selector", None)
        if selector is None:
            return
        select = selector.select

        def end_turn_and_select(timeout: float | None = None) -> Sequence[Any]:
            self.end_turn()
            try:
                return select(timeout)  # type: ignore[no-any-return]
            finally:
                self._thread_id = threading.get_ident()

        selector.select = end_turn_and_select

    def wake(self, wake: WakeThread) -> None:
        """Wakes a thread: from the end of the turn on if the loop's thread is in one, and otherwise now."""
        if self._thread_id is not None and self._thread_id == threading.get_ident():
            if not self._due:
                self._due_since = time.monotonic()
            self._due.append(wake)
        else:
            wake()

    def end_turn(self) -> None:
        """Begins to wake the threads. To be called by the loop's thread."""
        # Before the look: what the garbage collector wakes from now on would wait for as long as the loop does.
        self._thread_id = None
        self.pass_on()

    def pass_on(self) -> None:
        """Wakes the next thread, and further ones until one of them passes on: as long as any are due, one will."""
        due = self._due
        if not due:
            return
        is_late = time.monotonic() - self._due_since >= RELAY_SECONDS
        while due:
            try:
                wake = due.popleft()
            except IndexError:  # another thread has been faster
                return
            if wake() and not is_late:
                return


wake_relay: ProcessLocal[WakeRelay] = ProcessLocal(WakeRelay)
"""That of the process's background loop."""


class Wake:
    """A thread waits for it, and any other sets it. Set several times before the thread looks, it counts once."""

    __slots__ = ("_is_awaited", "_lock")

    def __init__(self) -> None:
        # Looked up now and not at import: gevent patches the module later than that.
        self._lock = lock = threading.Lock()
        lock.acquire()
        self._is_awaited = False

    def wait(self, timeout: float = -1) -> bool:
        """Waits until it is set, and has it no longer set. Returns False if that takes longer than a timeout."""
        self._is_awaited = True
        try:
            return self._lock.acquire(timeout=timeout)
        finally:
            self._is_awaited = False
            wake_relay.get().pass_on()

    def set(self, _chunk: bytes | None = None, _count: int = 0) -> None:
        """Ends the wait of the thread, or the next one that it begins. Waits for nothing itself.

        Takes what any lasting waiter of a `StreamSource` is called with: the thread reads it.
        """
        if self._lock.locked():
            wake_relay.get().wake(self._release)

    def _release(self) -> bool:
        try:
            self._lock.release()
        except RuntimeError:  # it has been set meanwhile
            return False
        # A thread that does something else, such as to send to a slow client, must not keep the others waiting.
        return self._is_awaited
