"""Runs are begun, found, read and stopped here; the store is all that processes share."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

from .._concurrency import driver, lifecycle, loops
from .._events import (
    LOST,
    Cursor,
    RunEnding,
    RunRecorder,
)
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
)
from .async_store import AsyncStore
from .debug_feed import DebugFeed
from .persistence import REAP_GRACE_SECONDS, RunPersistence
from .readers import RunReader
from .reaper import reap
from .remote_runs import RemoteRunFollower
from .replay import replay
from .run import INTERRUPTED, STOPPED_BY_USER, Run
from .run_end_notifier import RunEndNotifier
from .run_log import RunLog
from .subscribers import Subscribers
from .types import EndedRun, RunRequest

logger = logging.getLogger("copilot_runtime.engine")

T = TypeVar("T")

SUPERSEDE_SECONDS = 2.0
"""How long a superseded run is given to end by itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How runs are run. Times are in seconds."""

    on_concurrent_run: Literal["reject", "supersede"] = "reject"
    on_disconnect: Literal["continue", "stop"] = "continue"
    max_streams: int | None = None
    sse_keep_alive_seconds: float = 15
    run_timeout_seconds: float | None = None
    stop_grace_seconds: float = 10
    shutdown_grace_seconds: float = 10
    debug: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StopResult:
    """What became of a request to stop. ``is_other``: the run that was named is not the one going on."""

    is_stopping: bool
    is_other: bool = False


class Engine:
    """The runs of this process over one store."""

    def __init__(
        self, store: RunStore, options: EngineOptions, on_run_end: Callable[[EndedRun], Any] | None = None
    ) -> None:
        self.store = store
        self.async_store = AsyncStore(store)
        self.on_run_end = on_run_end
        self.options = options
        self.feed = DebugFeed()
        self._runs: dict[RunKey, Run] = {}
        self._ephemeral_runs: set[Run] = set()
        """Runs on no thread: suggestions."""
        self._is_shutting_down = False
        self._begin_may_suspend = store.blocking or options.on_concurrent_run == "supersede"
        """Whether beginning a run may take more than one step of its request's task."""
        self.audience = Subscribers(
            max_streams=options.max_streams,
            keep_alive_seconds=options.sse_keep_alive_seconds,
            abandoned=self._abandoned,
        )
        self.telling = RunEndNotifier()
        self.custody = RunPersistence(store, self.async_store)
        self._tails = RemoteRunFollower(store, self._reap_lost)
        lifecycle.register_lifecycle(self)

    # --- what endpoints ask for ---

    async def run(self, request: RunRequest) -> EventStream | ActiveRun:
        """Begins a run and gives its stream, or the run that keeps the thread busy.

        Raises TooManyStreams, and StoreError where the store fails.
        """
        with self.audience.open_stream() as opened:
            run = await self._begin_shielded(request)
            return (
                run
                if isinstance(run, ActiveRun)
                else opened(RunReader(log=run.log, life=self.audience.callbacks_for(run)))
            )

    async def suggest(self, request: RunRequest) -> EventStream:
        """Runs an agent on no thread, for as long as somebody reads. Raises TooManyStreams."""
        with self.audience.open_stream() as opened:
            run = self._launch(request, agent_callable(request.agent), None, RunRecorder(ordinal=None))
            return opened(RunReader(log=run.log, life=self.audience.callbacks_for(run)))

    async def connect(self, thread: ThreadKey, cursor: Cursor | None) -> EventStream:
        """What a thread has to show: its past, and its live run until that ends.

        Raises TooManyStreams, and StoreError where the store fails.
        """
        with self.audience.open_stream() as opened:
            view = await self.read_thread(thread, touch=True, cursor=cursor)
            shown = replay(view, cursor)
            if view.live is None:
                return opened(RunReader(log=None, history=shown.history, life=self.audience.callbacks_for()))
            run = self._runs.get(view.live.run)
            log = run.log if run is not None else self._tails.log(view.live.run, view.live.run_id, view.live.agent_id)
            return opened(
                RunReader(
                    log=log,
                    seen=shown.live_offset,
                    history=shown.history,
                    joining=shown.skip_duplicates,
                    life=self.audience.callbacks_for(run),
                )
            )

    async def stop(self, thread: ThreadKey, run_id: str | None) -> StopResult:
        """Asks a thread's run to stop, wherever it goes on."""
        live = await self.ask(lambda: self.store.request_stop(thread, run_id))
        if live is not None and live.expired:
            await self._reap(live.run, LOST)
            live = await self.ask(lambda: self.store.request_stop(thread, run_id))
        if run_id is not None and (live is None or live.run_id != run_id):
            return StopResult(False, is_other=True)
        if live is None or live.stopping:
            return StopResult(False)
        run = self._runs.get(live.run)
        if run is not None:  # which may have heard of it from the store, and be over
            run.stop_threadsafe()
        return StopResult(True)

    async def delete(self, thread: ThreadKey) -> bool:
        """Forgets a thread, ending what runs on it. False where there is none. Raises StoreError."""
        live = (await self.ask(lambda: self.store.read(thread))).live
        known = await self.ask(lambda: self.store.delete(thread))
        run = None if live is None else self._runs.get(live.run)
        if run is not None:
            loops.call_soon_threadsafe(run.loop, run.mark_lost)
        return known or live is not None

    def debug_stream(self, owner: str) -> EventStream:
        """The events of an owner's runs in this process from now on. Raises TooManyStreams."""
        with self.audience.open_stream() as opened:
            return opened(self.feed.subscribe(owner, self.audience.callbacks_for()))

    async def ask(self, question: Callable[[], T]) -> T:
        """Something of the store's, off the loop where the store may block. Raises StoreError."""
        return await self.async_store.call(question)

    async def read_thread(
        self, thread: ThreadKey, *, touch: bool = False, cursor: Cursor | None = None
    ) -> ThreadSnapshot:
        """A thread; a run whose owner is gone is ended first. Raises StoreError."""

        def look() -> ThreadSnapshot:
            return self.store.read(thread, touch=touch, raw_ordinal=None if cursor is None else cursor.ordinal)

        view = await self.ask(look)
        if view.live is None or not view.live.expired:
            return view
        await self._reap(view.live.run, LOST)
        return await self.ask(look)

    # --- beginning ---

    async def _begin_shielded(self, request: RunRequest) -> Run | ActiveRun:
        """`_begin`; a request that is cancelled meanwhile leaves no lease without a run."""
        if not self._begin_may_suspend or loops.in_sync_driver():
            return await self._begin(request)
        beginning = asyncio.ensure_future(self._begin(request))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._abandon_when_begun)
            raise

    def _abandon_when_begun(self, beginning: asyncio.Future[Run | ActiveRun]) -> None:
        if not beginning.cancelled() and beginning.exception() is None and isinstance(run := beginning.result(), Run):
            self.audience.reader_left(run)

    async def _begin(self, request: RunRequest) -> Run | ActiveRun:
        function = agent_callable(request.agent)  # before anything is taken: a factory may have given what is no agent
        new = NewRun(
            thread=ThreadKey(request.owner, request.thread_id),
            run_id=request.run_id,
            agent_id=request.agent_id,
            size=request.size,
        )
        begun = await self.ask(lambda: self.store.begin(new))
        if isinstance(begun, ThreadBusy) and begun.live.expired:
            await self._reap(begun.live.run, LOST)
            begun = await self.ask(lambda: self.store.begin(new))
        if isinstance(begun, ThreadBusy) and self.options.on_concurrent_run == "supersede":
            begun = await self._supersede(new, begun)
        if isinstance(begun, ThreadBusy):
            return begun.live
        lease = begun.lease
        try:
            run = self._launch(request, function, lease, _recorder(request, begun))
        except BaseException:
            self._runs.pop(lease.run, None)
            await self.ask(lambda: self.store.finish(lease, (), RunCompletion(persist=False)))
            raise
        # One who asked for a stop since the lease was taken has not found the run here. A store that is not
        # looked at in rounds would not tell of it again. The run has begun, whether or not it can tell now.
        if self.store.poll_seconds is None:
            with contextlib.suppress(StoreError):
                if lease in await self.ask(lambda: self.store.poll_signals([lease])):
                    run.stop_threadsafe()
        return run

    async def _supersede(self, new: NewRun, busy: ThreadBusy) -> RunStarted | ThreadBusy:
        deadline = time.monotonic() + SUPERSEDE_SECONDS
        begun: RunStarted | ThreadBusy = busy
        while isinstance(begun, ThreadBusy) and (left := deadline - time.monotonic()) > 0:
            await self.stop(new.thread, begun.live.run_id)
            run = self._runs.get(begun.live.run)
            if run is not None:
                await _wait_ended(run, deadline)
            else:
                await driver.sleep(min(left, self.store.poll_seconds or left))
            begun = await self.ask(lambda: self.store.begin(new))
        if isinstance(begun, ThreadBusy):
            await self._fence(begun.live)
            begun = await self.ask(lambda: self.store.begin(new))
        return begun

    async def _fence(self, live: ActiveRun) -> None:
        """Ends a run that does not end by itself, here or anywhere."""
        run = self._runs.get(live.run)
        if run is None:
            await self._reap(live.run, STOPPED_BY_USER, by_force=True)
        else:
            run.force_stop_threadsafe()
            await _wait_ended(run, time.monotonic() + SUPERSEDE_SECONDS)

    async def _reap(self, run: RunKey, ending: RunEnding, *, by_force: bool = False) -> None:
        if not by_force:
            # Where the machine stood still, or its clock was set forward, the owner is late, and lives.
            await driver.sleep(REAP_GRACE_SECONDS)
        ended = await self.ask(lambda: reap(self.store, run, ending, by_force=by_force))
        if ended is not None and self.on_run_end is not None:
            await self.telling.notify(self.on_run_end, ended)

    def _reap_lost(self, run: RunKey) -> Coroutine[Any, Any, None]:
        return self._reap(run, LOST)

    def _launch(
        self, request: RunRequest, function: Callable[..., Any], lease: Lease | None, recorder: RunRecorder
    ) -> Run:
        log = RunLog(None if lease is None else lease.run, request.run_id, request.agent_id)
        home = loops.target_loop()
        run = Run(
            self,
            request,
            function=function,
            recorder=recorder,
            log=log,
            lease=lease,
            home=home,
        )
        if lease is None:
            self._ephemeral_runs.add(run)
        else:
            self._runs[lease.run] = run
            if self.options.debug:
                self.feed.add(log, request)
            self.custody.track(run)
        loops.create_task_threadsafe(home, run.execute())
        return run

    def _abandoned(self, run: Run) -> None:
        # Nobody else can ever read a suggestion.
        if run.lease is None or (self.options.on_disconnect == "stop" and not self._is_shutting_down):
            run.stop_threadsafe()

    # --- what runs report ---

    def run_ended(self, run: Run) -> None:
        """A run is over: who still reads it does so from what is left."""
        self._unregister(run)
        self.audience.run_ended(run)

    def run_lost(self, run: Run) -> None:
        """Another process has ended a run or taken over its thread: its readers see what the store says."""
        self._unregister(run)
        self._tails.follow(run.log, run.loop)

    def _unregister(self, run: Run) -> None:
        self._ephemeral_runs.discard(run)
        if run.lease is not None:
            self._runs.pop(run.lease.run, None)
            self.custody.untrack(run)

    # --- the process's life ---

    async def shutdown(self) -> None:
        """Stops this process's runs and waits for them, as long as ``shutdown_grace_seconds`` allows."""
        self._is_shutting_down = True
        try:
            await self._stop_all([*self._runs.values(), *self._ephemeral_runs])
        finally:
            self._is_shutting_down = False  # a runtime may be served again, as tests do

    async def _stop_all(self, runs: Sequence[Run]) -> None:
        deadline = time.monotonic() + self.options.shutdown_grace_seconds
        alive = [run for run in runs if not run.loop.is_closed()]
        for run in alive:
            run.stop_threadsafe(INTERRUPTED)
        for run in alive:
            await _wait_ended(run, deadline)
        await self.telling.drain(alive, deadline)

    def after_fork(self) -> None:
        self._runs.clear()
        self._ephemeral_runs.clear()
        self.audience.after_fork()
        self.telling.after_fork()
        self.custody.after_fork()
        self._tails.after_fork()
        self.feed.after_fork()
        self.store.after_fork()

    def at_exit(self) -> None:
        """The process ends: what runs on its background loop is ended in order."""
        loop = loops.running_background_loop()
        ours = [run for run in [*self._runs.values(), *self._ephemeral_runs] if run.loop is loop]
        if ours:
            self._is_shutting_down = True
            self.async_store.at_exit()
            driver.run_sync(self._stop_all(ours))


def _recorder(request: RunRequest, begun: RunStarted) -> RunRecorder:
    def echo() -> Mapping[str, Any]:
        events, inputs = begun.event_messages, begun.input_messages
        fresh = [one for one in request.messages if one["id"] not in events and one["id"] not in inputs]
        return request.body if len(fresh) == len(request.messages) else {**request.body, "messages": fresh}

    return RunRecorder(ordinal=begun.lease.run.ordinal, input_echo=echo, known_message_ids=begun.event_messages)


async def _wait_ended(run: Run, deadline: float) -> None:
    """Waits until a run has ended for its readers, or the deadline."""
    while not run.log.ended and (left := deadline - time.monotonic()) > 0:
        await driver.wait_notified(run.log.add_end_waiter, left)
