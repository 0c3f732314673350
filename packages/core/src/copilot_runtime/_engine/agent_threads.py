"""The OS threads on which synchronous agents run: a limited number, for which further runs wait."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable

from .._concurrency import loops
from .._concurrency.process_local import process_rlock

logger = logging.getLogger("copilot_runtime.engine")


class _Waiter:
    """A run that waits for a thread, on its event loop."""

    __slots__ = ("future", "is_granted", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.is_granted = False

    def grant(self) -> bool:
        """Lets the run go on. Returns False if its loop is closed."""
        self.is_granted = True
        return loops.call_soon_threadsafe(self.loop, self._resolve)

    def _resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class AgentThreads:
    """Starts an OS thread for each synchronous agent, at most ``limit`` at the same time; None is no limit.

    Runs that wait get the next free thread in the order of their arrival, but one of each user in turn, so that the
    waiting runs of one user do not delay those of another. A thread is free when its agent has returned, which may be
    long after the end of the run if the agent does not heed a stop.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._busy = 0
        self._has_logged = False
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        """By owner of the run, the owner whose turn is next first."""
        # Reentrant: a task that is garbage-collected while it waits leaves the queue wherever that happens.
        self._lock = process_rlock()

    @property
    def is_exhausted(self) -> bool:
        """Whether the next run has to wait."""
        return self.limit is not None and self._busy >= self.limit

    async def start(self, work: Callable[[], None], owner: str, *, name: str) -> None:
        """Runs ``work``, which must not raise, on a thread of its own, as soon as one is free.

        Raises CancelledError if the run is cancelled meanwhile; then ``work`` is not called.
        """
        await self._acquire(owner)

        def work_and_release() -> None:
            try:
                work()
            finally:
                self._release()

        try:
            loops.start_thread(work_and_release, name=name)
        except BaseException:  # such as "can't start new thread"
            self._release()
            raise

    async def _acquire(self, owner: str) -> None:
        with self._lock.get():
            if not self.is_exhausted:
                self._busy += 1
                return
            waiter = _Waiter(asyncio.get_running_loop())
            self._waiting.setdefault(owner, deque()).append(waiter)
        if not self._has_logged:
            self._has_logged = True
            logger.warning(
                "all %s OS threads for synchronous agents are busy, so that further runs of such agents wait: raise "
                "max_agent_threads, or make the agents asynchronous (this is logged once)",
                self.limit,
            )
        try:
            await waiter.future
        except BaseException:
            self._leave(owner, waiter)
            raise

    def _leave(self, owner: str, waiter: _Waiter) -> None:
        with self._lock.get():
            if waiter.is_granted:
                self._release()
                return
            queue = self._waiting[owner]
            queue.remove(waiter)
            if not queue:
                del self._waiting[owner]

    def _release(self) -> None:
        """Hands the thread's place on to a run that waits, or else counts it as free."""
        with self._lock.get():
            while self._waiting:
                owner, queue = next(iter(self._waiting.items()))
                waiter = queue.popleft()
                if queue:
                    self._waiting.move_to_end(owner)
                else:
                    del self._waiting[owner]
                if waiter.grant():
                    return
            self._busy -= 1

    def after_fork(self) -> None:
        """Starts without threads and waiting runs in a child process."""
        self._busy, self._lock = 0, process_rlock()
        self._waiting.clear()
