"""Begins runs: within the limits, in the store, and with all that the thread has to say of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import Any

from .._concurrency import driver, loops
from .._events import InputEcho, RunRecorder, encode_echo
from .._users import ANONYMOUS_OWNER
from ..agents._base import agent_callable
from ..agents._json_body import JSONBody
from ..stores._known_ids import current_ids
from ..stores.protocol import (
    ActiveRun,
    Lease,
    NewRun,
    RunCompletion,
    RunStarted,
    RunStore,
    StoreError,
    ThreadBusy,
    ThreadKey,
    ThreadSnapshot,
)
from .active_runs import ActiveRuns
from .agent_history import remembered_messages
from .async_store import AsyncStore
from .lost_begins import LostBegins
from .orphans import Orphans
from .resume import check_resume, without_resume
from .run import Run
from .run_limits import InputTooLarge, RunLimiter, RunLimitReached, RunSlot
from .run_services import RunServices
from .shutdown import Shutdown, ShuttingDown
from .store_queue import TurnMissed
from .stored_history import read_and_complete
from .subscribers import Subscribers
from .thread_names import MAX_NEW_THREAD_MESSAGES
from .types import EngineOptions, RunRequest

_new = tuple.__new__
"""Makes the named tuples that each run has, in half the time that their constructors take."""

SUPERSEDE_SECONDS = 2.0
"""How long a superseded run is given to end by itself."""


class RunStarter:
    """Begins the runs of an engine.

    Args:
        store: the store.
        async_store: the same store, for event loops.
        options: how runs are run.
        runs: the active runs, among which ``launch`` puts a run.
        orphans: ends what keeps a thread busy although nobody runs it.
        subscribers: learn that nobody reads a run whose request was cancelled.
        shutdown: refuses runs.
        run_services: what the runs use.
        launch: starts a run.
        stop: asks the active run of a thread to stop.
        names_threads: whether new threads get names.
    """

    def __init__(
        self,
        store: RunStore,
        async_store: AsyncStore,
        options: EngineOptions,
        *,
        runs: ActiveRuns,
        orphans: Orphans,
        subscribers: Subscribers,
        shutdown: Shutdown,
        run_services: RunServices[Run],
        launch: Callable[[Run], None],
        stop: Callable[[ThreadKey, str | None], Awaitable[object]],
        names_threads: bool,
    ) -> None:
        self._store = store
        self._async_store = async_store
        self._options = options
        self._runs = runs
        self._orphans = orphans
        self._subscribers = subscribers
        self._shutdown = shutdown
        self._run_services = run_services
        self._launch = launch
        self._stop = stop
        self._names_threads = names_threads
        self._limiter = RunLimiter(options.max_runs, options.max_runs_per_user, options.max_runs_bytes)
        self._lost_begins = LostBegins(store, async_store)
        self._completes_history = options.history == "stored"
        self._may_suspend = store.blocking or options.on_concurrent_run == "supersede" or self._completes_history
        """Whether beginning a run may take more than one step of its request's task."""
        self.begin: Callable[[RunRequest], Awaitable[Run | ActiveRun]] = (
            self._begin_shielded if self._may_suspend else self._begin
        )
        """Begins a run on its thread; returns the run that keeps the thread busy instead if there is one.

        Raises TypeError for what is not an agent, ShuttingDown, TooManyRuns, TooManyRunsOfUser, InputTooLarge, and
        StoreError."""

    async def begin_on_no_thread(self, request: RunRequest) -> Run:
        """Begins a run of which nothing is stored. Raises TypeError, TooManyRuns, TooManyRunsOfUser, InputTooLarge."""
        request = without_resume(request)
        slot = self._limiter.find(request.user_key, request.memory) or await self._make_slot(request)
        request.body.forget()
        return self._launch_on_no_thread(request, slot)

    async def begin_beside_user(self, request: RunRequest) -> Run | None:
        """Begins a run of which nothing is stored, and which is not one of its user's, who has not asked for it.

        Returns None if there may be no further run.
        """
        try:
            slot = self._limiter.acquire(None, request.memory)
        except (RunLimitReached, InputTooLarge):
            return None
        return self._launch_on_no_thread(request, slot)

    def _launch_on_no_thread(self, request: RunRequest, slot: RunSlot) -> Run:
        try:
            function = agent_callable(request.agent)
            run = Run(request, function, RunRecorder(ordinal=None), slot, self._run_services)
            self._launch(run)
            return run
        except BaseException:
            slot.release()
            raise

    def after_fork(self) -> None:
        """Forgets the runs of the parent process."""
        self._limiter.after_fork()
        self._lost_begins.after_fork()

    async def _begin_shielded(self, request: RunRequest) -> Run | ActiveRun:
        """Begins a run; a request that is cancelled meanwhile leaves no lease without a run."""
        if loops.in_sync_driver():
            return await self._begin(request)
        beginning = asyncio.ensure_future(self._begin(request))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._abandon_when_begun)
            raise
        finally:
            del beginning  # if it has failed, its exception has this frame in its traceback

    def _abandon_when_begun(self, beginning: asyncio.Future[Run | ActiveRun]) -> None:
        if not beginning.cancelled() and beginning.exception() is None and isinstance(run := beginning.result(), Run):
            self._subscribers.reader_left(run.log)

    async def _begin(self, request: RunRequest) -> Run | ActiveRun:
        function = agent_callable(request.agent)  # before the thread is taken: a factory may return anything
        run_input, user = request.input, request.user_key
        thread = _new(ThreadKey, (ANONYMOUS_OWNER if user is None else user, run_input.thread_id))
        begin_id = self._lost_begins.next_id() if self._store.blocking else ""
        new = _new(NewRun, (thread, run_input.run_id, request.agent_id, request.size, begin_id))
        has_waited, slot = self._may_suspend, self._limiter.find(user, request.memory)
        if slot is None:
            has_waited, slot = True, await self._make_slot(request, thread)
        shared = self._runs.shared
        missed = shared.last_missed
        try:
            store = self._async_store.direct
            started = await self._begin_in_store(new) if store is None else store.begin(new)
            if isinstance(started, ThreadBusy):
                has_waited, started = True, await self._begin_on_busy_thread(new, started)
                if isinstance(started, ThreadBusy):
                    slot.give_back()
                    return started.live
            is_resuming = request.has_resume
            try:
                # Now that no other run can begin, so that of two equal responses only one finds its interrupt open.
                if is_resuming or self._completes_history:
                    request, function = await self._complete(request, function, started, slot)
                # Since meanwhile: the client is sent elsewhere. A worker thread sees a shutdown begin without any wait.
                if (has_waited or loops.in_sync_driver()) and self._shutdown.refuses_runs():
                    raise ShuttingDown
                lease, in_events, in_inputs = started
                body = request.body
                echo = _NewMessagesEcho(body, in_events, in_inputs) if in_events or in_inputs else body.echo
                # By position here and below: a keyword makes a constructor take half as long again.
                recorder = RunRecorder(lease.run.ordinal, echo, in_events)
                if is_resuming:
                    recorder.is_resuming = True
                run = Run(request, function, recorder, slot, self._run_services, lease)
                # Not much has been said on a new thread. Whether it is one is looked up once the run has ended.
                if self._names_threads and len(in_events) <= MAX_NEW_THREAD_MESSAGES:
                    run.may_be_first = True
                self._launch(run)
            except BaseException:
                await self._end_unlaunched(started.lease)
                raise
        except BaseException:
            slot.give_back()
            raise
        # A stop that was requested since the lease was taken has not found the run here, and a store that is not
        # polled would not report it again.
        if (shared.last_missed is not missed or not shared.has_all) and self._store.poll_seconds is None:
            await self._stop_if_requested(run, started.lease)
        return run

    async def _make_slot(self, request: RunRequest, thread: ThreadKey | None = None) -> RunSlot:
        """Returns a slot for a run, on a thread or on none, where a limit is reached.

        Raises TooManyRuns, TooManyRunsOfUser, and InputTooLarge.
        """
        # A run that supersedes another needs no further slot.
        if thread is not None and self._options.on_concurrent_run == "supersede":
            replaced = self._runs.of_thread(thread)
            slot = next(filter(None, (run.slot.take_over(request.memory) for run in replaced)), None)
            if slot is not None:
                return slot
        await self._runs.end_all_without_loop()
        return self._limiter.acquire(request.user_key, request.memory)

    async def _begin_in_store(self, new: NewRun) -> RunStarted | ThreadBusy:
        try:
            return await self._async_store.begin(new)
        except TurnMissed:
            raise
        except BaseException:  # also if a server interrupts its worker thread in the middle of the call
            if new.begin_id:  # without one, the thread's active run may be any other
                self._lost_begins.add(new)
            raise

    async def _begin_on_busy_thread(self, new: NewRun, busy: ThreadBusy) -> RunStarted | ThreadBusy:
        """Begins a run once its thread is free, if that can be had."""
        started: RunStarted | ThreadBusy = busy
        if await self._orphans.end(busy.live):
            started = await self._begin_in_store(new)
        if isinstance(started, ThreadBusy) and self._options.on_concurrent_run == "supersede":
            started = await self._supersede(new, started)
        return started

    async def _complete(
        self, request: RunRequest, function: Callable[..., Any], started: RunStarted, slot: RunSlot
    ) -> tuple[RunRequest, Callable[..., Any]]:
        """Returns a run and its function with what the thread has to say of it: its messages, and its interrupts."""
        is_resuming = request.has_resume
        thread: ThreadSnapshot | None = None
        if self._completes_history:
            request, function, thread = await self._complete_history(request, function, started, slot)
        if is_resuming:
            thread = thread or await self._async_store.read(started.lease.run.thread)
            request = check_resume(request, thread.runs, started.event_messages)
        return request, function

    async def _end_unlaunched(self, lease: Lease) -> None:
        try:
            await self._async_store.finish(lease, (), RunCompletion(persist=False))
        except StoreError:
            self._lost_begins.add(lease)

    async def _stop_if_requested(self, run: Run, lease: Lease) -> None:
        # The run has begun, whether or not the store works now.
        with contextlib.suppress(StoreError):
            if await self._async_store.poll_signals([lease]):
                run.stop_threadsafe()

    async def _complete_history(
        self, request: RunRequest, function: Callable[..., Any], started: RunStarted, slot: RunSlot
    ) -> tuple[RunRequest, Callable[..., Any], ThreadSnapshot | None]:
        """Returns a run with all messages of its thread, its function, and the thread if that was read as well."""
        try:
            remembered = await remembered_messages(request, started)
        except (Exception, driver.SelfCancelledError) as error:
            # What the client has sent is not all that the agent needs.
            return request, partial(_raise_only, [error]), None
        before = request.memory
        completed = await self._async_store.call_off_loop(read_and_complete, self._store, request, started, remembered)
        slot.add(completed.request.memory - before)
        return completed.request, function, completed.thread

    async def _supersede(self, new: NewRun, busy: ThreadBusy) -> RunStarted | ThreadBusy:
        deadline = time.monotonic() + SUPERSEDE_SECONDS
        started: RunStarted | ThreadBusy = busy
        while isinstance(started, ThreadBusy) and (left := deadline - time.monotonic()) > 0:
            await self._stop(new.thread, started.live.run_id)
            run = self._runs.shared.get(started.live.run)
            if run is not None:
                await run.wait_ended(deadline)
            else:
                await driver.sleep(min(left, self._store.poll_seconds or left))
            started = await self._begin_in_store(new)
        if isinstance(started, ThreadBusy):
            await self._orphans.fence(started.live, SUPERSEDE_SECONDS)
            started = await self._begin_in_store(new)
        return started


async def _raise_only(errors: list[BaseException], input: Any) -> None:
    """Raises the only error of a list, which its run must not keep: its traceback has frames that have the run."""
    raise errors.pop()


class _NewMessagesEcho:
    """Returns the input of a run without the messages that the thread has already, from its events or its inputs.

    One object, where a partial function would be three: thousands of runs may be idle.
    """

    __slots__ = ("_body", "_in_events", "_in_inputs")

    def __init__(self, body: JSONBody, in_events: Set[str], in_inputs: Set[str]) -> None:
        self._body, self._in_events, self._in_inputs = body, in_events, in_inputs

    def __call__(self) -> InputEcho:
        body, in_events, in_inputs = self._body, current_ids(self._in_events), current_ids(self._in_inputs)
        members = body.members
        messages = members["messages"]
        new = [message for message in messages if message["id"] not in in_events and message["id"] not in in_inputs]
        if len(new) == len(messages):
            return body.echo()
        body.forget()  # since nothing needs them again before the end of the run
        return encode_echo({**members, "messages": new})
