"""One call of an agent or a middleware in a run, in whichever way its function is written and its events are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from .._concurrency import loops
from .._concurrency.iterator_bridges import LoopIterator, ThreadIterator, is_plain_iterable
from .._events.sse import InvalidEventError
from ..agents._base import AGENT, AgentSignature, CallConvention, CallStyle
from ..agents._context import RunContext
from ._iterators import EventIterator

_THREAD_NAME = "copilot-runtime-middleware"


class RunWorkers:
    """Where a run calls functions that cannot be called where their events are read."""

    __slots__ = ("_context", "_control")

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._control = context._control

    @contextmanager
    def on_thread(self) -> Generator[None]:
        """Counts a worker thread on which code of the run is."""
        self._control.threads += 1
        try:
            yield
        finally:
            self._control.threads -= 1

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of asynchronous functions."""
        return self._control.loop or loops.background_loop()

    def is_stopping(self) -> bool:
        """Returns whether the run is being stopped."""
        return self._context.stop_requested

    async def _start_thread(self, work: Callable[[], None], *, is_first: bool) -> None:
        workers, user = self._control.workers, self._context.user
        # A run that has a thread must not wait for another: all threads might belong to runs that do.
        if workers is None or not is_first:
            loops.start_thread(work, name=_THREAD_NAME)
        else:
            await workers.start(work, None if user is None else user.owner_key, name=_THREAD_NAME)

    async def open_on_thread(
        self, stack: AsyncExitStack, open_iterable: Callable[[], Any], on_close: Callable[[], object]
    ) -> tuple[Any, Any]:
        """Calls a function on a worker thread, and returns what it returns, and an iterator of that.

        ``on_close`` is called on the thread, once the iterator is closed.
        """
        iterator = ThreadIterator(open_iterable, self.is_stopping, on_close)
        is_first = not self._control.threads
        stack.enter_context(self.on_thread())  # also while it waits for one: what it runs meanwhile may wait for it
        stack.push_async_callback(iterator.aclose)
        returned = await iterator.open(partial(self._start_thread, is_first=is_first))
        return returned, iterator

    def open_on_loop(self, stack: ExitStack, open_iterator: Callable[[], AsyncIterator[Any]]) -> LoopIterator:
        """Returns a plain iterator over an asynchronous one, which is cancelled when the run is stopped."""
        iterator = LoopIterator(self.loop, open_iterator)
        control = self._control
        control.add_stop_callback(iterator.cancel)
        stack.callback(control.remove_stop_callback, iterator.cancel)
        stack.callback(iterator.close)
        return iterator


class Closable(Protocol):
    """What a call has opened for the function that it calls.

    Each method closes it only if it is read on that side: an event loop that closed what belongs to a thread would wait
    for itself.
    """

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class Call:
    """A function that is called with these arguments when its events are first read.

    Args:
        function: the function.
        signature: how to call it.
        style: how what is inside is called, if the function itself is `CallStyle.DIRECT`.
        convention: what kind of function it is.
        arguments: what it is called with.
        opened: what it has opened through its arguments, which is closed when its own events end.
        workers: where it is called if not where its events are read.
    """

    __slots__ = ("_arguments", "_convention", "_function", "_kind", "_opened", "_workers", "prefers_plain")

    def __init__(
        self,
        function: Callable[..., Any],
        signature: AgentSignature,
        style: CallStyle,
        convention: CallConvention,
        arguments: tuple[Any, ...],
        opened: Sequence[Closable],
        workers: RunWorkers,
    ) -> None:
        self._function = function
        self._kind = signature.kind
        self.prefers_plain: bool = style is CallStyle.PLAIN
        self._convention = convention
        self._arguments = arguments
        self._opened = opened
        self._workers = workers

    def __call__(self) -> Any:
        """Calls the function."""
        return self._function(*self._arguments)

    def call_plain(self) -> Any:
        """Calls the function on a worker thread, and returns what is unambiguously asynchronous or plain."""
        returned = self()
        if isinstance(returned, EventIterator):
            return returned.read_plain() if returned.prefers_plain else returned.read()
        return returned

    def call_on_own_thread(self) -> Any:
        """Does the same on the worker thread of the run. What the function has opened is closed if it raises."""
        with self._workers.on_thread(), ExitStack() as stack:
            stack.callback(self._close_opened)
            returned = self.call_plain()
            stack.pop_all()
        return returned

    def read(self) -> AsyncGenerator[Any]:
        """Yields the events, on an event loop."""
        return self._read(self._open)

    def read_returned(self, returned: Any) -> AsyncGenerator[Any]:
        """Yields the events of something asynchronous that the function has returned, on an event loop."""
        return self._read(partial(self._open_async, returned))

    def read_plain(self) -> Generator[Any]:
        """Yields the events, on a worker thread."""
        return self._read_plain(self._open_plain)

    def read_returned_plain(self, returned: Any) -> Generator[Any]:
        """Yields the events of something plain that the function has returned, on the worker thread of the run."""
        return self._read_plain(partial(self._open_returned_on_own_thread, returned))

    async def _read(
        self, open_iterator: Callable[[AsyncExitStack], Awaitable[AsyncIterator[Any]]]
    ) -> AsyncGenerator[Any]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._aclose_opened)
            repeats_start = self._start_check()
            async for event in await open_iterator(stack):
                if not repeats_start(event):
                    yield event

    def _read_plain(self, open_events: Callable[[ExitStack], Any]) -> Generator[Any]:
        with ExitStack() as stack:
            stack.callback(self._close_opened)
            repeats_start = self._start_check()
            for event in open_events(stack):
                if not repeats_start(event):
                    yield event

    def _start_check(self) -> Callable[[Any], bool]:
        """Returns a function that returns whether an event starts the run of a middleware that has started."""
        return _never if self._convention is AGENT else _RunStarts().repeats

    async def _open(self, stack: AsyncExitStack) -> Any:
        if self._kind is not CallStyle.PLAIN:
            return await self._open_async(self(), stack)
        returned, iterator = await self._workers.open_on_thread(stack, self.call_plain, self._close_opened)
        return await self._open_async(returned, stack) if is_async(returned) else self._checked(returned, iterator)

    async def _open_async(self, returned: Any, stack: AsyncExitStack) -> Any:
        while not hasattr(returned, "__aiter__") and isinstance(returned, Awaitable):
            returned = await returned
        if hasattr(returned, "__aiter__"):
            iterator = aiter(returned)
            if hasattr(iterator, "aclose"):
                stack.push_async_callback(iterator.aclose)
            return iterator
        _, iterator = await self._workers.open_on_thread(stack, lambda: returned, self._close_opened)
        return self._checked(returned, iterator)

    def _open_plain(self, stack: ExitStack) -> Any:
        if self._kind is CallStyle.DIRECT:
            return self._open_returned(self().read_plain(), stack)
        if self._kind is CallStyle.PLAIN:
            return self._open_returned(self.call_plain(), stack)
        return self._workers.open_on_loop(stack, self.read)

    def _open_returned_on_own_thread(self, returned: Any, stack: ExitStack) -> Any:
        stack.enter_context(self._workers.on_thread())
        return self._open_returned(returned, stack)

    def _open_returned(self, returned: Any, stack: ExitStack) -> Any:
        if is_async(returned):
            return self._workers.open_on_loop(stack, partial(self.read_returned, returned))
        iterator = iter(self._checked(returned, returned))
        if hasattr(iterator, "close"):
            stack.callback(iterator.close)
        return iterator

    def _checked(self, returned: Any, iterator: Any) -> Any:
        """Returns the iterator of what the function has returned. Raises InvalidEventError if there is none."""
        if is_plain_iterable(returned):
            return iterator
        kind = type(returned).__name__
        raise InvalidEventError(
            f"{self._convention.role} must yield its events, or return an iterator of them, not {kind}"
        )

    async def _aclose_opened(self) -> None:
        for each in reversed(self._opened):
            await each.aclose()

    def _close_opened(self) -> None:
        for each in reversed(self._opened):
            each.close()


class _RunStarts:
    """Notices where a middleware starts a run that has started, such as by running the agent again."""

    __slots__ = ("_has_started",)

    def __init__(self) -> None:
        self._has_started = False

    def repeats(self, event: Any) -> bool:
        """Has to be called with each event."""
        kind = event.get("type") if isinstance(event, dict) else getattr(event, "type", None)
        if kind == "RUN_STARTED":
            was_started, self._has_started = self._has_started, True
            return was_started
        if kind in _RUN_ENDS:
            self._has_started = False
        return False


_RUN_ENDS = ("RUN_FINISHED", "RUN_ERROR")


def _never(event: Any) -> bool:
    return False


def is_async(value: Any) -> bool:
    """Returns whether a value is to be iterated, or awaited, on an event loop."""
    return hasattr(value, "__aiter__") or isinstance(value, Awaitable)
