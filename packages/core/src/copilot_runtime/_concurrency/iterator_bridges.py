"""Iterators across the border between an event loop and worker threads, one step at a time.

The other side does a step only when the consumer asks for it, as in an iterator on the same side: whoever stops to
iterate can rely on nothing having run after the last item.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

from . import loops
from .framework import current_framework
from .outcome import Outcome
from .wake import Wake

_END = object()

_POLL_SECONDS = 5.0
"""How often a thread that waits for an event loop looks whether that has been closed: then nobody will answer."""


def is_plain_iterable(value: Any) -> bool:
    """Returns whether a value may be what a function has returned to be iterated."""
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict))


class ThreadIterator:
    """An asynchronous iterator over a plain one, all of whose steps run on one worker thread.

    On one, since what they use may belong to a thread, such as a database connection. `aclose` must be called.

    A thread cannot be cancelled. A step that is cancelled leaves it, and it ends after the step; while the run is
    being stopped, a step that is cancelled once waits for that first.

    Args:
        open_iterable: returns the plain iterable; called on the thread.
        is_stopping: returns whether the run is being stopped.
        on_close: called on the thread once the iterator is closed.
    """

    def __init__(
        self,
        open_iterable: Callable[[], Any],
        is_stopping: Callable[[], bool],
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        self._open_iterable = open_iterable
        self._on_close = on_close
        self._is_stopping = is_stopping
        self._iterator: Any = None
        self._loop = asyncio.get_running_loop()
        self._steps: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._ended: asyncio.Future[None] | None = None
        """Done when the thread has ended; None before it is started."""
        self._is_left = False
        self._closing: Outcome[None] = Outcome()

    async def open(self, start_thread: Callable[[Callable[[], None]], Awaitable[None]]) -> Any:
        """Starts the thread and returns what ``open_iterable`` has returned, which may be something else."""
        ended: asyncio.Future[None] = self._loop.create_future()
        await start_thread(lambda: self._work(ended))
        self._ended = ended
        return await self._call(self._open)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await self._call(self._next)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Closes the iterator, and waits until that has happened. Raises what closing it raises."""
        if self._ended is not None and not self._is_left:
            self._steps.put(None)
            await asyncio.shield(self._ended)
            self._closing.take()

    async def _call(self, function: Callable[[], Any]) -> Any:
        outcome: Outcome[Any] = Outcome()
        done: asyncio.Future[None] = self._loop.create_future()

        def call() -> None:
            try:
                outcome.result = function()
            except BaseException as error:
                outcome.error = error
            loops.call_soon_threadsafe(self._loop, _resolve, done)

        self._steps.put(call)
        try:
            await done
        except asyncio.CancelledError:
            self._is_left = True
            self._steps.put(None)
            if self._ended is not None and self._is_stopping():
                await asyncio.shield(self._ended)
            raise
        return outcome.take()

    # --- on the thread ---

    def _work(self, ended: asyncio.Future[None]) -> None:
        try:
            with current_framework.get().sync_agent_scope():
                try:
                    while step := self._next_step():
                        step()
                finally:
                    self._close()
        except BaseException as error:
            self._closing.error = error
        loops.call_soon_threadsafe(self._loop, _resolve, ended)

    def _close(self) -> None:
        try:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
        finally:
            self._on_close()

    def _next_step(self) -> Callable[[], object] | None:
        while not self._loop.is_closed():
            try:
                return self._steps.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pass
        return None

    def _open(self) -> Any:
        returned = self._open_iterable()
        if is_plain_iterable(returned) and not hasattr(returned, "__aiter__"):
            self._iterator = iter(returned)
        return returned

    def _next(self) -> Any:
        return next(self._iterator, _END)


class LoopIterator:
    """A plain iterator over an asynchronous one, all of whose steps run in one task of an event loop.

    For a worker thread. The task exists from the first step on; the end of the iterator, or `close`, ends it.

    Args:
        loop: the loop.
        open_iterator: returns the asynchronous iterator; called in the task.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, open_iterator: Callable[[], AsyncIterator[Any]]) -> None:
        self._loop = loop
        self._open_iterator = open_iterator
        self._is_started = self._is_closing = self._has_ended = False
        self._delivered = Wake()
        self._outcome: Outcome[Any] = Outcome()
        # For the loop alone:
        self._task: asyncio.Task[Any] | None = None
        self._demand: asyncio.Future[None] | None = None
        self._is_demanded = True
        self._is_cancelled = self._must_cancel = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        item = self._advance()
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Closes the asynchronous iterator, and waits until that has happened. Raises what closing it raises.

        On an event loop it does not wait, which would block the loop: a generator that nobody has closed is closed
        wherever it is freed.
        """
        if self._is_started and not self._has_ended:
            self._is_closing = True
            if asyncio._get_running_loop() is not None and not loops.in_sync_driver():
                loops.call_soon_threadsafe(self._loop, self._request)
                return
            self._advance()
        self._has_ended = True

    def cancel(self) -> None:
        """Cancels the task, from any thread. Does nothing the second time."""
        loops.call_soon_threadsafe(self._loop, self._cancel)

    def _advance(self) -> Any:
        """Has the loop do one step, and returns its item."""
        if self._has_ended:
            error, self._outcome.error = self._outcome.error, None
            if error is not None:  # the task has been cancelled between two steps
                raise error
            return _END
        if not self._is_started:
            self._is_started = True
            loops.create_task_threadsafe(self._loop, self._run())
        else:
            loops.call_soon_threadsafe(self._loop, self._request)
        # Not ended by an item for which an earlier step has been interrupted.
        while not (self._delivered.wait(_POLL_SECONDS) and (self._has_ended or not self._is_closing)):
            if self._loop.is_closed():
                self._has_ended = True
                raise RuntimeError("the event loop of this run has been closed")
        return self._outcome.take()

    # --- on the loop ---

    def _cancel(self) -> None:
        if self._is_cancelled:
            return
        self._is_cancelled = True
        if self._task is not None and self._is_demanded:
            self._task.cancel()
        else:
            self._must_cancel = True  # at the next step, unless the iterator is closed

    def _request(self) -> None:
        self._is_demanded = True
        if self._has_ended:
            self._delivered.set()
        elif self._must_cancel and not self._is_closing and self._task is not None:
            self._must_cancel = False
            self._task.cancel()
        elif self._demand is not None:
            _resolve(self._demand)

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        try:
            if self._is_cancelled:
                raise asyncio.CancelledError
            async with current_framework.get().async_agent_scope():
                iterator = self._open_iterator()
                try:
                    while not self._is_closing and (item := await anext(iterator, _END)) is not _END:
                        self._deliver(item)
                        await self._wait_for_demand()
                finally:
                    close = getattr(iterator, "aclose", None)
                    if close is not None:
                        await close()
        except BaseException as error:
            self._outcome.error = error
        else:
            self._outcome.result = _END
        self._task = None
        self._has_ended = True
        if self._is_demanded or self._is_closing:
            self._delivered.set()

    def _deliver(self, item: Any) -> None:
        self._is_demanded = False
        self._outcome.result = item
        self._delivered.set()

    async def _wait_for_demand(self) -> None:
        if not (self._is_demanded or self._is_closing):
            self._demand = self._loop.create_future()
            try:
                await self._demand
            finally:
                self._demand = None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
