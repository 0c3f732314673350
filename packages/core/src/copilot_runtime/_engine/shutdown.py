"""Ends this process's runs and streams before its server, or the process itself, cuts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from .._concurrency.server_shutdown import server_shutdown
from .endings import INTERRUPTED
from .run import Run
from .run_end_notifier import RunEndNotifier
from .subscribers import LoopFilter, Subscribers

AGENT_SECONDS = 1.0
"""How long an agent has to react to being stopped once `shutdown_grace_seconds` have passed."""

STORE_SECONDS = 1.0
"""How long the ends of runs have to be stored. Streams whose runs cannot be stored in that time end in an error."""

SEND_SECONDS = 1.0
"""How long the ends of streams have to be sent."""


def _is_open(loop: asyncio.AbstractEventLoop) -> bool:
    return not loop.is_closed()


class Shutdown:
    """Ends runs and streams.

    A stream that breaks off looks like success to a client (HTTP/1.0, and many proxies), so each gets a terminal event.
    A server that waits for its open responses is not kept waiting by them for long either.

    Args:
        grace_seconds: how long runs may take to end.
        runs: returns the runs of this process.
        subscribers: its streams.
        run_end_notifier: its calls of `on_run_end`.
    """

    def __init__(
        self,
        *,
        grace_seconds: float,
        runs: Callable[[], Sequence[Run]],
        subscribers: Subscribers,
        run_end_notifier: RunEndNotifier,
    ) -> None:
        self.is_active = False
        """Whether runs are being ended. That their readers leave is then no reason to stop them."""
        self._grace_seconds = grace_seconds
        self._runs = runs
        self._subscribers = subscribers
        self._run_end_notifier = run_end_notifier
        self._noticed_at: float | None = None
        """When the server was first seen to shut down, by the monotonic clock."""
        self._ending: asyncio.Task[None] | None = None

    async def end(self, of_loop: LoopFilter = _is_open) -> None:
        """Stops the runs of some loops, gives their agents `shutdown_grace_seconds` to react, and ends all streams."""
        await self._end(of_loop, time.monotonic() + self._grace_seconds)

    def check_server(self) -> None:
        """Has runs end in time if the server waits for its open responses in order to shut down; called on a loop."""
        server = server_shutdown()
        if server is None:
            self._noticed_at = None
            return
        if self._noticed_at is None:
            self._noticed_at = time.monotonic()
        if self._ending is None or self._ending.done() or self._ending.get_loop().is_closed():
            self._ending = asyncio.ensure_future(self._end_in_time(self._noticed_at, server.limit_seconds))
            server.wait_for(self._ending)

    def after_fork(self) -> None:
        """Forgets what the parent process was doing."""
        self.is_active, self._noticed_at, self._ending = False, None, None

    async def _end_in_time(self, noticed_at: float, limit_seconds: float | None) -> None:
        grace, agent_seconds = self._grace_seconds, AGENT_SECONDS
        if limit_seconds is not None:
            grace = max(0.0, min(grace, limit_seconds - AGENT_SECONDS - STORE_SECONDS - SEND_SECONDS))
            if limit_seconds > 0:
                agent_seconds = min(AGENT_SECONDS, limit_seconds / 3)
        agent_seconds = min(agent_seconds, self._grace_seconds)
        if self._subscribers.has_open:
            # First, they may end by themselves.
            for run in self._runs():
                await run.wait_ended(noticed_at + grace)
            deadline = time.monotonic() + agent_seconds
        else:
            deadline = noticed_at + max(grace, agent_seconds)
        await self._end(_is_open, deadline)

    async def _end(self, of_loop: LoopFilter, deadline: float) -> None:
        runs = [run for run in self._runs() if of_loop(run.loop)]
        self.is_active = True
        try:
            for run in runs:
                run.stop_threadsafe(INTERRUPTED)
            for run in runs:
                await run.wait_ended(deadline)
            for run in runs:
                if not run.log.ended:
                    run.force_stop_threadsafe()
            for run in runs:
                await run.wait_ended(deadline + STORE_SECONDS)
            await self._run_end_notifier.drain(of_loop, deadline)
            await self._subscribers.close_all(of_loop, time.monotonic() + SEND_SECONDS)
        finally:
            self.is_active = False  # a runtime may be served again, as tests do
