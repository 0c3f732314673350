"""Sessions that outlast the run that has opened them."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence

from .session_task import SessionTask

CLOSE_TIMEOUT_SECONDS = 2.0
_PROGRAM_TIMEOUT_SECONDS = 10.0
"""How long programs may take at shutdown: they are asked to end, and killed if they do not."""
_MAX_IDLE = 256
"""How many sessions of one server are kept while no run uses them. Of more, those idle the longest are closed."""


@dataclasses.dataclass(slots=True, eq=False)
class KeptSession:
    """A session, and how many runs use it."""

    key: Hashable
    session: SessionTask
    users: int = 0
    timer: asyncio.TimerHandle | None = None


class KeptSessions:
    """The sessions of one server on one event loop, by what has to be the same for runs that share one."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, KeptSession] = {}

    def acquire(self, key: Hashable, open_session: Callable[[], SessionTask]) -> KeptSession:
        """Returns the session of a key, which is opened if there is none that is usable."""
        kept = self._kept.get(key)
        if kept is None or not kept.session.is_usable:
            if kept is not None:
                self._forget(kept)
            # In an empty context: it is not part of the run that opens it.
            kept = self._kept[key] = KeptSession(key, contextvars.Context().run(open_session))
            kept.session.on_retire = functools.partial(self._forget, kept)
        self._stop_timer(kept)
        kept.users += 1
        return kept

    def release(self, kept: KeptSession, seconds: float) -> None:
        """Ends the use of a session, which is closed unless it is used again within some seconds."""
        kept.users -= 1
        if kept.users > 0:
            return
        if self._kept.get(kept.key) is not kept:
            kept.session.close()
            return
        kept.timer = asyncio.get_running_loop().call_later(seconds, self._forget, kept)
        # Moved to the end, so that the first idle one is the one that is idle longest.
        self._kept[kept.key] = self._kept.pop(kept.key)
        idle = [each for each in self._kept.values() if each.users == 0]
        for old in idle[: len(idle) - _MAX_IDLE]:
            self._forget(old)

    def discard(self, kept: KeptSession) -> None:
        """Ends the use of a session that is of no use. Runs that already use it may find that it is."""
        kept.users -= 1
        self._forget(kept)

    def _forget(self, kept: KeptSession) -> None:
        """Has no further run use a session, and closes it if none does."""
        self._stop_timer(kept)
        if self._kept.get(kept.key) is kept:
            del self._kept[kept.key]
        if kept.users == 0:
            kept.session.close()

    def _stop_timer(self, kept: KeptSession) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None

    async def aclose(self) -> None:
        """Closes all sessions, also those in use."""
        sessions = [kept.session for kept in self._kept.values()]
        for kept in list(self._kept.values()):
            self._forget(kept)
            kept.session.close()
        await close_all(sessions)
        programs = [session.task for session in sessions if session.program is not None and not session.task.done()]
        if programs:
            await asyncio.wait(programs, timeout=_PROGRAM_TIMEOUT_SECONDS)


async def close_all(sessions: Sequence[SessionTask]) -> None:
    """Waits until sessions are closed, and cancels those that do not close in time.

    But not those of programs: to be cancelled a second time is what keeps the SDK from ending a program that does not
    end of its own accord. It needs a few seconds for that, which no run waits for.
    """
    if not sessions:
        return
    try:
        await asyncio.wait([session.task for session in sessions], timeout=CLOSE_TIMEOUT_SECONDS)
    finally:
        for session in sessions:
            if session.program is None:
                session.task.cancel()
