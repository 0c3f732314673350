"""Sends a message for a task that waits, in the turn of the event loop in which there is something to send."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio.tasks import _enter_task, _leave_task
from typing import Any

from copilot_runtime.adapters import FirstStep

from ._asgi_types import Message, Send


class PushedMessage:
    """A message for which a server's `send` is still waiting, or has raised.

    Args:
        step: the first step of `send`.
        error: what it has raised instead.
        is_last: whether it was the last message.
    """

    __slots__ = ("_error", "_step", "is_last")

    def __init__(self, step: FirstStep[None] | None, error: BaseException | None, *, is_last: bool) -> None:
        self._step = step
        self._error = error
        self.is_last = is_last

    @property
    def is_waiting(self) -> bool:
        """Whether `send` is still waiting."""
        return self._step is not None and not self._step.is_done

    async def wait(self) -> None:
        """Waits until `send` has returned, and raises what it raises. To be called once."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame
        if self._step is not None and not self._step.is_done:
            await self._step


class MessagePusher:
    """Pushes messages for a task while that waits.

    To wake a task takes a future, a callback and a turn of the event loop, which is half of what an event of a paced
    run costs otherwise. `send` rarely waits, so its first step is usually all of it. It is taken as the task's own: as
    the current task, for the timeouts and cancel scopes of middleware, and in its context, for what middleware sets
    before a message and resets after it, which no other context lets it do.

    Args:
        task: the task, which is the current one.
        send: the server's.
    """

    __slots__ = ("_context", "_loop", "_send", "_task")

    def __init__(self, task: asyncio.Task[object], send: Send) -> None:
        self._task = task
        self._loop = task.get_loop()
        self._context: contextvars.Context | None = None
        self._send = send

    def is_ready(self) -> bool:
        """Returns whether a message may be pushed now. To be asked before anything is read for one."""
        if self._context is None:
            self._context = _context_of(self._task)
        return self._context is not None

    def push(self, message: Message, *, is_last: bool) -> PushedMessage | None:
        """Begins to send a message, on the event loop, from any other task or callback. Raises nothing.

        Returns None if it has been sent and was not the last one.
        """
        loop, task, context = self._loop, self._task, self._context
        assert context is not None, "is_ready was True"
        current = asyncio.current_task(loop)
        if current is not None:
            _leave_task(loop, current)
        _enter_task(loop, task)
        try:
            # `send` may be a plain function, which is called in the context as well.
            step = context.run(_take_first_step, self._send, message)
        except BaseException as error:
            return PushedMessage(None, error, is_last=is_last)
        finally:
            _leave_task(loop, task)
            if current is not None:
                _enter_task(loop, current)
        return None if step is None and not is_last else PushedMessage(step, None, is_last=is_last)


def _take_first_step(send: Send, message: Message) -> FirstStep[None] | None:
    return FirstStep.take(send(message))


def _context_of(task: Any) -> contextvars.Context | None:
    """Returns the context of a task that waits, and not a copy of it; None if it cannot be found out."""
    if hasattr(task, "get_context"):
        return task.get_context()  # type: ignore[no-any-return]
    # Before Python 3.12, only the future that the task waits for has it: it wakes the task in it.
    callbacks: list[tuple[Any, contextvars.Context]] = getattr(task._fut_waiter, "_callbacks", None) or []
    return callbacks[0][1] if len(callbacks) == 1 else None
