"""Waits for a client to disconnect, for as long as its response is sent."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from types import CoroutineType
from typing import Any

from copilot_runtime.adapters import FirstStep, awaited

from ._asgi_types import Message, Receive
from ._received_body import receive_next, wait_for_disconnect

_WATCHER_NAME = "copilot-runtime-watcher"
"""Of the tasks that wait for a client to disconnect. A default name would be another string for each."""


class ClientWatcher:
    """Base of a response that ends once its client has disconnected, which only `receive` says of a quiet stream.

    Thousands of streams may be idle, and the `receive` of most servers waits for a mere future: that takes no task
    until the future is done. Whatever else waits has a task from the start.

    Args:
        receive: the server's.
        has_body_ended: whether it has returned all of the request's body.
    """

    __slots__ = ("_has_body_ended", "_receive", "_signal", "_watcher", "_watching_context")

    _signal: asyncio.Future[Any]
    """What ``_watcher`` waits for if that is a coroutine."""
    _watching_context: contextvars.Context
    """In which it waits."""

    def __init__(self, receive: Receive, *, has_body_ended: bool) -> None:
        self._receive = receive
        self._has_body_ended = has_body_ended
        self._watcher: Coroutine[Any, Any, Message] | asyncio.Task[Message | None] | None = None
        """What waits. A coroutine if it waits for ``_signal`` without a task."""
        self._signal: asyncio.Future[Any] | None = None
        self._watching_context: contextvars.Context | None = None
        """In which it waits."""

    def _close(self) -> None:
        """Ends the response: the client has disconnected."""
        raise NotImplementedError

    def _watch_client(self) -> None:
        """Begins to wait. Called by the event loop, and not in a task."""
        self._watching_context = contextvars.copy_context()
        try:
            if self._has_body_ended:
                waiting = receive_next(self._receive)
                if type(waiting) is CoroutineType:
                    if self._begin_without_task(waiting):
                        return
                    waiting = receive_next(self._receive)
                self._watch_in_task(waiting)
            else:
                self._watch_in_task(wait_for_disconnect(self._receive, has_body_ended=False))
        except BaseException:
            self._close()  # as if that had been raised later
            raise

    def _begin_without_task(self, waiting: Coroutine[Any, Any, Message]) -> bool:
        """Takes the first step of a coroutine. Returns False if it fails: what wraps a server's may need a task."""
        context = self._watching_context
        try:
            signal = context.run(waiting.send, None)
        except StopIteration as stop:
            self._handle(stop.value)
        except (Exception, asyncio.CancelledError):
            return False
        else:
            if type(signal) is asyncio.Future and signal._asyncio_future_blocking:
                signal._asyncio_future_blocking = False  # as a task does
                self._watcher, self._signal = waiting, signal
                signal.add_done_callback(self._signalled, context=context)
            else:
                self._watch_in_task(awaited(FirstStep.taken(waiting.__await__(), signal)))
        return True

    def _signalled(self, _: asyncio.Future[Any]) -> None:
        waiting = self._watcher
        if waiting is not None and not isinstance(waiting, asyncio.Task):
            self._watch_in_task(waiting)

    def _watch_in_task(self, waiting: Coroutine[Any, Any, Message | None]) -> None:
        # Not by `create_task`: the loop may have a factory of tasks that takes no context.
        loop, context = asyncio.get_running_loop(), self._watching_context
        watcher = asyncio.Task(waiting, loop=loop, name=_WATCHER_NAME, context=context)
        self._watcher = watcher
        watcher.add_done_callback(self._received, context=context)

    def _received(self, watcher: asyncio.Task[Message | None]) -> None:
        if watcher is not self._watcher and watcher.cancelled():
            return  # the response is over, which has cancelled it
        try:
            message = None if watcher.cancelled() else watcher.result()
        except BaseException:
            self._close()
            raise
        self._handle(message if watcher is self._watcher else None)

    def _handle(self, message: Message | None) -> None:
        """Ends the response after the last message, or waits for the next one."""
        if message is None or message["type"] == "http.disconnect":
            self._close()
        else:
            self._watch_in_task(wait_for_disconnect(self._receive, has_body_ended=True, message=message))

    def _has_disconnected(self) -> bool:
        """Whether the client is known to have disconnected, also if `_received` has yet to be called."""
        watcher = self._watcher
        if not isinstance(watcher, asyncio.Task) or not watcher.done():
            return False
        message = None if watcher.cancelled() or watcher.exception() else watcher.result()
        return message is None or message["type"] == "http.disconnect"

    def _stop_watching(self) -> None:
        """Ends the wait: the response is over."""
        watcher, self._watcher = self._watcher, None
        if isinstance(watcher, asyncio.Task):
            watcher.cancel()
        elif watcher is not None:
            self._signal.remove_done_callback(self._signalled)
            self._signal.cancel()
            self._cancel(watcher)

    def _cancel(self, waiting: Coroutine[Any, Any, Message]) -> None:
        """Has a coroutine notice that it is cancelled, as its task would."""
        try:
            signal = self._watching_context.run(waiting.throw, asyncio.CancelledError())
        except (StopIteration, asyncio.CancelledError):
            pass
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "receive() failed as its response had ended", "exception": error}
            )
        else:
            self._watch_in_task(awaited(FirstStep.taken(waiting.__await__(), signal)))
            self._watcher = None
