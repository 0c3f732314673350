"""The process of a server that a session starts: it ends with the session, whatever becomes of the SDK's tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio.abc

_SECONDS = 1.0
"""How long a process may take to end when its event loop is closed: after the end of its input, and after SIGTERM."""


class Program:
    """A process that the SDK starts and ends.

    The SDK gives it four seconds to end before it kills it. An event loop that is closed meanwhile cancels the tasks
    that do so, and then waits forever for the one that reads the output of the process.
    """

    def __init__(self) -> None:
        self._process: anyio.abc.Process | None = None

    @asynccontextmanager
    async def guard(self, transport: Any) -> AsyncGenerator[Any]:
        """Enters a stdio transport of the SDK's, whose process is killed if the event loop is closed meanwhile."""
        has_ended = asyncio.Event()
        guard: asyncio.Task[None] | None = None
        try:
            async with transport as streams:
                # The SDK does not show it. On Windows its processes are of another class, and end with a job object.
                started = transport.gen.ag_frame.f_locals.values()
                self._process = next((each for each in started if isinstance(each, anyio.abc.Process)), None)
                guard = asyncio.create_task(self._end_with_loop(has_ended))
                yield streams
        finally:
            has_ended.set()
            self.kill()
            if guard is not None:
                await asyncio.wait({guard})

    def kill(self) -> None:
        """Kills the process, and what it has started."""
        self._send(signal.SIGKILL)

    async def _end_with_loop(self, has_ended: asyncio.Event) -> None:
        try:
            await has_ended.wait()
        except asyncio.CancelledError:  # by the loop, as nobody else knows this task
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(has_ended.wait(), _SECONDS)
                self._send(number)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)  # the SDK has it lead a group of its own
