"""Sessions that outlast the run that has opened them."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Callable, Hashable

from .session_task import SessionTask

CLOSE_TIMEOUT_SECONDS = 2.0
_MAX_IDLE = 256
"""How many sessions of one server are kept while no run uses them. Of more, those idle the longest are closed."""


@dataclasses.dataclass(slots=True)
class _Kept:
    session: SessionTask
    users: int = 0
    timer: asyncio.TimerHandle | None = None


class KeptSessions:
    """The sessions of one server on one event loop, by what has to be the same for runs that share one."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept] = {}

    def acquire(self, key: Hashable, open_session: Callable[[], SessionTask]) -> SessionTask:
        """Returns the session of a key, which is opened if there is none that is usable."""
        kept = self._kept.get(key)
        if kept is None or not kept.session.is_usable:
            if kept is not None:
                self._close(key, kept)
            # In an empty context: it is not part of the run that opens it.
            kept = self._kept[key] = _Kept(contextvars.Context().run(open_session))
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        kept.users += 1
        return kept.session

    def release(self, key: Hashable, session: SessionTask, seconds: float) -> None:
        """Ends the use of a session, which is closed unless it is used again within some seconds."""
        kept = self._kept.get(key)
        if kept is None or kept.session is not session:
            return
        kept.users -= 1
        if kept.users == 0:
            kept.timer = asyncio.get_running_loop().call_later(seconds, self._close, key, kept)
            # Moved to the end, so that the first idle one is the one that is idle longest.
            self._kept[key] = self._kept.pop(key)
            idle = [(key, kept) for key, kept in self._kept.items() if kept.users == 0]
            for old in idle[: len(idle) - _MAX_IDLE]:
                self._close(*old)

    def _close(self, key: Hashable, kept: _Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
        if self._kept.get(key) is kept:
            del self._kept[key]
        kept.session.close()

    async def aclose(self) -> None:
        """Closes all sessions, also those in use."""
        kept = list(self._kept.items())
        for each in kept:
            self._close(*each)
        await close_all([each.session.task for _, each in kept])


async def close_all(tasks: list[asyncio.Task[None]]) -> None:
    """Waits until sessions are closed, and cancels those that do not close in time."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
