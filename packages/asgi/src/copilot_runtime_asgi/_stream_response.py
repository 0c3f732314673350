"""Sends a stream as the body of an ASGI response."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any

from copilot_runtime import CopilotRuntime
from copilot_runtime.adapters import StreamSource

from ._asgi_types import Message, Receive, Send
from ._cancelled_stream import send_end
from ._pushed_stream import PushedStream
from ._received_body import receive_next, wait_for_disconnect

_WATCHER_NAME = "copilot-runtime-watcher"
"""Of the tasks that wait for a client to disconnect. A default name would be another string for each."""


class StreamResponse:
    """A response whose body is a stream, unless all of it was sent at once: see `begin_stream`.

    Only once the response has to wait, for its run or for its server, is there a task that waits for the client to
    disconnect, and do timers look at the stream. What comes while it waits for its run is pushed: its own task sleeps
    on.

    Args:
        start: the message with the status and the headers; None once the server has it.
        source: what its body is read from.
        is_endless: whether the stream ends with an event and not by its length.
        has_body_ended: whether all of the request's body has been received.
        receive: the server's, which says when the client has disconnected.
        send: the server's.
        runtime: the runtime that has responded.
    """

    __slots__ = (
        "_chunks",
        "_has_body_ended",
        "_is_endless",
        "_is_resumable",
        "_is_stalled",
        "_receive",
        "_runtime",
        "_send",
        "_source",
        "_start",
        "_task",
        "_watcher",
        "_watching",
    )

    def __init__(
        self,
        start: Message | None,
        source: StreamSource,
        receive: Receive,
        send: Send,
        runtime: CopilotRuntime,
        *,
        is_endless: bool,
        has_body_ended: bool,
    ) -> None:
        self._start = start
        self._source = source
        self._receive = receive
        self._send = send
        self._runtime = runtime
        self._is_endless = is_endless
        self._has_body_ended = has_body_ended
        self._task: asyncio.Task[object] | None = None
        """The task of the response, until its end."""
        self._chunks: PushedStream | None = None
        """What the response waits with, once it has to."""
        self._watching: asyncio.Handle | None = None
        self._watcher: asyncio.Task[Message | None] | None = None
        self._is_stalled = False
        self._is_resumable = False
        """Whether a cancelled response may send what is left. Not while the server sends the headers or the end: it is
        not known whether they have been sent then."""

    async def send(self, *, rest: Awaitable[None] | None, interruption: BaseException | None) -> None:
        """Sends all of it, unless the client disconnects or does not read.

        Args:
            rest: sends what is left, if the last messages are being sent already.
            interruption: what has been raised before, if anything was: above all, a cancellation.
        """
        loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task(loop)
        before = 0 if task is None else task.cancelling()
        try:
            try:
                if interruption is not None:
                    try:
                        raise interruption
                    finally:
                        del interruption  # its traceback has this frame
                # Called at the next turn of the loop, so only if something below has to wait.
                self._watching = loop.call_soon(self._watch)
                if rest is not None:
                    await rest
                    return
                # Each coroutine that waits takes memory, and thousands of streams may be idle: there is none but this.
                while (waiting := await self._send_ready(self._send)) is not None:
                    try:
                        await waiting
                    except asyncio.CancelledError as cancelled:
                        if not self._cancel_pushed(cancelled):
                            raise
            except asyncio.CancelledError:
                is_ours = self._is_stalled and task is not None and task.cancelling() <= before + 1
                if not is_ours and not await self._send_end():
                    raise
        except OSError:
            pass  # the client has disconnected (since ASGI 2.4, `send` raises), or does not read
        finally:
            self._task = None
            self._close()
            if self._watching is not None:
                self._watching.cancel()
            watcher, self._watcher = self._watcher, None
            if watcher is not None:
                watcher.cancel()
            if self._is_stalled and task is not None:
                task.uncancel()

    async def _send_rest(self, send: Send) -> None:
        while (waiting := await self._send_ready(send)) is not None:
            await waiting

    async def _send_ready(self, send: Send) -> Awaitable[None] | None:
        """Sends what is ready, and returns what to wait for before the rest; None at the end."""
        start, self._start = self._start, None
        if start is not None:
            await send(start)
            del start  # which nothing needs while the server is sending the rest
            self._is_resumable = True
        elif not self._is_resumable:
            return None
        source, chunks = self._source, self._chunks
        while True:
            if chunks is not None and chunks.has_pushed:
                await chunks.finish_pushed()
            chunk = source.read_available()
            if chunk is None:
                break
            size = len(chunk)
            if size:
                is_last = source.is_at_end
                self._is_resumable = not is_last
                await send({"type": "http.response.body", "body": chunk, "more_body": not is_last})
                if is_last:
                    return None
            if chunks is None:
                chunks = self._chunks = PushedStream(source, self._task, self._send)
            # Not pushed is what a cancelled stream has left, whose `send` has a time limit.
            waiting = chunks.wait(size) if send is not self._send else chunks.wait_pushed(size)
            if waiting is not None:
                return waiting
        self._is_resumable = False
        await send({"type": "http.response.body", "body": b""})
        return None

    def _cancel_pushed(self, cancelled: asyncio.CancelledError) -> bool:
        """Has a cancellation reach the pushed `send` that waits, which may have a timeout of its own.

        Returns False if none waits.
        """
        task, chunks = self._task, self._chunks
        if chunks is not None:
            chunks.stop_pushing()
        if task is None or chunks is None or not chunks.is_sending:
            return False
        task.uncancel()
        task.cancel(*cancelled.args[:1])  # at its next wait, which is that of the pushed `send`
        return True

    async def _send_end(self) -> bool:
        """Sends the end after a cancellation, if there is one to send. Returns whether the server shuts down."""
        if not self._is_endless:
            return self._runtime.is_shutting_down
        has_client = not (self._is_stalled or self._has_disconnected())
        return has_client and await send_end(self._source, self._send_rest, self._send, self._runtime)

    def _has_disconnected(self) -> bool:
        """Whether the client is known to have disconnected, also if `_received` has yet to be called."""
        watcher = self._watcher
        if watcher is None or not watcher.done():
            return False
        message = None if watcher.cancelled() or watcher.exception() else watcher.result()
        return message is None or message["type"] == "http.disconnect"

    def _watch(self) -> None:
        self._watching = None
        # Not every server makes `send` fail once the client has disconnected, and a quiet stream sends nothing: only
        # `http.disconnect` is immediate.
        try:
            waiting: Coroutine[Any, Any, Message | None] = (
                receive_next(self._receive)
                if self._has_body_ended
                else wait_for_disconnect(self._receive, has_body_ended=False)
            )
        except BaseException:
            self._close()  # as if that had been raised later
            raise
        self._watch_client(waiting)
        self._source.on_stalled(self._abort_threadsafe)

    def _watch_client(self, waiting: Coroutine[Any, Any, Message | None]) -> None:
        # One context for both, as thousands of streams may be idle. Not by `create_task`: the loop may have a factory
        # of tasks that takes none.
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        self._watcher = asyncio.Task(waiting, loop=loop, name=_WATCHER_NAME, context=context)
        self._watcher.add_done_callback(self._received, context=context)

    def _received(self, watcher: asyncio.Task[Message | None]) -> None:
        is_over = watcher is not self._watcher  # the response, which has cancelled it unless it was done
        if is_over and watcher.cancelled():
            return
        rest = None
        try:
            message = None if watcher.cancelled() else watcher.result()
            if not (is_over or message is None or message["type"] == "http.disconnect"):
                rest = wait_for_disconnect(self._receive, has_body_ended=True, message=message)
        finally:
            if rest is None:
                self._close()
            else:
                self._watch_client(rest)

    def _close(self) -> None:
        if self._chunks is None:
            self._source.close()
        else:
            self._chunks.close()  # which ends a wait, too

    def _abort_threadsafe(self) -> None:
        task = self._task
        if task is not None:
            with suppress(RuntimeError):  # the loop is closed
                task.get_loop().call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        """Ends a `send` that waits for a client that does not read."""
        if self._task is not None and not self._is_stalled:
            self._is_stalled = True
            self._task.cancel()
