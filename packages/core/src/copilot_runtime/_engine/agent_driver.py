"""Consumes an agent: calls its function, and feeds what it yields to a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from types import AsyncGeneratorType
from typing import Any, Protocol

from .._concurrency import loops
from .._concurrency.framework import NO_SCOPE, current_framework, guard_stop_iteration
from .._concurrency.outcome import Outcome
from .._concurrency.step_timing import report_long_steps
from .._events import InvalidEventError
from ..agents._base import AGENT, AgentSignature, CallStyle
from .agent_threads import AgentThreads
from .pump import pump
from .types import RunRequest

_PLAIN, _ASYNC_GENERATOR = CallStyle.PLAIN, CallStyle.ASYNC_GENERATOR
"""Looked up once, since each look at a member of an `Enum` takes longer than a call."""

BLOCKING_SECONDS = 0.25
"""How long an asynchronous agent may run without a wait before it is reported as blocking."""


class DrivenRun(Protocol):
    """A run, as its agent is consumed. All but `feed_threadsafe` is for the run's event loop alone."""

    @property
    def function(self) -> Callable[..., Any]:
        """The agent's function."""

    @property
    def request(self) -> RunRequest:
        """What it is called with."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The run's event loop."""

    @property
    def threads(self) -> AgentThreads:
        """The OS threads of synchronous agents."""

    def feed_all(self, events: AsyncIterable[Any], /) -> Coroutine[Any, Any, None]:
        """Records all events of an asynchronous agent. Raises InvalidEventError."""

    def flush(self) -> None:
        """Makes what was recorded visible to readers."""

    def begin_thread(self) -> None:
        """Called before events come from another thread."""

    def feed_threadsafe(self, event: Any, /) -> bool:
        """Records and flushes an event of a synchronous agent. Returns False if the agent is to stop."""

    def forget_context(self) -> None:
        """Called when an agent that takes no context waits for the first time."""

    @property
    def waits_for_agent(self) -> bool:
        """Whether the agent was asked to stop and is still allowed to react."""

    @property
    def report_blocking(self) -> Callable[[float], None] | None:
        """Called with the seconds for which an asynchronous agent has blocked the event loop; None to not measure."""


def is_synchronous(function: Callable[..., Any]) -> bool:
    """Returns whether an agent's function has to be called on a thread."""
    return AGENT.inspect(function).kind is _PLAIN


def drive_on_thread(run: DrivenRun) -> Any:
    """Runs a synchronous agent to its end on this OS thread, which is one of those of agents.

    Returns None, or what the agent's function has returned if that has to be awaited: `drive_agent` goes on with it.
    Raises what the agent raises, and InvalidEventError.
    """
    return _call_plain(run, _arguments(run, AGENT.inspect(run.function)), None)


def drive_agent(run: DrivenRun, events: Any = None) -> Awaitable[None]:
    """Returns an awaitable that runs an agent to its end, on an OS thread of its own if it is synchronous.

    If it is, ``events`` is what it has returned, if it has been called and that has to be awaited.

    It raises what the agent raises, and InvalidEventError. Not a coroutine function: each coroutine between a run and
    its agent is resumed at all of the agent's waits, and kept in memory meanwhile. For an async generator, there is
    none but `pump`.
    """
    function = run.function
    signature = AGENT.inspect(function)
    arguments = _arguments(run, signature)
    if events is None:
        if signature.kind is _PLAIN:
            return _drive_plain(run, arguments)
        if signature.kind is _ASYNC_GENERATOR:
            events = function(*arguments)
    consuming = (
        pump(events, run.feed_all, run.flush, None if signature.takes_context else run.forget_context)
        if type(events) is AsyncGeneratorType
        else _consume_async(run, arguments, events)
    )
    if run.report_blocking is not None:
        consuming = report_long_steps(consuming, BLOCKING_SECONDS, run.report_blocking)
    scope = current_framework.get().async_agent_scope()
    return consuming if scope is NO_SCOPE else _consume_in_scope(consuming, scope)


async def _drive_plain(run: DrivenRun, arguments: tuple[Any, ...]) -> None:
    events = await _run_in_thread(run, arguments, None)
    if events is not None:
        await drive_agent(run, events)


async def _consume_in_scope(consuming: Coroutine[Any, Any, None], scope: AbstractAsyncContextManager[object]) -> None:
    try:
        async with scope:
            await consuming
    finally:
        consuming.close()  # which has not begun if the scope cannot be entered


def _arguments(run: DrivenRun, signature: AgentSignature) -> tuple[Any, ...]:
    request = run.request
    return (request.input, request.context) if signature.takes_context else (request.input,)


async def _consume_async(run: DrivenRun, arguments: tuple[Any, ...], events: Any) -> None:
    """Consumes what an agent returns if it is called here, or the awaitable or async iterator that it has returned."""
    if events is None:
        events = run.function(*arguments)
    while not hasattr(events, "__aiter__") and isinstance(events, Awaitable):
        events = await events
    if not hasattr(events, "__aiter__"):
        if _is_iterable(events):
            await _run_in_thread(run, arguments, events)
            return
        raise InvalidEventError(_not_iterable(events))
    await pump(events.__aiter__(), run.feed_all, run.flush)


async def _run_in_thread(run: DrivenRun, arguments: tuple[Any, ...], events: Any) -> Any:
    """Calls an agent's function, unless it has returned ``events`` already, and iterates the result, on a thread.

    Waits until one is free.

    Returns the result if it has to be awaited, else None.
    """
    loop, request = run.loop, run.request
    settled: asyncio.Future[None] = loop.create_future()
    outcome: Outcome[Any] = Outcome()

    def settle() -> None:
        if settled.cancelled():
            outcome.error = None
        else:
            settled.set_result(None)

    def work() -> None:
        try:
            outcome.result = _call_plain(run, arguments, events)
        except BaseException as raised:
            outcome.error = raised
        loops.call_soon_threadsafe(loop, settle)

    run.begin_thread()
    await run.threads.start(work, request.user_key, name=f"copilot-runtime-agent-{request.agent_id}")
    while True:
        try:
            await asyncio.shield(settled)
            return outcome.take()
        except asyncio.CancelledError:
            # A thread cannot be cancelled: its iterator is closed at its next yield, and
            # until then only the end of the stop's grace ends the run.
            if settled.done() or not run.waits_for_agent:
                settled.cancel()
                outcome.error = None
                raise


def _call_plain(run: DrivenRun, arguments: tuple[Any, ...], events: Any) -> Any:
    """Calls an agent's function, unless it has returned ``events`` already, and iterates the result, on this thread.

    Returns the result if it has to be awaited, else None.
    """
    with current_framework.get().sync_agent_scope():
        returned = guard_stop_iteration(run.function, *arguments) if events is None else events
        if hasattr(returned, "__aiter__") or isinstance(returned, Awaitable):
            return returned
        if not _is_iterable(returned):
            raise InvalidEventError(_not_iterable(returned))
        _consume_sync(iter(returned), run)
    return None


def _consume_sync(iterator: Iterator[Any], run: DrivenRun) -> None:
    try:
        for event in iterator:
            if not run.feed_threadsafe(event):
                return
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def _is_iterable(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict))


def _not_iterable(value: Any) -> str:
    return f"an agent must yield its events, or return an iterator of them, not {type(value).__name__}"
