"""One run in this process: how its agent is started, runs, and is stopped."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from .._concurrency import driver, loops
from .._events import InvalidEventError, RunEnding, RunRecorder
from .._log_text import log_failure
from ..stores.protocol import Lease
from .agent_driver import drive_agent, drive_on_thread, is_synchronous
from .agent_threads import AgentThreads
from .endings import AGENT_FAILED, INTERRUPTED, LOST, STOPPED_BY_USER, describe_error, timed_out
from .persistence import FINISH_RETRY_SECONDS
from .pump import ignore_first_start
from .run_end import RETURNED, EndingRun
from .run_limits import RunSlot
from .run_log import RunLog
from .run_recording import NO_LOCK
from .run_services import RunServices
from .run_writer import NOTHING_FLUSHED
from .types import RunRequest

logger = logging.getLogger("copilot_runtime.engine")

T = TypeVar("T")


class Run(EndingRun):
    """A run in this process, on its event loop.

    The last layer of one object, each of which knows only those before it: `RunWriter`, `RecordedRun`, `EndingRun`.
    It sets the attributes of all, since a call for each layer has its cost, for each run.

    Ends exactly once: by its agent, by a stop that the agent heeds, or by force after the grace period of an agent
    that does not. Then its thread is free and its readers have received all, whatever the agent still does.

    Args:
        request: what is to be run.
        function: its agent.
        recorder: what its events are recorded with.
        slot: its place among the runs that may be active.
        services: what it uses.
        lease: the right to write it; None for a run on no thread, of which nothing is stored.
    """

    __slots__ = (
        "__weakref__",
        "_forced_end",
        "_started_task",
        "_task",
        "function",
        "is_deleted",
        "is_on_thread",
        "may_be_first",
    )

    def __init__(
        self,
        request: RunRequest,
        function: Callable[..., Any],
        recorder: RunRecorder,
        slot: RunSlot,
        services: RunServices[Run],
        lease: Lease | None = None,
    ) -> None:
        # Only a worker thread waits for the first step: on an event loop, the headers leave before that.
        self.is_on_thread = on_thread = loops.in_sync_driver()
        """Whether a worker thread has begun it, on the background loop."""
        self.loop = loops.background_loop() if on_thread else asyncio.get_running_loop()
        if lease is None:
            self.log, self._flush_bytes = RunLog(None, request.run_id, request.agent_id), sys.maxsize
        else:
            self.lease = lease
            self.log = RunLog(lease.run, lease.run_id, request.agent_id)
            self._flush_bytes = services.persistence.flush_bytes
        if on_thread:
            self.log.is_starting = True
        self.started_at = time.time()
        self.is_finished = self.flush_scheduled = False
        self.flushed = NOTHING_FLUSHED
        self.size = self.flushed_size = self.due_at = 0
        self.followed_until = 0.0
        self.existing_lock = None

        self.request = request
        self.slot = slot
        self._services = services
        self._recorder = recorder
        self._feed = ignore_first_start(recorder.feed) if request.opening else None
        self._counted = 0
        self._ending = None
        self._lock = threading.Lock() if on_thread else NO_LOCK

        self.was_stopped = False
        self._failure = ""
        self._timers = ()
        self.take_context()

        self.function = function
        self.may_be_first = False
        """Whether it may be the first one of its thread, which has no name then."""
        self.is_deleted = False
        """Whether its thread was deleted in this process."""
        self._started_task: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        """None until its first step."""
        self._forced_end: Coroutine[Any, Any, None] | None = None
        """What ends it in the place of its own task."""

    @property
    def threads(self) -> AgentThreads:
        """The OS threads of synchronous agents."""
        return self._services.threads

    def take_context(self) -> None:
        """Keeps a copy of the caller's context, that of the request, for what the run starts beside its agent.

        The agent may have changed its own.
        """
        self._context = loops.copy_loop_context() if self.is_on_thread else contextvars.copy_context()

    def start(self) -> None:
        """Starts the run, on its loop or, for its loop, on a worker thread."""
        request = self.request
        control = request.context._control
        control.agent, control.loop, control.workers = request.agent, self.loop, self._services.threads
        if self.is_on_thread:
            if not self.start_on_thread():
                loops.create_task_threadsafe(self.loop, self.execute(), after_first_step=self.after_first_step)
            return
        # The engine holds the run while it is active, and the run holds its task, which a loop itself does not. That
        # saves a callback at the end, which costs as much as the task.
        self._started_task = self.loop.create_task(self.execute())

    def _hold_task(self) -> None:
        """Has the task held that goes on although the run is over."""
        if self._started_task is not None:
            loops.hold_task(self._started_task)

    async def execute(self, events: Any = None) -> None:
        """Runs the agent and ends the run: the body of the run's task.

        Args:
            events: what a synchronous agent has returned, if that has to be awaited.
        """
        if self.is_finished:  # before it began: its thread was deleted, or its end has been forced
            return
        self._task = self._started_task or asyncio.current_task()
        if events is None and self._services.options.run_timeout_seconds is not None:
            self._limit_time()
        try:
            # It may have been stopped before it began; but what an agent returns after its stop is awaited.
            if events is not None or (
                self._ending is None and (not self.request.opening or await self._record_opening())
            ):
                await drive_agent(self, events)
        except BaseException as error:  # an agent's SystemExit, too, must not end the server
            by_runtime = self._task is None or self._task.cancelling() > 0
            ending = self._ending_after_error(error, is_cancelled=by_runtime)
        else:
            ending = self._ending or RETURNED
        await self._end(ending)

    def start_on_thread(self) -> bool:
        """Starts a synchronous agent on an OS thread of its own, which ends the run as well.

        Called on a worker thread. The event loop is needed only for a stop, a timeout, and an agent that turns out to
        be asynchronous: without a task, the run takes two switches between threads less at its begin, and two at its
        end. Returns False if the agent is asynchronous, or would have to wait for a thread: then the run needs a task.
        """
        services, request = self._services, self.request
        if not is_synchronous(self.function) or not services.threads.start_if_free(
            self._execute_on_thread,
            request.user_key,
            name=f"copilot-runtime-agent-{request.agent_id}",
            then=self._end_on_thread,
        ):
            return False
        if services.options.run_timeout_seconds is not None:
            loops.call_soon_threadsafe(self.loop, self._limit_time)
        return True

    def _execute_on_thread(self) -> RunEnding | None:
        """Runs the agent, and returns how the run ends; None if this thread does not end it."""
        if self.is_finished:
            return None
        returned: Any = None
        try:
            if self._ending is None and (not self.request.opening or driver.run_sync(self._record_opening())):
                returned = drive_on_thread(self)
        except BaseException as error:
            # Asynchronous code within it is cancelled by a stop, and by nothing else that is the runtime's.
            ending = self._ending_after_error(error, is_cancelled=self._ending is not None)
        else:
            if returned is not None:
                with suppress(RuntimeError):  # the loop is closed: whoever finds that out ends the run
                    loops.create_task_threadsafe(
                        self.loop, self.execute(returned), after_first_step=self.after_first_step
                    )
                return None
            ending = self._ending or RETURNED
        return ending

    def _end_on_thread(self, ending: RunEnding | None) -> None:
        # Not before the agent's thread counts as free: the client may begin its next run as soon as it sees the end.
        if ending is not None:
            driver.run_sync(self._end(ending))

    def _limit_time(self) -> None:
        timeout = self._services.options.run_timeout_seconds
        if timeout is not None and not self.is_finished:
            self._call_later(timeout, self.stop, timed_out(timeout))

    def _ending_after_error(self, error: BaseException, *, is_cancelled: bool) -> RunEnding:
        """Returns how a run ends whose agent has raised an exception, or was cancelled by the runtime."""
        if isinstance(error, asyncio.CancelledError):
            return (self._ending or INTERRUPTED) if is_cancelled else self._fail(AGENT_FAILED, error)
        if isinstance(error, InvalidEventError):
            return self._fail(str(error), error)
        return self._fail(describe_error(error) if self._services.options.debug else AGENT_FAILED, error)

    def _fail(self, message: str, error: BaseException) -> RunEnding:
        if self.is_finished:
            return LOST
        self._failure = describe_error(error)
        log_failure(logger, error, "agent %r failed in run %r", self.request.agent_id, self.request.run_id)
        if self._ending is None:
            return RunEnding(message, failed=True)
        if self._ending.stopped and self._services.options.debug:
            return RunEnding(message, stopped=True)
        return self._ending

    def context_value(self, variable: contextvars.ContextVar[T]) -> T | None:
        """Returns the value of a context variable in the context in which the run was created; None if it had none."""
        return self._context.get(variable)

    @property
    def report_blocking(self) -> Callable[[float], None] | None:
        """Called with the seconds for which an asynchronous agent has blocked the event loop; None to not measure."""
        return self._report_blocking if self._services.options.debug else None

    def _report_blocking(self, seconds: float) -> None:
        self._services.hints.blocked_event_loop(self.request.agent_id, seconds)

    def after_first_step(self) -> None:
        """Has readers send their headers now, on the run's loop: its agent waits, with or without events."""
        # A run that is over comes with its first chunk, once it is stored.
        if not self.is_finished:
            self.log.mark_started()

    def forget_context(self) -> None:
        """Lets go of what is only for an agent, which takes no context: thousands of runs may be idle.

        In a copy: the agent's ``history`` may have been called with the context, and have kept it.
        """
        if not self.may_be_first:  # or the agent that names its thread gets it
            self.request = self.request.without_context()

    # --- stopping ---

    @property
    def waits_for_agent(self) -> bool:
        """Whether the agent was asked to stop and is still allowed to react."""
        return self._ending is not None and not self.is_finished

    def stop(self, ending: RunEnding = STOPPED_BY_USER) -> None:
        """Asks the agent to end, on the run's loop. Does nothing the second time."""
        if self._ending is not None or self.is_finished:
            return
        self._ending = ending
        self.request.context._control.stop()
        self._call_later(self._services.options.stop_grace_seconds, self._force_stop)
        # A task that has not taken its first step would be cancelled without ever ending the run.
        if self._task is not None:
            self._task.cancel()

    def stop_threadsafe(self, ending: RunEnding = STOPPED_BY_USER) -> None:
        """Asks the agent to end, from any thread."""
        if self.is_finished:
            return  # a request looks whether its run was stopped meanwhile: one that has ended must not wake the loop
        if loops.is_running_on(self.loop):
            self.stop(ending)
        else:
            loops.call_soon_threadsafe(self.loop, self.stop, ending)

    def force_stop_threadsafe(self) -> None:
        """Ends the run now, whatever its agent does, from any thread."""
        loops.call_soon_threadsafe(self.loop, self._force_stop)

    async def wait_ended(self, deadline: float) -> None:
        """Waits until the run has ended for its readers, or until ``deadline`` on the monotonic clock."""
        await driver.wait_while(lambda: not self.log.ended, self.log.add_end_waiter, deadline)

    def mark_lost_threadsafe(self) -> None:
        """Ends the run without storing anything, from any thread: another process has ended it or has its thread."""
        if not self.is_finished:
            loops.call_soon_threadsafe(self.loop, self.mark_lost)

    def _force_stop(self) -> None:
        # Its grace after a stop and a shutdown may end in the same step of the loop.
        if not (self.is_finished or self._forced_end):
            logger.warning(
                "agent %r did not stop in time; ending run %r without it", self.request.agent_id, self.request.run_id
            )
            self._hold_task()
            self._forced_end = self._end(self._ending or STOPPED_BY_USER)
            self._context.run(loops.create_task_threadsafe, self.loop, self._forced_end)
            if self._task is not None:
                self._task.cancel()

    # --- the end ---

    async def end_without_loop(self) -> None:
        """Ends a run whose event loop no longer runs, from anywhere. Its agent can no longer be cancelled."""
        self._hold_task()
        await self._end(self._ending or INTERRUPTED)
        storing = self._forced_end or (self._started_task and self._started_task.get_coro())
        if storing and self.loop.is_closed() and not self.log.ended:
            # It has begun to store the end, of which the store can tell it nothing any more.
            with suppress(RuntimeError, ValueError):  # of what wants to wait, or the loop, or is being closed already
                storing.close()
        # Someone else may be ending it.
        await self.wait_ended(time.monotonic() + FINISH_RETRY_SECONDS)

    def mark_lost(self) -> None:
        """Ends the run without storing anything, on its loop."""
        with self._lock:
            if self.is_finished:
                return
            self.is_finished = True
            self._recorder.seal()
        self.request.context._control.stop()
        if self._timers:
            self._cancel_timers()
        self._hold_task()
        if self._task is not None:
            self._task.cancel()
        self._services.lost(self)
