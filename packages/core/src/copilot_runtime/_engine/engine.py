"""Begins, finds, reads and stops runs; the store is the only thing that processes share."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from .._concurrency import driver, lifecycle, loops
from .._concurrency.server_shutdown import server_shutdown
from .._events import Cursor
from .._http.streaming import EventStream
from ..stores.protocol import (
    ActiveRun,
    RunStore,
    ThreadKey,
    ThreadSnapshot,
    ThreadUnreadable,
)
from .active_runs import ActiveRuns
from .agent_hints import AgentHints
from .agent_threads import AgentThreads
from .async_store import AsyncStore
from .debug_feed import DebugFeed
from .endings import INTERRUPTED
from .event_log import log_events
from .orphans import Orphans
from .persistence import RunPersistence
from .remote_runs import RemoteRunFollower
from .replay import replay
from .replay_reader import ReplayReader
from .run import Run
from .run_end_notifier import RunEndNotifier
from .run_log import RunLog
from .run_reader import RunReader
from .run_report import log_reaped_run, log_run
from .run_report import logger as run_logger
from .run_services import RunServices
from .run_starter import RunStarter
from .shutdown import Shutdown, ShuttingDown
from .subscribers import Subscribers
from .thread_names import NameSource, ThreadNaming
from .types import EndedRun, EngineOptions, RunEndHook, RunRequest


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
        self._runs = ActiveRuns(store, self._while_active)
        self._agent_threads = AgentThreads(options.max_agent_threads, options.max_runs_per_user)
        self._subscribers = Subscribers(
            max_streams=options.max_streams,
            keep_alive_seconds=options.sse_keep_alive_seconds,
            send_timeout_seconds=options.send_timeout_seconds,
            on_abandoned=self._abandoned,
            while_open=self._while_open,
        )
        self._persistence = RunPersistence(store, self.async_store, has_all_readers=self._runs.shared.has_all)
        self._run_end_notifier = RunEndNotifier()
        self._shutdown = Shutdown(
            grace_seconds=options.shutdown_grace_seconds,
            runs=self._runs.all,
            subscribers=self._subscribers,
            run_end_notifier=self._run_end_notifier,
        )
        self._orphans = Orphans(store, self.async_store, self._runs, self._run_reaped)
        self._remote_runs = RemoteRunFollower(store, self.async_store, self._orphans.reap_lost, self._runs.find_log)
        self._starter = RunStarter(
            store,
            self.async_store,
            options,
            runs=self._runs,
            orphans=self._orphans,
            subscribers=self._subscribers,
            shutdown=self._shutdown,
            run_services=RunServices(
                options,
                self._agent_threads,
                self._persistence,
                AgentHints(),
                self._run_ended,
                self._run_lost,
                self._find_reporter,
            ),
            launch=self._launch,
            stop=self.stop,
            names_threads=thread_names is not None,
        )
        self._naming = (
            None
            if thread_names is None
            else ThreadNaming(thread_names, self.async_store, self._starter.begin_beside_user)
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
        if self._subscribers.has_limit:
            return await self._run_in_slot(request)
        run = await self._starter.begin(request)
        return run if isinstance(run, ActiveRun) else EventStream(RunReader(run.log, self._subscribers.callbacks))

    async def _run_in_slot(self, request: RunRequest) -> EventStream | ActiveRun:
        with self._subscribers.open_stream() as open_source:
            run = await self._starter.begin(request)
            return run if isinstance(run, ActiveRun) else open_source(self._reader(run.log))

    async def suggest(self, request: RunRequest) -> EventStream:
        """Runs an agent on no thread, for as long as the stream is read.

        Raises TypeError, ShuttingDown, TooManyStreams, TooManyRuns, TooManyRunsOfUser, and InputTooLarge.
        """
        if self._shutdown.refuses_runs():
            raise ShuttingDown
        with self._subscribers.open_stream() as open_source:
            run = await self._starter.begin_on_no_thread(request)
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
                log = self._runs.own_log(live.run) or self._remote_runs.log(live.run, live.run_id, live.agent_id)
            reader = ReplayReader(
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
        if live is not None and await self._orphans.end(live):
            live = await self.async_store.request_stop(thread, run_id)
        if run_id is not None and (live is None or live.run_id != run_id):
            return StopResult(False, is_other=True)
        if live is None or live.stopping:
            return StopResult(False)
        run = self._runs.shared.find(live.run)
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
            await self._runs.end_without_loop(live)
        existed = await self.async_store.delete(thread)
        run = None if live is None else self._runs.shared.find(live.run)
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
        if snapshot.live is None or not await self._orphans.end(snapshot.live):
            return snapshot
        return await self.async_store.read(thread, touch=touch, raw_ordinal=raw_ordinal)

    def _reader(self, log: RunLog) -> RunReader:
        return RunReader(log, self._subscribers.callbacks)

    def _launch(self, run: Run) -> None:
        """Starts a run that has begun in the store, or is on no thread."""
        is_tracked = self._persistence.tracks_runs and run.log.run is not None
        self._runs.add(run)
        try:
            if is_tracked:
                self._persistence.track(run)
            if self.options.debug:
                self._show_events(run)
            run.start()
        except BaseException:  # such as a loop that is being closed; the slot is the caller's
            run.log.end()
            self._runs.discard(run)
            if is_tracked:
                self._persistence.untrack(run)
            raise

    def _show_events(self, run: Run) -> None:
        if run.log.run is not None:
            self._debug_feed.add(run.log, run.request)
        log_events(run.log)

    # --- reported by readers and runs ---

    def _while_active(self) -> None:
        self._persistence.heartbeat(asyncio.get_running_loop())
        self._shutdown.check_server()

    def _while_open(self) -> None:
        self._shutdown.check_server()
        if self._runs.have_closed_loop():
            loops.create_task_threadsafe(asyncio.get_running_loop(), self._runs.end_all_without_loop())

    def _abandoned(self, log: RunLog) -> None:
        # No other reader can ever follow a suggestion.
        stops = log.run is None or (self.options.on_disconnect == "stop" and not self._shutdown.is_active)
        if stops and (run := self._runs.of_log(log)) is not None:
            run.stop_threadsafe()

    def _find_reporter(self, run: Run) -> Callable[[Run, EndedRun], None] | None:
        if run.may_be_first:
            return self._report_first_run
        return None if self.on_run_end is None else self._report_run_end

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
        run.slot.release()
        run.log.mark_started()
        if run_logger.isEnabledFor(logging.INFO):
            log_run(run, is_lost=True)
        self._remote_runs.follow_own(run.log, loops.running_loop(run.loop))

    async def _run_reaped(self, ended: EndedRun, owner: str) -> None:
        if run_logger.isEnabledFor(logging.INFO):
            log_reaped_run(ended, owner)
        if self.on_run_end is not None:
            await self._run_end_notifier.notify(self.on_run_end, ended)

    def _unregister(self, run: Run) -> None:
        self._runs.discard(run)
        persistence = self._persistence
        if run.flush_scheduled or (persistence.tracks_runs and run.log.run is not None):
            persistence.untrack(run)

    # --- the process ---

    async def shutdown(self, grace_seconds: float | None = None) -> None:
        """Refuses new runs, lets this process's runs end for ``grace_seconds``, ends them, and ends all streams."""
        self._shutdown.refuse_runs()
        await self._runs.end_all_without_loop()
        await self._shutdown.end(grace_seconds)

    def shutdown_sync(self, grace_seconds: float | None = None) -> None:
        """Does the same, on a thread that may wait."""
        driver.run_sync(self._shutdown_on_thread(grace_seconds))

    async def _shutdown_on_thread(self, grace_seconds: float | None) -> None:
        self._shutdown.refuse_runs()
        await self._runs.end_all_not_running()
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
            self._runs.count,
            options.max_runs,
            self._subscribers.open_count,
            options.max_streams,
            self._agent_threads.busy_count,
            options.max_agent_threads,
        )

    def close(self) -> None:
        """Stops this process's runs, and waits for those of the background loop: other loops may not run any more."""
        driver.run_sync(self._runs.end_all_without_loop())
        self._run_end_notifier.move_from_closed_loops()
        background = loops.running_background_loop()
        for run in self._runs.all():
            if run.loop is not background and not run.loop.is_closed():
                run.stop_threadsafe(INTERRUPTED)
        if background is not None:
            driver.run_sync(self._shutdown.end(0.0, lambda loop: loop is background))

    def after_fork(self) -> None:
        self._runs.clear()
        self._starter.after_fork()
        self._agent_threads.after_fork()
        self._subscribers.after_fork()
        self._shutdown.after_fork()
        self._run_end_notifier.after_fork()
        self._persistence.after_fork()
        self._remote_runs.after_fork()
        self._debug_feed.after_fork()
        self.store.after_fork()

    def at_exit(self, exiting_since: float) -> None:
        """Ends the runs of the background loop, and those of a server whose event loop no longer runs."""
        self.async_store.at_exit()
        driver.run_sync(self._runs.end_all_not_running())
        self._run_end_notifier.move_from_closed_loops()
        background = loops.running_background_loop()
        if background is not None:
            self._shutdown.end_at_exit(lambda loop: loop is background, exiting_since)
