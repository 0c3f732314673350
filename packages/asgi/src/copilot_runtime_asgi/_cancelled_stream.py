"""The end of a stream that the server cancels: one that breaks off looks like success to a client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from copilot_runtime import CopilotRuntime
from copilot_runtime.adapters import StreamSource

from ._asgi_types import Message, Send

CANCELLED_SECONDS = 0.5
"""How long a stream that was cancelled waits for the server to announce that it shuts down."""

SEND_SECONDS = 1.0
"""How long the end of a stream that was cancelled may take to be sent."""


async def send_end(
    source: StreamSource, send_rest: Callable[[Send], Awaitable[None]], send: Send, runtime: CopilotRuntime
) -> bool:
    """Sends what a cancelled stream still has, and an end.

    Returns whether the server shuts down. uvicorn and hypercorn cancel what is still open after their graceful timeout,
    and a CancelledError would fill their logs. Whatever else cancels, such as `asyncio.timeout`, relies on one.

    Args:
        source: what the stream is read from.
        send_rest: sends the rest of it.
        send: the server's.
        runtime: the runtime whose stream it is.
    """
    cutter = None
    try:
        async with asyncio.timeout(None) as limit:  # a client that does not read would hold up `send` for good
            cutter = _Cutter(source, limit, send, runtime)
            try:
                await send_rest(cutter.send)
            except asyncio.CancelledError:
                if not limit.expired():  # cancelled again: the event loop is closed, or this is one of anyio's scopes
                    cutter.cut()
                    await send_rest(send)
                raise
            finally:
                cutter.cancel()
    except TimeoutError:
        pass
    return cutter is not None and cutter.has_shut_down


class _Cutter:
    """Cuts a stream off whose run is not about to end."""

    def __init__(self, source: StreamSource, limit: asyncio.Timeout, send: Send, runtime: CopilotRuntime) -> None:
        self.has_shut_down = runtime.is_shutting_down
        self._source = source
        self._limit = limit
        self._send = send
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(CANCELLED_SECONDS, self._check)

    async def send(self, message: Message) -> None:
        """Sends a message, and looks whether the server shuts down: the shutdown is still at work then."""
        self._is_shutting_down()
        await self._send(message)

    def cut(self) -> None:
        """Has the stream end with an error, within a limited time."""
        self._source.cut()
        self._limit.reschedule(self._loop.time() + SEND_SECONDS)

    def cancel(self) -> None:
        self._timer.cancel()

    def _is_shutting_down(self) -> bool:
        is_shutting_down = self._runtime.is_shutting_down
        self.has_shut_down = self.has_shut_down or is_shutting_down
        return is_shutting_down

    def _check(self) -> None:
        if self._is_shutting_down():  # and its run is about to end
            self._timer = self._loop.call_later(CANCELLED_SECONDS, self._check)
        else:
            self.cut()
