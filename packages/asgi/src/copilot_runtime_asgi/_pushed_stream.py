"""Sends what a stream has ready for a task that waits, in the turn of the event loop in which it has become ready."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import _get_running_loop
from collections.abc import Awaitable
from typing import Any

from copilot_runtime.adapters import AsyncStreamIterator, FirstStep, StreamSource, awaited

from ._asgi_types import Send
from ._current_task import current_tasks

_DONE = object()
"""What no awaitable signals."""


class PushedMessage:
    """A message for which a server's `send` is still waiting, or has raised.

    Args:
        step: the first step of `send`.
        error: what it has raised instead.
    """

    __slots__ = ("_error", "_step")

    def __init__(self, step: FirstStep[None] | None, error: BaseException | None = None) -> None:
        self._step = step
        self._error = error

    @property
    def is_waiting(self) -> bool:
        """Whether `send` is still waiting."""
        return self._step is not None

    async def wait(self) -> None:
        """Waits until `send` has returned, and raises what it raises. To be called once."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame
        if self._step is not None:
            await self._step


class PushedStream(AsyncStreamIterator):
    """Waits for a source in a task, and sends what has come meanwhile without waking it.

    To wake a task takes a future, a callback and a turn of the event loop, which is half of what an event of a paced
    run costs otherwise. `send` rarely waits, so its first step is usually all of it. It is taken as the task's own: as
    the current task, for the timeouts and cancel scopes of middleware, and in its context, for what middleware sets
    before a message and resets after it, which no other context lets it do.

    Args:
        source: the source.
        task: the task, which is the current one. Nothing is pushed if a server runs its applications without.
        send: the server's.
    """

    __slots__ = ("_context", "_count", "_pushed", "_pushing_context", "_send", "_task")

    _loop: asyncio.AbstractEventLoop

    def __init__(self, source: StreamSource, task: asyncio.Task[Any] | None, send: Send) -> None:
        super().__init__(source)
        self._loop = asyncio.get_running_loop()
        self._task: Any = task
        self._send = send
        self._context: contextvars.Context | None = getattr(task, "get_context", _no_context)()
        """That of the task, and not a copy of it, once it is known."""
        self._pushing_context: contextvars.Context | None = None
        """The same while the task waits and what comes is to be pushed."""
        self._pushed: PushedMessage | None = None
        self._count = 0
        """How many pieces had come in all when something was last pushed; 0 once the source knows."""

    @property
    def has_pushed(self) -> bool:
        """Whether something has been pushed that leaves something to do for the task, which has been woken for it."""
        return self._pushed is not None

    @property
    def is_sending(self) -> bool:
        """Whether something has been pushed for which `send` still waits."""
        return self._pushed is not None and self._pushed.is_waiting

    async def finish_pushed(self) -> None:
        """Waits until what has been pushed is sent, and raises what `send` raises."""
        pushed, self._pushed = self._pushed, None
        if pushed is not None:
            await pushed.wait()

    def wait_pushed(self, size: int) -> Awaitable[None] | None:
        """Returns what to wait for, as `wait` does. What comes meanwhile is sent for as long as `send` does not wait.

        Whoever is cancelled while it waits calls `stop_pushing`.
        """
        waiting = self.wait(size, is_lasting=True)
        if waiting is not None and waiting is self._future and self._source.is_pushed:
            self._pushing_context = self._context
        return waiting

    def stop_pushing(self) -> None:
        """Has nothing more pushed: the task does not wait any longer."""
        self._pushing_context = None
        self._mark_pushed()

    def _mark_pushed(self) -> None:
        if self._count:
            count, self._count = self._count, 0
            self._source.mark_pushed(count)

    def _notify(self, chunk: bytes | None = None, count: int = 0) -> None:
        context, loop = self._pushing_context, self._loop
        if context is None or self._is_notifying or _get_running_loop() is not loop:
            super()._notify()
            return
        # What `send` itself causes, even by way of another stream, comes after the message that it is sending.
        self._pushing_context = None
        current = current_tasks.get(loop)
        current_tasks[loop] = self._task
        try:
            if chunk is None:  # such as for what another thread has added
                self._mark_pushed()
                chunk = self._source.read_more()
            else:
                self._count = count
            if chunk is not None:
                message = {"type": "http.response.body", "body": chunk, "more_body": True}
                # `send` may be a plain function, which is called in the context as well.
                sending = context.run(self._send, message)
                try:
                    rest: Any = sending.__await__()
                except AttributeError:
                    rest = awaited(sending).__await__()
                signal = context.run(next, rest, _DONE)
                if signal is _DONE:
                    if self._future is not None:  # and `send` has not caused more
                        self._pushing_context = context
                    return
                self._pushed = PushedMessage(FirstStep.taken(rest, signal))
        except BaseException as error:
            self._pushed = PushedMessage(None, error)
        finally:
            if current is None:
                del current_tasks[loop]
            else:
                current_tasks[loop] = current
        self._wake()
        if self._pushed is not None:
            self._source.mark_sending()

    def _wake(self) -> None:
        self.stop_pushing()
        if self._context is None and self._task is not None:
            self._context = _waking_context(self._future)
        super()._wake()


def _no_context() -> None:
    """What a task has to say of its context before Python 3.12."""


def _waking_context(future: Any) -> contextvars.Context | None:
    """Returns the context in which a future is to wake the task that waits for it; None if no task does."""
    callbacks: list[tuple[Any, contextvars.Context]] = getattr(future, "_callbacks", None) or []
    return callbacks[0][1] if len(callbacks) == 1 else None
