"""Begins, finds, reads and stops runs; the store is the only thing that processes share."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from functools import partial
from typing import Any, NamedTuple

from .._concurrency import driver, lifecycle, loops
from .._concurrency.loop_watchdog import unwatch_loop, watch_loop
from .._concurrency.periodic import PeriodicTask
from .._concurrency.server_shutdown import server_shutdown
from .._events import Cursor, InputEcho, RunEnding, RunRecorder, encode_echo
from .._http.streaming import EventStream
from ..agents._base import agent_callable
from ..stores.protocol import (
    ActiveRun,
    Lease,
    NewRun,
    RunCompletion,
    RunKey,
    RunStarted,
    RunStore,
    StoreError,
    ThreadBusy,
    ThreadKey,
    ThreadSnapshot,
    ThreadUnreadable,
)
from .agent_hints import AgentHints
from .agent_history import remembered_messages
from .agent_threads import AgentThreads
from .async_store import AsyncStore
from .debug_feed import DebugFeed
from .endings import INTERRUPTED, LOST, STOPPED_BY_USER
from .event_log import log_events
from .leases import REAP_GRACE_SECONDS
from .local_runs import local_runs
from .lost_begins import LostBegins
from .persistence import FINISH_RETRY_SECONDS, RunPersistence
from .readers import RunReader
from .reaper import reap
from .remote_runs import RemoteRunFollower
from .replay import replay
from .resume import check_resume, without_resume
from .run import Run, RunServices
from .run_end_notifier import RunEndNotifier
from .run_limits import (
    InputTooLarge,
    RunLimiter,
    RunLimitReached,
    RunSlot,
    TooManyRuns,
    TooManyRunsOfUser,
)
from .run_log import RunLog
from .run_report import log_reaped_run, log_run
from .run_report import logger as run_logger
from .shutdown import CHECK_SECONDS, Shutdown, ShuttingDown
from .store_queue import TurnMissed
from .subscribers import Subscribers
from .thread_history import complete_history
from .thread_names import MAX_NEW_THREAD_MESSAGES, NameSource, ThreadNaming
from .types import EndedRun, EngineOptions, RunEndHook, RunRequest

SUPERSEDE_SECONDS = 2.0
"""How long a superseded run is given to end by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class StopResult:
    """The result of a request to stop. ``is_other``: the run that was named is not the thread's active run."""

    is_stopping: bool
    is_other: bool = False


class EngineStatus(NamedTuple):
    """How many runs and streams there are in this process, and may be; None for no limit."""

    live_runs: int
    max_runs: int | None
    open_streams: int
    max_streams: int | None
    busy_agent_threads: int
    max_agent_threads: int | None


class Engine:
    """The runs of this process over one store.

    Args:
        store: where threads live.
        options: how runs are run.
        on_run_end: called with an `EndedRun` once for each run that this process ends.
        thread_names: how new threads get names; None for none.
    """

    def __init__(
        self,
        store: RunStore,
        options: EngineOptions,
        on_run_end: RunEndHook | None = None,
        thread_names: NameSource | None = None,
    ) -> None:
        self.store = store
        self.async_store: AsyncStore = self._make_async_store(store)
        self.options = options
        self.on_run_end: RunEndHook | None = on_run_end
        self.thread_names: NameSource | None = thread_names
        self._runs: dict[RunKey, Run] = {}
        self._local_runs = local_runs(store)
        """These and, if the store is not polled, those of other engines over the same store object."""
        self._ephemeral_runs: dict[RunLog, Run] = {}
        """Runs on no thread: suggestions."""
        self._run_limiter = RunLimiter(options.max_runs, options.max_runs_per_user, options.max_runs_bytes)
        self._agent_hints = AgentHints()
        self._agent_threads = AgentThreads(options.max_agent_threads, options.max_runs_per_user)
        self._begin_may_suspend = (
            store.blocking or options.on_concurrent_run == "supersede" or options.history == "stored"
        )
        """Whether beginning a run may take more than one step of its request's task."""
        self._subscribers = Subscribers(
            max_streams=options.max_streams,
            keep_alive_seconds=options.sse_keep_alive_seconds,
            send_timeout_seconds=options.send_timeout_seconds,
            on_abandoned=self._abandoned,
            while_open=self._while_open,
        )
        self._lost_begins = LostBegins(store, self.async_store)
        self._persistence = RunPersistence(store, self.async_store, has_all_readers=self._local_runs.has_all)
        self._remote_runs = RemoteRunFollower(store, self.async_store, self._reap_lost, self._find_local_log)
        self._run_end_notifier = RunEndNotifier()
        self._shutdown = Shutdown(
            grace_seconds=options.shutdown_grace_seconds,
            runs=self._all_runs,
            subscribers=self._subscribers,
            run_end_notifier=self._run_end_notifier,
        )
        self._active: PeriodicTask[Run] = PeriodicTask(
            CHECK_SECONDS, self._while_active, started=partial(watch_loop, self), stopped=partial(unwatch_loop, self)
        )
        """All active runs. What is done for the loops that have any is done once for each loop, and not for each run:
        they end in time if the server shuts down, even if nobody reads them, and the log says where they are stuck."""
        self._run_services = RunServices(
            options, self._agent_threads, self._persistence, self._agent_hints, self._run_ended, self._run_lost
        )
        self._reporting_run_services = self._run_services._replace(reported=self._report_run_end)
        self._naming_run_services = self._run_services._replace(reported=self._report_first_run)
        self._naming = (
            None if thread_names is None else ThreadNaming(thread_names, self.async_store, self._start_naming)
        )
        self._debug_feed = DebugFeed()
        lifecycle.register_lifecycle(self)

    def with_store(self, store: RunStore) -> Engine:
        """Returns an engine over another store, which is the same otherwise."""
        return Engine(store, self.options, self.on_run_end, self.thread_names)

    def _make_async_store(self, store: RunStore) -> AsyncStore:
        return AsyncStore(store)

    # --- for endpoints ---

    async def run(self, request: RunRequest) -> EventStream | ActiveRun:
        """Begins a run and returns its stream, or the run that keeps the thread busy.

        Raises TypeError for what is not an agent, ShuttingDown, TooManyStreams, TooManyRuns, TooManyRunsOfUser,
        InputTooLarge, and StoreError.
        """
        if self._shutdown.refuses_runs():
            raise ShuttingDown
        with self._subscribers.open_stream() as open_source:
            run = await (self._begin_shielded(request) if self._begin_may_suspend else self._begin(request))
            return run if isinstance(run, ActiveRun) else open_source(self._reader(run.log))

    async def suggest(self, request: RunRequest) -> EventStream:
        """Runs an agent on no thread, for as long as the stream is read.

        Raises TypeError, ShuttingDown, TooManyStreams, TooManyRuns, TooManyRunsOfUser, and InputTooLarge.
        """
        if self._shutdown.refuses_runs():
            raise ShuttingDown
        with self._subscribers.open_stream() as open_source:
            function = agent_callable(request.agent)
            slot = self._find_slot(request) or await self._make_slot(request)
            try:
                request = without_resume(request)
                request.body.forget()
                run = self._launch(request, function, None, RunRecorder(ordinal=None), slot)
            except BaseException:
                slot.release()
                raise
            return open_source(self._reader(run.log))

    async def connect(
        self, thread: ThreadKey, cursor: Cursor | None, history: Callable[[], Awaitable[Sequence[bytes]]] | None = None
    ) -> EventStream:
        """Returns a stream of the thread's stored runs after ``cursor``, and of its active run until that ends.

        ``history`` returns the frames of a thread of which the store has nothing. Raises TooManyStreams and StoreError.
        """
        with self._subscribers.open_stream() as open_source:
            snapshot = await self.read_thread(thread, touch=True, cursor=cursor)
            replayed = replay(snapshot, cursor)
            live = snapshot.live
            is_unknown = live is None and not snapshot.runs and not replayed.history
            if is_unknown and history is not None:
                replayed = replayed._replace(history=await history())
            if live is None:
                log = None
            else:
                run = self._runs.get(live.run)
                log = run.log if run is not None else self._remote_runs.log(live.run, live.run_id, live.agent_id)
            reader = RunReader(
                log=log,
                seen=replayed.live_offset,
                history=replayed.history,
                skip_duplicates=replayed.skip_duplicates,
                repair_history=replayed.needs_repair,
                joined=replayed.joined,
                callbacks=self._subscribers.callbacks,
            )
            if snapshot.runs and replayed.history:
                self._subscribers.hold_history(reader, snapshot.runs)
            elif replayed.history:
                self._subscribers.hold_frames(reader, replayed.history)
            return open_source(reader)

    def open_body(self, body: bytes) -> EventStream:
        """Returns a complete body as a stream: in chunks, and counted and bounded in time as those of runs are."""
        return self._subscribers.open_body(body)

    async def stop(self, thread: ThreadKey, run_id: str | None) -> StopResult:
        """Asks a thread's active run to stop, whichever process runs it. Raises StoreError."""
        live = await self.async_store.request_stop(thread, run_id)
        if live is not None and await self._end_orphan(live):
            live = await self.async_store.request_stop(thread, run_id)
        if run_id is not None and (live is None or live.run_id != run_id):
            return StopResult(False, is_other=True)
        if live is None or live.stopping:
            return StopResult(False)
        run = self._local_runs.find(live.run)
        if run is not None:  # which may have got the signal from the store already, and have ended
            run.stop_threadsafe()
        return StopResult(True)

    async def delete(self, thread: ThreadKey) -> bool:
        """Deletes a thread and ends its active run. Returns False if there is no such thread. Raises StoreError."""
        try:
            live = (await self.async_store.read(thread)).live
        except ThreadUnreadable:
            # Deleting it is what helps. Its run learns of that from the store.
            await self.async_store.delete(thread)
            return True
        if live is not None:
            await self._end_without_loop(live)
        existed = await self.async_store.delete(thread)
        run = None if live is None else self._local_runs.find(live.run)
        if run is not None:
            run.is_deleted = True
            run.mark_lost_threadsafe()
        return existed or live is not None

    def debug_stream(self, owner: str) -> EventStream:
        """Returns a stream of the events of an owner's runs in this process, from now on. Raises TooManyStreams."""
        with self._subscribers.open_stream() as open_source:
            return open_source(self._debug_feed.subscribe(owner, self._subscribers.callbacks))

    async def read_thread(
        self, thread: ThreadKey, *, touch: bool = False, cursor: Cursor | None = None
    ) -> ThreadSnapshot:
        """Returns a thread, after ending its active run if that is orphaned. Raises StoreError."""
        raw_ordinal = None if cursor is None else cursor.ordinal
        snapshot = await self.async_store.read(thread, touch=touch, raw_ordinal=raw_ordinal)
        if snapshot.live is None or not await self._end_orphan(snapshot.live):
            return snapshot
        return await self.async_store.read(thread, touch=touch, raw_ordinal=raw_ordinal)

    def _reader(self, log: RunLog) -> RunReader:
        return RunReader(log=log, callbacks=self._subscribers.callbacks)

    # --- beginning a run ---

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
        run_input = request.input
        new = NewRun(
            ThreadKey(request.owner, run_input.thread_id),
            run_input.run_id,
            request.agent_id,
            request.size,
            self._lost_begins.next_id() if self.store.blocking else "",
        )
        slot = self._find_slot(request) or await self._make_slot(request, new.thread)
        try:
            run = await self._begin_in_slot(slot, request, function, new)
        except BaseException:
            slot.give_back()
            raise
        if isinstance(run, ActiveRun):
            slot.give_back()
        return run

    def _find_slot(self, request: RunRequest) -> RunSlot | None:
        """Returns a slot for a run; None if a limit is reached. Raises InputTooLarge."""
        try:
            return self._run_limiter.acquire(request.user_key, request.memory)
        except (TooManyRuns, TooManyRunsOfUser):
            return None

    async def _make_slot(self, request: RunRequest, thread: ThreadKey | None = None) -> RunSlot:
        """Returns a slot for a run, on a thread or on none, where a limit is reached.

        Raises TooManyRuns, TooManyRunsOfUser, and InputTooLarge.
        """
        # A run that supersedes another needs no further slot.
        if thread is not None and self.options.on_concurrent_run == "supersede":
            replaced = [run for key, run in list(self._runs.items()) if key.thread == thread]
            slot = next(filter(None, (run.slot.take_over(request.memory) for run in replaced)), None)
            if slot is not None:
                return slot
        await self._end_all_without_loop()
        return self._run_limiter.acquire(request.user_key, request.memory)

    async def _begin_in_slot(
        self, slot: RunSlot, request: RunRequest, function: Callable[..., Any], new: NewRun
    ) -> Run | ActiveRun:
        missed = self._local_runs.last_missed
        started = await self._begin_in_store(new)
        if isinstance(started, ThreadBusy) and await self._end_orphan(started.live):
            started = await self._begin_in_store(new)
        if isinstance(started, ThreadBusy) and self.options.on_concurrent_run == "supersede":
            started = await self._supersede(new, started)
        if isinstance(started, ThreadBusy):
            return started.live
        lease, is_resuming = started.lease, request.has_resume
        try:
            if self.options.history == "stored":
                request, function = await self._complete_history(request, function, started, slot)
            if is_resuming:
                # Now that no other run can begin, so that of two equal responses only one finds its interrupt open.
                thread = await self.async_store.read(new.thread)
                request = check_resume(request, thread.runs, started.event_messages)
            if self._shutdown.refuses_runs():  # since meanwhile: the client is sent elsewhere
                raise ShuttingDown
            recorder = _recorder(request, started, is_resuming=is_resuming)
            # Not much has been said on a new thread. Whether it is one is looked up once the run has ended.
            may_be_first = self._naming is not None and len(started.event_messages) <= MAX_NEW_THREAD_MESSAGES
            run = self._launch(request, function, lease, recorder, slot, may_be_first=may_be_first)
        except BaseException:
            self._runs.pop(lease.run, None)
            self._local_runs.pop(lease.run, None)
            try:
                await self.async_store.finish(lease, (), RunCompletion(persist=False))
            except StoreError:
                self._lost_begins.add(lease)
            raise
        # A stop that was requested since the lease was taken has not found the run here, and a store that is not
        # polled would not report it again. The run has begun, whether or not the store works now.
        if self.store.poll_seconds is None and self._may_have_missed(missed):
            try:
                if await self.async_store.poll_signals([lease]):
                    run.stop_threadsafe()
            except StoreError:
                pass
        return run

    async def _begin_in_store(self, new: NewRun) -> RunStarted | ThreadBusy:
        try:
            return await self.async_store.begin(new)
        except TurnMissed:
            raise
        except BaseException:  # also if a server interrupts its worker thread in the middle of the call
            if new.begin_id:  # without one, the thread's active run may be any other
                self._lost_begins.add(new)
            raise

    def _may_have_missed(self, last_missed: object) -> bool:
        """Returns whether anybody may have looked for a run that was not here since ``last_missed`` was."""
        return self._local_runs.last_missed is not last_missed or not self._local_runs.has_all

    async def _complete_history(
        self, request: RunRequest, function: Callable[..., Any], started: RunStarted, slot: RunSlot
    ) -> tuple[RunRequest, Callable[..., Any]]:
        """Returns a run with all messages of its thread, now that no other run can add to them, and its function."""
        try:
            remembered = await remembered_messages(request, started)
        except (Exception, driver.SelfCancelledError) as error:
            return request, partial(_raise_only, [error])  # what the client has sent is not all that the agent needs
        before = request.memory
        request = await self.async_store.call_off_loop(complete_history, self.store, request, started, remembered)
        slot.add(request.memory - before)
        return request, function

    async def _supersede(self, new: NewRun, busy: ThreadBusy) -> RunStarted | ThreadBusy:
        deadline = time.monotonic() + SUPERSEDE_SECONDS
        started: RunStarted | ThreadBusy = busy
        while isinstance(started, ThreadBusy) and (left := deadline - time.monotonic()) > 0:
            await self.stop(new.thread, started.live.run_id)
            run = self._local_runs.get(started.live.run)
            if run is not None:
                await run.wait_ended(deadline)
            else:
                await driver.sleep(min(left, self.store.poll_seconds or left))
            started = await self._begin_in_store(new)
        if isinstance(started, ThreadBusy):
            await self._fence(started.live)
            started = await self._begin_in_store(new)
        return started

    async def _fence(self, live: ActiveRun) -> None:
        """Ends a run that does not end by itself, here or in another process."""
        run = self._local_runs.get(live.run)
        if run is None:
            await self._reap(live.run, STOPPED_BY_USER, force=True)
        else:
            run.force_stop_threadsafe()
            await run.wait_ended(time.monotonic() + SUPERSEDE_SECONDS)

    def _launch(
        self,
        request: RunRequest,
        function: Callable[..., Any],
        lease: Lease | None,
        recorder: RunRecorder,
        slot: RunSlot,
        *,
        may_be_first: bool = False,
    ) -> Run:
        # Only a worker thread waits for the first step: on an event loop, the headers leave before that.
        on_thread = loops.in_sync_driver()
        log = RunLog(None if lease is None else lease.run, request.run_id, request.agent_id, is_starting=on_thread)
        loop = loops.background_loop() if on_thread else asyncio.get_running_loop()
        services = self._run_services if self.on_run_end is None else self._reporting_run_services
        if may_be_first:
            services = self._naming_run_services
        run = Run(
            request,
            services,
            function=function,
            recorder=recorder,
            log=log,
            lease=lease,
            loop=loop,
            slot=slot,
        )
        if run.writer is None or lease is None:
            self._ephemeral_runs[log] = run
        else:
            self._runs[lease.run] = self._local_runs[lease.run] = run
            if self.options.debug:
                self._debug_feed.add(log, request)
            self._persistence.track(run.writer)
        if self.options.debug:
            log_events(log)
        self._active.add(run, loop)
        if not on_thread:
            run.start()
        elif not run.start_on_thread():
            loops.create_task_threadsafe(loop, run.execute(), after_first_step=run.after_first_step)
        return run

    # --- ending orphaned runs ---

    async def _end_orphan(self, live: ActiveRun) -> bool:
        """Ends a run whose event loop was closed under it, or whose process has died. Returns whether it was one."""
        if await self._end_without_loop(live):
            return True
        if live.expired:
            await self._reap(live.run, LOST)
        return live.expired

    async def _end_without_loop(self, live: ActiveRun) -> bool:
        """Ends a run of this process whose event loop was closed under it. Returns whether it was one."""
        run = self._local_runs.get(live.run)
        if run is None or not run.loop.is_closed():
            return False
        await run.end_without_loop()
        return True

    async def _end_all_without_loop(self) -> None:
        for run in self._all_runs():
            if run.loop.is_closed():
                await run.end_without_loop()

    async def _end_all_not_running(self) -> None:
        """Ends the runs of event loops that no longer run, closed or not."""
        deadline = time.monotonic() + FINISH_RETRY_SECONDS
        for run in self._all_runs():
            if not run.loop.is_running() and time.monotonic() < deadline:
                await run.end_without_loop()

    async def _reap(self, run: RunKey, ending: RunEnding, *, force: bool = False) -> None:
        if not force:
            # Where the machine was suspended, or its clock set forward, the owner is only late.
            await driver.sleep(REAP_GRACE_SECONDS)
        ended = await self.async_store.call(partial(reap, self.store, run, ending, force=force))
        if ended is None:
            return
        self._run_reaped(ended, run.thread.owner)
        if self.on_run_end is not None:
            await self._run_end_notifier.notify(self.on_run_end, ended)

    def _run_reaped(self, ended: EndedRun, owner: str) -> None:
        if run_logger.isEnabledFor(logging.INFO):
            log_reaped_run(ended, owner)

    async def _reap_lost(self, run: RunKey) -> None:
        await self._reap(run, LOST)

    def _find_local_log(self, key: RunKey) -> RunLog | None:
        """Returns the log of an active run of this process that any engine over the same store object runs."""
        run = self._local_runs.get(key)
        return None if run is None or run.loop.is_closed() else run.log

    # --- reported by readers and runs ---

    def _while_active(self, _: Sequence[Run]) -> None:
        self._persistence.heartbeat(asyncio.get_running_loop())
        self._shutdown.check_server()

    def _while_open(self) -> None:
        self._shutdown.check_server()
        if any(run.loop.is_closed() for run in self._all_runs()):
            loops.create_task_threadsafe(asyncio.get_running_loop(), self._end_all_without_loop())

    def _abandoned(self, log: RunLog) -> None:
        if log.run is None:
            # No other reader can ever follow a suggestion.
            run = self._ephemeral_runs.get(log)
        elif self.options.on_disconnect == "stop" and not self._shutdown.is_active:
            run = self._runs.get(log.run)
        else:
            return
        # An ordinal may be in use again, where a store was replaced: then the run is not the one of the log.
        if run is not None and run.log is log and not run.is_finished:
            run.stop_threadsafe()

    def _report_run_end(self, run: Run, ended: EndedRun) -> None:
        if self.on_run_end is not None:
            self._run_end_notifier.notify_in_background(loops.running_loop(run.loop), run, self.on_run_end, ended)

    def _report_first_run(self, run: Run, ended: EndedRun) -> None:
        """Does the same with a run that may be the first one of its thread, and names the thread."""
        self._report_run_end(run, ended)
        naming, key = self._naming, run.log.run
        if naming is not None and key is not None and not self.is_shutting_down:
            name = partial(naming.name, run.request, key)
            self._run_end_notifier.notify_in_background(loops.running_loop(run.loop), (run, naming), name, ended)

    async def _start_naming(self, request: RunRequest) -> Run | None:
        """Starts the run that names a thread; returns None if there may be no further run."""
        try:
            # Not as one of the user's runs, who has not asked for it.
            slot = self._run_limiter.acquire(None, request.memory)
        except (RunLimitReached, InputTooLarge):
            return None
        try:
            return self._launch(request, agent_callable(request.agent), None, RunRecorder(ordinal=None), slot)
        except BaseException:
            slot.release()
            raise

    def _run_ended(self, run: Run) -> None:
        # Before readers see the end: whoever has read a run finds its line.
        if run_logger.isEnabledFor(logging.INFO):
            log_run(run)
        run.log.end()
        self._unregister(run)
        self._subscribers.run_ended(run.log, run.size)

    def _run_lost(self, run: Run) -> None:
        """Has the run's readers read what the store has of it."""
        self._unregister(run)
        run.log.mark_started()
        if run_logger.isEnabledFor(logging.INFO):
            log_run(run, is_lost=True)
        self._remote_runs.follow_own(run.log, loops.running_loop(run.loop))

    def _unregister(self, run: Run) -> None:
        self._active.discard(run, run.loop)
        if not run.slot.is_released:
            run.slot.release()
        writer = run.writer
        if writer is None:
            self._ephemeral_runs.pop(run.log, None)
            return
        key = writer.lease.run
        for runs in (self._runs, self._local_runs):
            if runs.get(key) is run:  # an ordinal may be in use again, where a store was replaced
                del runs[key]
        self._persistence.untrack(writer)

    # --- the process ---

    async def shutdown(self, grace_seconds: float | None = None) -> None:
        """Refuses new runs, lets this process's runs end for ``grace_seconds``, ends them, and ends all streams."""
        self._shutdown.refuse_runs()
        await self._end_all_without_loop()
        await self._shutdown.end(grace_seconds)

    def shutdown_sync(self, grace_seconds: float | None = None) -> None:
        """Does the same, on a thread that may wait."""
        driver.run_sync(self._shutdown_on_thread(grace_seconds))

    async def _shutdown_on_thread(self, grace_seconds: float | None) -> None:
        self._shutdown.refuse_runs()
        await self._end_all_not_running()
        await self._shutdown.end(grace_seconds)

    def accept_runs(self) -> None:
        """Accepts runs again after `shutdown`."""
        self._shutdown.accept_runs()

    @property
    def is_shutting_down(self) -> bool:
        """Whether this process's runs are being ended, or its server shows that it shuts down."""
        return self._shutdown.is_active or server_shutdown() is not None

    @property
    def refuses_runs(self) -> bool:
        """Whether no further run may begin on this event loop, or for this worker thread: it shuts down."""
        return self._shutdown.refuses_runs()

    def status(self) -> EngineStatus:
        """Returns how many runs and streams there are."""
        options = self.options
        return EngineStatus(
            len(self._runs) + len(self._ephemeral_runs),
            options.max_runs,
            self._subscribers.open_count,
            options.max_streams,
            self._agent_threads.busy_count,
            options.max_agent_threads,
        )

    def close(self) -> None:
        """Stops this process's runs, and waits for those of the background loop: other loops may not run any more."""
        driver.run_sync(self._end_all_without_loop())
        background = loops.running_background_loop()
        for run in self._all_runs():
            if run.loop is not background and not run.loop.is_closed():
                run.stop_threadsafe(INTERRUPTED)
        if background is not None:
            driver.run_sync(self._shutdown.end(0.0, lambda loop: loop is background))

    def _all_runs(self) -> list[Run]:
        return [*self._runs.values(), *self._ephemeral_runs.values()]

    def after_fork(self) -> None:
        self._runs.clear()
        self._local_runs.clear()
        self._ephemeral_runs.clear()
        self._active.clear()
        self._run_limiter.after_fork()
        self._agent_threads.after_fork()
        self._subscribers.after_fork()
        self._shutdown.after_fork()
        self._run_end_notifier.after_fork()
        self._persistence.after_fork()
        self._lost_begins.after_fork()
        self._remote_runs.after_fork()
        self._debug_feed.after_fork()
        self.store.after_fork()

    def at_exit(self, exiting_since: float) -> None:
        """Ends the runs of the background loop, and those of a server whose event loop no longer runs."""
        self.async_store.at_exit()
        driver.run_sync(self._end_all_not_running())
        background = loops.running_background_loop()
        if background is not None:
            self._shutdown.end_at_exit(lambda loop: loop is background, exiting_since)


async def _raise_only(errors: list[BaseException], input: Any) -> None:
    """Raises the only error of a list, which its run must not keep: its traceback has frames that have the run."""
    raise errors.pop()


def _recorder(request: RunRequest, started: RunStarted, *, is_resuming: bool) -> RunRecorder:
    return RunRecorder(
        ordinal=started.lease.run.ordinal,
        input_echo=_Echo(request, started.event_messages, started.input_messages),
        known_message_ids=started.event_messages,
        is_resuming=is_resuming,
    )


class _Echo:
    """Returns the input of a run without the messages that the thread has already."""

    __slots__ = ("_known_from_events", "_known_from_inputs", "_request")

    def __init__(self, request: RunRequest, known_from_events: Set[str], known_from_inputs: Set[str]) -> None:
        self._request = request
        self._known_from_events = known_from_events
        self._known_from_inputs = known_from_inputs

    def __call__(self) -> InputEcho:
        body, in_events, in_inputs = self._request.body, self._known_from_events, self._known_from_inputs
        members = body.members
        messages = members["messages"]
        if in_events or in_inputs:
            new = [message for message in messages if message["id"] not in in_events and message["id"] not in in_inputs]
            if len(new) < len(messages):
                members = {**members, "messages": new}
        # Nothing needs them again before the end of the run.
        body.forget()
        if body.can_be_echoed and members["messages"] is messages:
            return InputEcho(body.data, tuple([message["id"] for message in messages]))
        return encode_echo(members)
