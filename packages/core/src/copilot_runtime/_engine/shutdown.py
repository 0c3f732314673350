"""Ends this process's runs and streams before its server, or the process itself, cuts them."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .._concurrency import driver, loops
from .._concurrency.loop_resources import loop_resources
from .._concurrency.server_shutdown import ServerShutdown, note_quick_shutdown, server_shutdown, waits_at_exit
from .endings import INTERRUPTED
from .persistence import FINISH_RETRY_SECONDS
from .run import Run
from .run_end_notifier import RunEndNotifier
from .subscribers import LoopFilter, Subscribers

logger = logging.getLogger("copilot_runtime.engine")

AGENT_SECONDS = 1.0
"""How long an agent has to react to being stopped once its grace period is over."""

MIN_STORE_SECONDS = 1.0
STORE_SECONDS = FINISH_RETRY_SECONDS
"""How long the ends of runs have to be stored: the first if the server waits no longer. Streams whose runs cannot be
stored in that time end in an error."""

SEND_SECONDS = 1.0
"""How long the ends of streams have to be sent."""

CHECK_SECONDS = 0.05
"""How often the server is looked at while runs begin, or are active on an event loop. A uvicorn without connections
takes at least 0.1 seconds until it no longer waits for anything."""


class ShuttingDown(Exception):
    """No run begins any more: the runtime, or its server, is shutting down."""


class EndTimes(NamedTuple):
    """When a run that does not end by itself is ended, by the monotonic clock."""

    stop: float
    """When its agent is asked to end."""
    force: float
    """When it ends, whatever its agent does."""
    store: float
    """When nobody waits any longer for its end to be stored."""
    server: float | None
    """When the server no longer waits; None for never."""


def is_open(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether a loop is open."""
    return not loop.is_closed()


class Shutdown:
    """Ends runs and streams, and refuses new ones meanwhile.

    A stream that breaks off looks like success to a client (HTTP/1.0, and many proxies), so each gets a terminal event.
    A server that waits for its open responses is not kept waiting by them for long either.

    Args:
        grace_seconds: how long runs may take to end by themselves.
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
        self._grace_seconds = grace_seconds
        self._runs = runs
        self._subscribers = subscribers
        self._run_end_notifier = run_end_notifier
        self._active_count = 0
        """How many calls of `end` are at work."""
        self._noticed_at: float | None = None
        """When the server was first seen to shut down, by the monotonic clock."""
        self._look_at = 0.0
        """When `refuses_runs` is to look at it again: at each call while it shuts down, or runs are being ended."""
        self._ending: asyncio.Task[None] | None = None
        self._is_refusing = False
        """Whether runs are refused anywhere. A set of weak references would have to be counted for each run."""
        self._refuses_threads = False
        self._refusing_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    @property
    def is_active(self) -> bool:
        """Whether runs are being ended. That their readers leave is then no reason to stop them."""
        return self._active_count > 0

    def refuses_runs(self) -> bool:
        """Returns whether no further run may begin on this event loop, or for this worker thread."""
        if self._is_refusing:
            is_refused = (
                self._refuses_threads if loops.in_sync_driver() else asyncio.get_running_loop() in self._refusing_loops
            )
            if is_refused:
                return True
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + CHECK_SECONDS  # before the look, since another thread may begin to end runs meanwhile
        server = self._look()
        if server is not None or self._active_count:
            self._look_at = 0.0
        return self._active_count > 0 if server is None else not server.accepts_requests

    def refuse_runs(self) -> None:
        """Refuses further runs from now on, and not only while runs are being ended.

        That is where the caller is, on its event loop or on worker threads, and where runs are active: another loop is
        that of another server, such as a test's.
        """
        self._refusing_loops.update(run.loop for run in self._runs())
        if not loops.in_sync_driver():
            self._refusing_loops.add(asyncio.get_running_loop())
        if loops.in_sync_driver() or loops.running_background_loop() in self._refusing_loops:
            self._refuses_threads = True
        self._is_refusing = True

    def accept_runs(self) -> None:
        """Accepts runs again: a server starts to serve them."""
        self._is_refusing = self._refuses_threads = False
        self._refusing_loops.clear()

    async def end(
        self,
        grace_seconds: float | None = None,
        of_loop: LoopFilter = is_open,
        *,
        exiting_since: float | None = None,
    ) -> None:
        """Ends the runs of some loops, and their streams.

        Args:
            grace_seconds: how long runs may take to end by themselves; None for the configured time, counted from when
                the server was seen to shut down, and for no longer than it waits.
            of_loop: which loops.
            exiting_since: when the process began to exit, by the monotonic clock; None if it does not.
        """
        times = self._end_times(grace_seconds, exiting_since)
        self._active_count += 1
        self._look_at = 0.0
        try:
            await self._wait_ended(of_loop, times.stop)
            for run in self._active_runs(of_loop):
                run.stop_threadsafe(INTERRUPTED)
            await self._wait_ended(of_loop, times.force)
            for run in self._active_runs(of_loop):
                run.stop_threadsafe(INTERRUPTED)  # it may have begun meanwhile
                run.force_stop_threadsafe()
            await self._wait_ended(of_loop, times.store)
            await self._run_end_notifier.drain(of_loop, times.store)
            await self._subscribers.close_all(of_loop, time.monotonic() + SEND_SECONDS)
            await loop_resources.close_all(of_loop, times.server, is_exiting=exiting_since is not None)
        finally:
            self._active_count -= 1

    def end_at_exit(self, of_loop: LoopFilter, exiting_since: float) -> None:
        """Does the same on a thread of a process that exits. Ctrl+C ends the runs at once."""
        grace_seconds = None if waits_at_exit() else 0.0
        runs = self._active_runs(of_loop)
        left = self._end_times(grace_seconds, exiting_since).stop - time.monotonic()
        if runs and left > CHECK_SECONDS:
            text = "the process ends in %.1f seconds, since %d runs are active; Ctrl+C ends them at once"
            logger.warning(text, left, len(runs))
        try:
            driver.run_sync(self.end(grace_seconds, of_loop, exiting_since=exiting_since))
        except (KeyboardInterrupt, SystemExit):
            note_quick_shutdown()  # for the other runtimes of the process
            driver.run_sync(self.end(0.0, of_loop, exiting_since=exiting_since))

    def check_server(self) -> None:
        """Has runs end in time if the server waits for its open responses in order to shut down; called on a loop."""
        server = self._look()
        if server is None:
            return
        if self._ending is None or self._ending.done() or self._ending.get_loop().is_closed():
            self._ending = asyncio.ensure_future(self.end())
            server.wait_for(self._ending)

    def after_fork(self) -> None:
        """Forgets what the parent process was doing."""
        self._active_count, self._noticed_at, self._ending = 0, None, None
        self.accept_runs()

    def _look(self) -> ServerShutdown | None:
        server = server_shutdown()
        if server is None:
            self._noticed_at = None
        elif self._noticed_at is None:
            self._noticed_at = time.monotonic()
            self._look_at = 0.0
        return server

    def _end_times(self, grace_seconds: float | None, exiting_since: float | None) -> EndTimes:
        server, now = self._look(), time.monotonic()
        agent_seconds = min(AGENT_SECONDS, self._grace_seconds)
        limits = []
        if server is not None and self._noticed_at is not None:
            limits.append((self._noticed_at, server.limit_seconds))
            if exiting_since is not None:
                limits.append((exiting_since, server.exit_seconds))
        ends = [since + limit for since, limit in limits if limit is not None]
        if grace_seconds is not None:
            stop = now + grace_seconds
        else:
            began_at = next((at for at in (self._noticed_at, exiting_since) if at is not None), now)
            stop = began_at + self._grace_seconds
        if not ends:
            force = max(stop, now) + agent_seconds
            return EndTimes(stop, force, force + STORE_SECONDS, None)
        end, reserved = min(ends), AGENT_SECONDS + MIN_STORE_SECONDS + SEND_SECONDS
        if server is not None and server.accepts_requests:
            # Its last request has just come. However little time there is, a run may begin with it.
            reserved = min(reserved, 2 / 3 * (server.limit_seconds or 0.0))
        stop = min(stop, end - reserved)
        if server is not None and server.limit_seconds:
            agent_seconds = min(agent_seconds, server.limit_seconds / 3)
        force = max(stop, now) + agent_seconds
        store = max(force + MIN_STORE_SECONDS, min(force + STORE_SECONDS, end - SEND_SECONDS))
        return EndTimes(stop, force, store, end)

    def _active_runs(self, of_loop: LoopFilter) -> list[Run]:
        return [run for run in self._runs() if of_loop(run.loop) and not run.log.ended]

    async def _wait_ended(self, of_loop: LoopFilter, deadline: float) -> None:
        while (runs := self._active_runs(of_loop)) and time.monotonic() < deadline:
            for run in runs:
                await run.wait_ended(deadline)
