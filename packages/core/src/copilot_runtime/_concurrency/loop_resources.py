"""What is open on event loops and has to be closed before the process ends: nobody else would, such as for processes.

Most servers end without their event loops being closed: uvicorn ends with the signal that it has received, and the
background loop is the process's own.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Protocol

from . import driver, loops
from .lifecycle import register_lifecycle
from .periodic import PeriodicTask
from .server_shutdown import ends_by_signal, server_shutdown
from .waiters import Waiters

CHECK_SECONDS = 0.05
"""How often a server that ends by a signal is looked at while something is open."""
RELEASE_SECONDS = 1.0
"""How long a shutdown waits for what runs still use. These have ended, but may still be cleaning up."""
CLOSE_SECONDS = 5.0
"""How long what is being closed may take, unless the server waits no longer."""
MIN_CLOSE_SECONDS = 0.5
KILL_SECONDS = 0.5
"""How long what has been killed may take to be gone."""


class LoopResource(Protocol):
    """Something that is open on an event loop. All members but the loop are used on that loop only."""

    loop: asyncio.AbstractEventLoop

    def __hash__(self) -> int: ...

    @property
    def is_closing(self) -> bool:
        """Whether nobody uses it any more."""

    def retire(self) -> None:
        """Has nobody else use it, and closes it as soon as nobody does."""

    def kill(self) -> None:
        """Closes it without waiting for anything."""


class LoopResources:
    """Everything of this process that is open."""

    def __init__(self) -> None:
        self._open: set[LoopResource] = set()
        self._closed = Waiters()
        self._watched: PeriodicTask[LoopResource] = PeriodicTask(CHECK_SECONDS, self._watch)
        register_lifecycle(self)

    def add(self, resource: LoopResource) -> None:
        """Has a resource closed in time, until `discard`. Called on its loop."""
        self._open.add(resource)
        if ends_by_signal():
            self._watched.add(resource, resource.loop)

    def discard(self, resource: LoopResource) -> None:
        """Forgets a resource, which is closed."""
        self._open.discard(resource)
        self._watched.discard(resource, resource.loop)
        self._closed.notify()

    async def close_all(
        self, of_loop: Callable[[asyncio.AbstractEventLoop], bool], deadline: float | None, *, is_exiting: bool = False
    ) -> None:
        """Closes what is open on some loops, and kills what does not close in time.

        Args:
            of_loop: which loops.
            deadline: when the server no longer waits, by the monotonic clock; None for never.
            is_exiting: whether the process is about to exit, so that what is still in use is killed as well.
        """
        resources = [each for each in list(self._open) if of_loop(each.loop) and each.loop.is_running()]
        if not resources:
            return
        for resource in resources:
            loops.call_soon_threadsafe(resource.loop, resource.retire)
        now = time.monotonic()
        latest = now + CLOSE_SECONDS
        until = latest if deadline is None else max(now + MIN_CLOSE_SECONDS, min(latest, deadline))
        await self._wait_closed(resources, min(now + RELEASE_SECONDS, until))
        resources = [each for each in resources if is_exiting or each.is_closing]
        await self._wait_closed(resources, until)
        for resource in self._open.intersection(resources):
            loops.call_soon_threadsafe(resource.loop, resource.kill)
        await self._wait_closed(resources, time.monotonic() + KILL_SECONDS)

    async def _wait_closed(self, resources: list[LoopResource], deadline: float) -> None:
        await driver.wait_while(lambda: not self._open.isdisjoint(resources), self._closed.add, deadline)

    def _watch(self, resources: list[LoopResource]) -> None:
        """Closes what is open on this loop if its server ends without saying so to the application."""
        server = server_shutdown()
        if server is None:
            return
        loop = asyncio.get_running_loop()
        deadline = None if server.limit_seconds is None else time.monotonic() + server.limit_seconds
        for resource in resources:
            self._watched.discard(resource, loop)
        closing = loop.create_task(self.close_all(lambda other: other is loop, deadline), context=contextvars.Context())
        loops.hold_task(closing)
        server.wait_for(closing)

    def after_fork(self) -> None:
        """Forgets what is the parent process's."""
        self._open.clear()
        self._watched.clear()

    def at_exit(self, exiting_since: float) -> None:
        """Does nothing: engines close what is open once their runs have ended."""


loop_resources = LoopResources()
