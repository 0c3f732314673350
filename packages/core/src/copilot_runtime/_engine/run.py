"""One run's life: it is produced, logged, ended, and told of."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._concurrency import loops
from .._concurrency.framework import current_framework
from .._events import (
    LOST,
    STOPPED,
    InvalidEventError,
    RunEnding,
    RunRecorder,
    error_frame,
    is_terminal,
)
from ..agents._base import AgentSignature, CallStyle, inspect_agent
from ..stores.protocol import Lease, RunCompletion
from .finish_result import FinishResult
from .pump import pump
from .run_log import RunLog
from .types import EndedRun, Outcome, RunRequest

if TYPE_CHECKING:
    from .engine import Engine

logger = logging.getLogger("copilot_runtime.engine")

TOO_LARGE = RunEnding("The run has grown larger than the store holds", "RUN_TOO_LARGE", failed=True)
INTERRUPTED = RunEnding("The server shut down before the run ended", "RUN_INTERRUPTED", failed=True)
LOST_LEASE = RunEnding("The server could not reach its store for too long", "RUN_INTERRUPTED", failed=True)
UNSTORED = RunEnding("The run could not be stored", "STORE_UNAVAILABLE", failed=True)
STOPPED_BY_USER = RunEnding(STOPPED, stopped=True)
FAILED = "The agent failed"


class Run:
    """A run in this process, on its home loop.

    Ends exactly once: by its agent, by a stop that the agent heeds, or by `_force` after
    the grace that an agent has which does not. Then its thread is free and its readers
    are through, whatever the agent still does.
    """

    def __init__(
        self,
        engine: Engine,
        given: RunRequest,
        *,
        function: Callable[..., Any],
        recorder: RunRecorder,
        log: RunLog,
        lease: Lease | None,
        home: asyncio.AbstractEventLoop,
    ) -> None:
        self.request = dataclasses.replace(
            given, context=dataclasses.replace(given.context, is_stopped=self._is_stopping)
        )
        self.log = log
        self.lease = lease
        self.readers: set[object] = set()
        self.loop = home
        self.is_finished = False
        self.flushed_count = 0
        """How many frames the store has."""
        self.unflushed_bytes = 0
        self.flush_lock = threading.Lock()
        """Held by whoever is storing its frames."""
        self.flush_scheduled = False
        """Whether the next round of saving will see it."""
        self._engine = engine
        self._function = function
        self._recorder = recorder
        self._ending: RunEnding | None = None
        self._failure = ""
        self._task: asyncio.Task[Any] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._context = contextvars.copy_context()
        self._started = time.time()
        # Only a synchronous agent's worker and the loop can meet in the recorder.
        self._lock = threading.Lock()

    # --- being produced ---

    async def execute(self) -> None:
        """The run's task."""
        self._task = asyncio.current_task()
        self._context = contextvars.copy_context()
        timeout = self._engine.options.run_timeout_seconds
        if timeout is not None and not self.is_finished:
            ending = RunEnding(f"The run took longer than {timeout:g} seconds", "RUN_TIMEOUT", failed=True)
            self._timers.append(self.loop.call_later(timeout, self.stop, ending))
        try:
            if self._ending is None:  # it may have been stopped before it began
                await self._run_agent()
        except asyncio.CancelledError as cancelled:
            by_others = self._task is None or self._task.cancelling() > 0
            ending = (self._ending or INTERRUPTED) if by_others else self._failed(FAILED, cancelled)
        except InvalidEventError as fault:
            ending = self._failed(str(fault), fault)
        except BaseException as error:  # an agent's SystemExit, too, must not take the server along
            ending = self._failed(_text_of(error) if self._engine.options.debug else FAILED, error)
        else:
            ending = self._ending or RunEnding()
        await self._end(ending)

    def _failed(self, message: str, error: BaseException) -> RunEnding:
        if self.is_finished:
            return LOST
        self._failure = _text_of(error)
        logger.error("agent %r failed in run %r", self.request.agent_id, self.request.run_id, exc_info=error)
        if self._ending is None:
            return RunEnding(message, failed=True)
        if self._ending.stopped and self._engine.options.debug:
            return RunEnding(message, stopped=True)
        return self._ending

    async def _run_agent(self) -> None:
        shape = inspect_agent(self._function)
        arguments = (self.request.input, self.request.context) if shape.takes_context else (self.request.input,)
        events: Any = None
        if shape.kind is CallStyle.PLAIN:
            events = await self._run_in_thread(shape, arguments)
            if events is None:
                return
        async with current_framework.get().async_agent_scope():
            await self._consume_async(shape, arguments, events)

    async def _consume_async(self, shape: AgentSignature, arguments: tuple[Any, ...], events: Any) -> None:
        """Produces what an asynchronous agent gives, or what a plain one has given that is to be awaited."""
        if shape.kind is not CallStyle.PLAIN:
            events = self._function(*arguments)
        while isinstance(events, Awaitable) and not hasattr(events, "__aiter__"):
            events = await events
        if not hasattr(events, "__aiter__"):
            if _is_iterable(events):
                await self._run_in_thread(shape, arguments, events)
                return
            raise InvalidEventError(f"an agent gives an iterator of events, not {type(events).__name__}")
        iterator = events.__aiter__()
        try:
            await pump(iterator, self._recorder.feed, self._flush)
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    def _flush(self) -> None:
        recorder = self._recorder
        if recorder.pending and not self.is_finished:
            self.unflushed_bytes += recorder.pending_bytes
            if recorder.duplicates:
                self.log.duplicates = recorder.duplicates
            self.log.extend(recorder.drain())
            if self.lease is not None:
                self._engine.custody.schedule_flush(self)

    # --- a synchronous agent, on a thread of its own ---

    async def _run_in_thread(self, shape: AgentSignature, arguments: tuple[Any, ...], events: Any = None) -> Any:
        """Calls the agent's function and iterates what it gives; an asynchronous result is given back."""
        settled: asyncio.Future[Any] = self.loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if settled.done():
                return
            if error is None:
                settled.set_result(result)
            else:
                settled.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                with current_framework.get().sync_agent_scope():
                    given = self._function(*arguments) if events is None else events
                    if hasattr(given, "__aiter__") or isinstance(given, Awaitable):
                        result = given
                    elif _is_iterable(given):
                        self._consume_sync(iter(given))
                    else:
                        raise InvalidEventError(f"an agent gives an iterator of events, not {type(given).__name__}")
            except BaseException as raised:
                # A future takes no StopIteration, which a broken iterator may well raise.
                error = RuntimeError("the agent raised StopIteration") if isinstance(raised, StopIteration) else raised
            loops.call_soon_threadsafe(self.loop, settle, result, error)

        loops.start_thread(work, name=f"copilotkit-agent-{self.request.agent_id}")
        while True:
            try:
                return await asyncio.shield(settled)
            except asyncio.CancelledError:
                # A thread cannot be cancelled: its iterator is closed at its next yield, and
                # until then the run's end is `_force`'s to bring.
                if self._ending is None or settled.done() or self.is_finished:
                    raise

    def _consume_sync(self, iterator: Iterator[Any]) -> None:
        try:
            for event in iterator:
                with self._lock:
                    if self.is_finished:
                        return
                    self._recorder.feed(event)
                    # What ends the run is shown once it is stored, as it is of an asynchronous agent.
                    if not self._recorder.has_ended:
                        self._flush()
                if self._ending is not None:
                    return
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    # --- being ended ---

    def _is_stopping(self) -> bool:
        return self._ending is not None or self.is_finished

    def stop(self, ending: RunEnding = STOPPED_BY_USER) -> None:
        """Asks the agent to end, on the home loop. Asked again, nothing happens."""
        if self._ending is not None or self.is_finished:
            return
        self._ending = ending
        self._timers.append(self.loop.call_later(self._engine.options.stop_grace_seconds, self._force_stop))
        # A task that has not taken its first step would be cancelled without ever ending the run.
        if self._task is not None:
            self._task.cancel()

    def stop_threadsafe(self, ending: RunEnding = STOPPED_BY_USER) -> None:
        """`stop`, from any thread."""
        if loops.is_running_on(self.loop):
            self.stop(ending)
        else:
            loops.call_soon_threadsafe(self.loop, self.stop, ending)

    def _force_stop(self) -> None:
        if not self.is_finished:
            logger.warning("agent %r ignores that run %r was ended", self.request.agent_id, self.request.run_id)
            self._context.run(loops.create_task_threadsafe, self.loop, self._end(self._ending or STOPPED_BY_USER))
            if self._task is not None:
                self._task.cancel()

    def force_stop_threadsafe(self) -> None:
        """Ends the run now, whatever its agent does, from any thread."""
        loops.call_soon_threadsafe(self.loop, self._force_stop)

    def mark_lost(self) -> None:
        """Another has ended the run or taken its thread, on the home loop: nothing that it still does counts."""
        with self._lock:
            if self.is_finished:
                return
            self._seal_as_lost()
        self._cancel_timers()
        if self._task is not None:
            self._task.cancel()
        self._engine.run_lost(self)

    def _seal_as_lost(self) -> None:
        self._recorder.complete(LOST, self.request.thread_id, self.request.run_id)
        self._recorder.seal()
        self.log.fallback_ending = self._recorder.drain()
        self.is_finished = True

    async def _end(self, ending: RunEnding) -> None:
        with self._lock:
            if self.is_finished:
                return
            self.is_finished = True
        self._cancel_timers()
        is_ours = True
        try:
            is_ours = await self._finish(ending)
        except Exception:
            # Nothing may leave readers waiting or the thread busy.
            logger.exception("run %r could not be ended in order", self.request.run_id)
            if self.lease is not None:
                await self._engine.custody.finish(self, self.lease, (), RunCompletion(persist=False))
            self._append_error()
        finally:
            if is_ours:
                self.log.end()
                self._engine.run_ended(self)

    def _append_error(self) -> None:
        frames = self.log.frames
        if not (frames and is_terminal(frames[-1])):
            ordinal = None if self.lease is None else self.lease.run.ordinal
            self.log.extend([error_frame(RunEnding(FAILED), ordinal, len(frames) + 1)])

    async def _finish(self, ending: RunEnding) -> bool:
        """Completes, stores and shows the run; False where it was somebody else's to end."""
        recorder, given = self._recorder, self.request
        with self._lock:
            own, was_over = recorder.last_agent_event, recorder.has_ended
            nothing = recorder.number == 0 and ending.failed
            recorder.complete(ending, given.thread_id, given.run_id)
            outcome = _outcome(recorder, None if was_over else ending)
            recorder.seal()
            rest = recorder.drain()
        records = recorder.records()
        if self.lease is not None:
            finished = RunCompletion(
                persist=not nothing,
                records=records,
                messages=given.messages,
                last_agent_event=own,
                event_messages=recorder.message_ids,
                input_messages=recorder.input_ids,
                duplicates=recorder.duplicates,
            )
            end = await self._engine.custody.finish(self, self.lease, rest, finished)
            if end is FinishResult.LEASE_LOST:
                # Not with ``rest``, which may say success: readers are shown what the store says, or that it is lost.
                self._engine.run_lost(self)
                return False
            if end is FinishResult.NOT_STORED:
                # Its lease is left to run out: then somebody ends it for everybody else, and tells of it.
                self.log.extend([error_frame(UNSTORED, self.lease.run.ordinal, len(self.log.frames) + 1)])
                return True
        self.log.duplicates = recorder.duplicates
        self.log.extend(rest)
        on_end = self._engine.on_run_end
        if on_end is not None and self.lease is not None:
            ended = EndedRun.from_run(
                given,
                records=records,
                last_agent_event=own,
                outcome=outcome,
                failure=self._failure,
                started_at=self._started,
            )
            self._context.run(self._engine.telling.notify_in_background, self, on_end, ended)
        return True

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _outcome(recorder: RunRecorder, ending: RunEnding | None) -> Outcome:
    if ending is not None and ending.stopped:
        return "stopped"
    return "failed" if recorder.has_failed else "finished"


def _text_of(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # a __str__ of somebody else's
        text = type(error).__name__
    return text.encode("utf-8", "replace").decode()


def _is_iterable(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict))
