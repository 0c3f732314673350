"""The OS threads on which synchronous agents run: a limited number, for which further runs wait."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import TypeVar

from .._concurrency import loops
from .._concurrency.process_local import process_rlock

logger = logging.getLogger("copilot_runtime.engine")

T = TypeVar("T")

WARNING_SECONDS = 60.0
"""How long no further warning of runs that wait is logged."""


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
    """Starts an OS thread for each synchronous agent.

    Runs that wait get the next free thread in the order of their arrival, but one of each user in turn, so that the
    waiting runs of one user do not delay those of another. A thread is free when its agent has returned, which may be
    long after the end of the run if the agent does not heed a stop.

    Args:
        limit: how many threads there may be; None for no limit.
        limit_per_user: how many of them agents of one user may keep, so that runs which a user starts and stops do not
            take all of them; None for no limit. Runs without a user are not limited by it.
    """

    def __init__(self, limit: int | None, limit_per_user: int | None = None) -> None:
        self._limit = math.inf if limit is None else limit
        self._limit_per_user = math.inf if limit_per_user is None else limit_per_user
        self._busy = 0
        self._busy_of_users: Counter[str | None] = Counter()
        self._next_warning = 0.0
        self._waiting: OrderedDict[str | None, deque[_Waiter]] = OrderedDict()
        """By user, the one whose turn is next first."""
        # Reentrant: a task that is garbage-collected while it waits leaves the queue wherever that happens.
        self._lock = process_rlock()

    @property
    def busy_count(self) -> int:
        """How many threads there are."""
        return self._busy

    async def start(self, work: Callable[[], None], user: str | None, *, name: str) -> None:
        """Runs ``work``, which must not raise, on a thread of its own, as soon as one is free.

        Raises CancelledError if the run is cancelled meanwhile; then ``work`` is not called.
        """
        await self._acquire(user)
        self._start(work, user, name)

    def start_if_free(self, work: Callable[[], T], user: str | None, *, name: str, then: Callable[[T], object]) -> bool:
        """Runs ``work``, which must not raise, on a thread of its own. Returns False if none can be had now.

        Calls ``then`` there, with the result, once the thread's place is free.
        """
        with self._lock.get():
            if not self._is_free(user):
                return False
            self._take(user)
        try:
            self._start(work, user, name, then)
        except RuntimeError:  # "can't start new thread"
            return False
        return True

    def _start(
        self, work: Callable[[], T], user: str | None, name: str, then: Callable[[T], object] = lambda _: None
    ) -> None:
        def work_and_release() -> None:
            try:
                result = work()
            finally:
                self._release(user)
            then(result)

        try:
            loops.start_thread(work_and_release, name=name)
        except BaseException:  # such as "can't start new thread"
            self._release(user)
            raise

    def _is_free(self, user: str | None) -> bool:
        has_share = user is None or self._busy_of_users[user] < self._limit_per_user
        return has_share and self._busy < self._limit

    def _take(self, user: str | None) -> None:
        self._busy += 1
        self._busy_of_users[user] += 1

    async def _acquire(self, user: str | None) -> None:
        with self._lock.get():
            if self._is_free(user):
                self._take(user)
                return
            waiter = _Waiter(asyncio.get_running_loop())
            self._waiting.setdefault(user, deque()).append(waiter)
        self._warn()
        try:
            await waiter.future
        except BaseException:
            self._leave(user, waiter)
            raise

    def _warn(self) -> None:
        now = time.monotonic()
        if now < self._next_warning:
            return
        self._next_warning = now + WARNING_SECONDS
        if self._busy < self._limit:
            logger.warning(
                "runs of a user wait, since %s synchronous agents of that user have not returned, though their runs "
                "have ended: have agents end when context.stop_requested is true, and use timeouts in them",
                self._limit_per_user,
            )
        else:
            logger.warning(
                "all %s OS threads for synchronous agents are busy, so that further runs of such agents wait: raise "
                "max_agent_threads, make the agents asynchronous, or use timeouts in those that never return",
                self._limit,
            )

    def _leave(self, user: str | None, waiter: _Waiter) -> None:
        with self._lock.get():
            if waiter.is_granted:
                self._release(user)
                return
            queue = self._waiting[user]
            queue.remove(waiter)
            if not queue:
                del self._waiting[user]

    def _release(self, user: str | None) -> None:
        """Hands a thread's place on to a run that waits, if there is one that may have it."""
        with self._lock.get():
            self._busy -= 1
            self._busy_of_users[user] -= 1
            if not self._busy_of_users[user]:
                del self._busy_of_users[user]
            for candidate in filter(self._is_free, list(self._waiting)):
                queue = self._waiting[candidate]
                # Loops may have been closed.
                is_granted = any(queue.popleft().grant() for _ in range(len(queue)))
                if queue:
                    self._waiting.move_to_end(candidate)
                else:
                    del self._waiting[candidate]
                if is_granted:
                    self._take(candidate)
                    return

    def after_fork(self) -> None:
        """Starts without threads and waiting runs in a child process."""
        self._busy, self._lock = 0, process_rlock()
        self._busy_of_users.clear()
        self._waiting.clear()
