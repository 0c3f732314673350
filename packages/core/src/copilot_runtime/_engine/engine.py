"""Runs are begun, found, read and stopped here; the store is all that processes share."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

from .._concurrency import bridge
from .._events import (
    LOST,
    Cursor,
    Ending,
    Recorder,
)
from .._http.types import EventStream
from ..agents._base import run_function
from ..stores.protocol import (
    Begun,
    Busy,
    Finished,
    Lease,
    Live,
    NewRun,
    RunKey,
    RunStore,
    StoreError,
    ThreadKey,
    ThreadView,
)
from .debug_feed import DebugFeed
from .persistence import LATE_SECONDS, Custody
from .readers import RunReader
from .reaper import bury
from .remote_runs import Tails
from .replay import replay
from .run import INTERRUPTED, STOP, Run
from .run_end_notifier import Telling
from .run_log import RunLog
from .subscribers import Audience
from .types import EndedRun, RunInput

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
class Stopped:
    """What became of a request to stop. ``is_other``: the run that was named is not the one going on."""

    is_stopping: bool
    is_other: bool = False


class Engine:
    """The runs of this process over one store."""

    def __init__(self, store: RunStore, options: EngineOptions) -> None:
        self.store = store
        self.options = options
        self.feed = DebugFeed()
        self.on_lost: Callable[[EndedRun], Any] | None = None
        """Told of runs that other processes have left behind and this one has ended."""
        self._runs: dict[RunKey, Run] = {}
        self._loose: set[Run] = set()
        """Runs on no thread: suggestions."""
        self._is_shutting_down = False
        self._may_wait = store.blocking or options.on_concurrent_run == "supersede"
        """Whether beginning a run may take more than one step of its request's task."""
        self.audience = Audience(
            max_streams=options.max_streams,
            keep_alive_seconds=options.sse_keep_alive_seconds,
            abandoned=self._abandoned,
        )
        self.telling = Telling()
        self.custody = Custody(store)
        self._tails = Tails(store, self._find_lost)
        bridge.register(self)

    # --- what endpoints ask for ---

    async def run(self, given: RunInput) -> EventStream | Live:
        """Begins a run and gives its stream, or the run that keeps the thread busy.

        Raises TooManyStreams, and StoreError where the store fails.
        """
        with self.audience.place() as opened:
            run = await self._shielded(given)
            return run if isinstance(run, Live) else opened(RunReader(log=run.log, life=self.audience.member(run)))

    async def suggest(self, given: RunInput) -> EventStream:
        """Runs an agent on no thread, for as long as somebody reads. Raises TooManyStreams."""
        with self.audience.place() as opened:
            run = self._start(given, run_function(given.agent), None, Recorder(ordinal=None))
            return opened(RunReader(log=run.log, life=self.audience.member(run)))

    async def connect(self, thread: ThreadKey, cursor: Cursor | None) -> EventStream:
        """What a thread has to show: its past, and its live run until that ends.

        Raises TooManyStreams, and StoreError where the store fails.
        """
        with self.audience.place() as opened:
            view = await self.view(thread, touch=True, cursor=cursor)
            shown = replay(view, cursor)
            if view.live is None:
                return opened(RunReader(log=None, history=shown.history, life=self.audience.member()))
            run = self._runs.get(view.live.run)
            log = run.log if run is not None else self._tails.log(view.live.run, view.live.run_id, view.live.agent_id)
            return opened(
                RunReader(
                    log=log,
                    seen=shown.live_after,
                    history=shown.history,
                    joining=shown.joining,
                    life=self.audience.member(run),
                )
            )

    async def stop(self, thread: ThreadKey, run_id: str | None) -> Stopped:
        """Asks a thread's run to stop, wherever it goes on."""
        live = await self.ask(lambda: self.store.request_stop(thread, run_id))
        if live is not None and live.expired:
            await self._bury(live.run, LOST)
            live = await self.ask(lambda: self.store.request_stop(thread, run_id))
        if run_id is not None and (live is None or live.run_id != run_id):
            return Stopped(False, is_other=True)
        if live is None or live.stopping:
            return Stopped(False)
        run = self._runs.get(live.run)
        if run is not None:  # which may have heard of it from the store, and be over
            run.stop_from_anywhere()
        return Stopped(True)

    async def delete(self, thread: ThreadKey) -> bool:
        """Forgets a thread, ending what runs on it. False where there is none. Raises StoreError."""
        live = (await self.ask(lambda: self.store.read(thread))).live
        known = await self.ask(lambda: self.store.delete(thread))
        run = None if live is None else self._runs.get(live.run)
        if run is not None:
            bridge.in_loop(run.home, run.lose)
        return known or live is not None

    def debug_stream(self, owner: str) -> EventStream:
        """The events of an owner's runs in this process from now on. Raises TooManyStreams."""
        with self.audience.place() as opened:
            return opened(self.feed.subscribe(owner, self.audience.member()))

    async def ask(self, question: Callable[[], T]) -> T:
        """Something of the store's, off the loop where the store may block. Raises StoreError."""
        return await self.custody.ask(question)

    async def view(self, thread: ThreadKey, *, touch: bool = False, cursor: Cursor | None = None) -> ThreadView:
        """A thread; a run whose owner is gone is ended first. Raises StoreError."""

        def look() -> ThreadView:
            return self.store.read(thread, touch=touch, raw_of=None if cursor is None else cursor.ordinal)

        view = await self.ask(look)
        if view.live is None or not view.live.expired:
            return view
        await self._bury(view.live.run, LOST)
        return await self.ask(look)

    # --- beginning ---

    async def _shielded(self, given: RunInput) -> Run | Live:
        """`_begin`; a request that is cancelled meanwhile leaves no lease without a run."""
        if not self._may_wait or bridge.is_driven():
            return await self._begin(given)
        beginning = asyncio.ensure_future(self._begin(given))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._nobody_reads)
            raise

    def _nobody_reads(self, beginning: asyncio.Future[Run | Live]) -> None:
        if not beginning.cancelled() and beginning.exception() is None and isinstance(run := beginning.result(), Run):
            self.audience.left(run)

    async def _begin(self, given: RunInput) -> Run | Live:
        function = run_function(given.agent)  # before anything is taken: a factory may have given what is no agent
        new = NewRun(
            thread=ThreadKey(given.owner, given.thread_id),
            run_id=given.run_id,
            agent_id=given.agent_id,
            size=given.size,
        )
        begun = await self.ask(lambda: self.store.begin(new))
        if isinstance(begun, Busy) and begun.live.expired:
            await self._bury(begun.live.run, LOST)
            begun = await self.ask(lambda: self.store.begin(new))
        if isinstance(begun, Busy) and self.options.on_concurrent_run == "supersede":
            begun = await self._supersede(new, begun)
        if isinstance(begun, Busy):
            return begun.live
        lease = begun.lease
        try:
            run = self._start(given, function, lease, _recorder(given, begun))
        except BaseException:
            self._runs.pop(lease.run, None)
            await self.ask(lambda: self.store.finish(lease, (), Finished(keep=False)))
            raise
        # One who asked for a stop since the lease was taken has not found the run here. A store that is not
        # looked at in rounds would not tell of it again. The run has begun, whether or not it can tell now.
        if self.store.poll_seconds is None:
            with contextlib.suppress(StoreError):
                if lease in await self.ask(lambda: self.store.signals([lease])):
                    run.stop_from_anywhere()
        return run

    async def _supersede(self, new: NewRun, busy: Busy) -> Begun | Busy:
        deadline = time.monotonic() + SUPERSEDE_SECONDS
        begun: Begun | Busy = busy
        while isinstance(begun, Busy) and (left := deadline - time.monotonic()) > 0:
            await self.stop(new.thread, begun.live.run_id)
            run = self._runs.get(begun.live.run)
            if run is not None:
                await _ended(run, deadline)
            else:
                await bridge.pause(min(left, self.store.poll_seconds or left))
            begun = await self.ask(lambda: self.store.begin(new))
        if isinstance(begun, Busy):
            await self._fence(begun.live)
            begun = await self.ask(lambda: self.store.begin(new))
        return begun

    async def _fence(self, live: Live) -> None:
        """Ends a run that does not end by itself, here or anywhere."""
        run = self._runs.get(live.run)
        if run is None:
            await self._bury(live.run, STOP, by_force=True)
        else:
            run.force_from_anywhere()
            await _ended(run, time.monotonic() + SUPERSEDE_SECONDS)

    async def _bury(self, run: RunKey, ending: Ending, *, by_force: bool = False) -> None:
        if not by_force:
            # Where the machine stood still, or its clock was set forward, the owner is late, and lives.
            await bridge.pause(LATE_SECONDS)
        ended = await self.ask(lambda: bury(self.store, run, ending, by_force=by_force))
        if ended is not None and self.on_lost is not None:
            await self.telling.tell(self.on_lost, ended)

    def _find_lost(self, run: RunKey) -> Coroutine[Any, Any, None]:
        return self._bury(run, LOST)

    def _start(self, given: RunInput, function: Callable[..., Any], lease: Lease | None, recorder: Recorder) -> Run:
        log = RunLog(None if lease is None else lease.run, given.run_id, given.agent_id)
        home = bridge.home()
        run = Run(
            self,
            given,
            function=function,
            recorder=recorder,
            log=log,
            lease=lease,
            home=home,
        )
        if lease is None:
            self._loose.add(run)
        else:
            self._runs[lease.run] = run
            if self.options.debug:
                self.feed.add(log, given)
            self.custody.take(run)
        bridge.spawn(home, run.live())
        return run

    def _abandoned(self, run: Run) -> None:
        # Nobody else can ever read a suggestion.
        if run.lease is None or (self.options.on_disconnect == "stop" and not self._is_shutting_down):
            run.stop_from_anywhere()

    # --- what runs report ---

    def ended(self, run: Run) -> None:
        """A run is over: who still reads it does so from what is left."""
        self._drop(run)
        self.audience.ended(run)

    def lost(self, run: Run) -> None:
        """Another process has ended a run or taken over its thread: its readers see what the store says."""
        self._drop(run)
        self._tails.follow(run.log, run.home)

    def _drop(self, run: Run) -> None:
        self._loose.discard(run)
        if run.lease is not None:
            self._runs.pop(run.lease.run, None)
            self.custody.leave(run)

    # --- the process's life ---

    async def shutdown(self) -> None:
        """Stops this process's runs and waits for them, as long as ``shutdown_grace_seconds`` allows."""
        self._is_shutting_down = True
        try:
            await self._stop_all([*self._runs.values(), *self._loose])
        finally:
            self._is_shutting_down = False  # a runtime may be served again, as tests do

    async def _stop_all(self, runs: Sequence[Run]) -> None:
        deadline = time.monotonic() + self.options.shutdown_grace_seconds
        alive = [run for run in runs if not run.home.is_closed()]
        for run in alive:
            run.stop_from_anywhere(INTERRUPTED)
        for run in alive:
            await _ended(run, deadline)
        await self.telling.wait(alive, deadline)

    def after_fork(self) -> None:
        self._runs.clear()
        self._loose.clear()
        self.audience.after_fork()
        self.telling.after_fork()
        self.custody.after_fork()
        self._tails.after_fork()
        self.feed.after_fork()
        self.store.after_fork()

    def at_exit(self) -> None:
        """The process ends: what runs on its background loop is ended in order."""
        loop = bridge.background_if_running()
        ours = [run for run in [*self._runs.values(), *self._loose] if run.home is loop]
        if ours:
            self._is_shutting_down = True
            self.custody.at_exit()
            bridge.drive(self._stop_all(ours))


def _recorder(given: RunInput, begun: Begun) -> Recorder:
    def echo() -> Mapping[str, Any]:
        events, inputs = begun.event_messages, begun.input_messages
        fresh = [one for one in given.messages if one["id"] not in events and one["id"] not in inputs]
        return given.body if len(fresh) == len(given.messages) else {**given.body, "messages": fresh}

    return Recorder(ordinal=begun.lease.run.ordinal, echo=echo, known=begun.event_messages)


async def _ended(run: Run, deadline: float) -> None:
    """Waits until a run has ended for its readers, or the deadline."""
    while not run.log.ended and (left := deadline - time.monotonic()) > 0:
        await bridge.wait(run.log.park_for_end, left)
