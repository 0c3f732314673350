"""What the store is told of this process's runs, and what it says of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Sequence
from typing import TypeVar

from .._concurrency import loops
from ..stores.protocol import (
    Batch,
    Lease,
    LeaseLost,
    LeaseSignal,
    RunCompletion,
    RunStore,
    RunTooLarge,
    StoreError,
)
from .async_store import AsyncStore
from .finish_result import FinishResult
from .outage_log import OutageLog
from .periodic import PeriodicTask
from .run import (
    LOST_LEASE,
    STOPPED_BY_USER,
    TOO_LARGE,
    Run,
)

logger = logging.getLogger("copilot_runtime.engine")

T = TypeVar("T")

FLUSH_INTERVAL_SECONDS = 0.1
MAX_UNFLUSHED_BYTES = 64 * 1024
"""What a crash may take of a run: what came in so many seconds, or so many bytes."""

RENEWALS_PER_LEASE = 3
"""How often a lease is renewed within its time, so that one renewal may fail."""

RETRIES_PER_LEASE = 15
"""How often within a lease's time a renewal is tried that has failed."""

CLOCK_CHECK_SECONDS = 0.1
"""How late a renewal may be after the machine stood still, or its clock was set forward."""

REAP_GRACE_SECONDS = 0.75
"""How long the owner of a run whose lease has run out is given to renew it after all: some naps."""

LOOP_STALL_SECONDS = 60.0
"""A loop that has not ticked for so long is given up: its runs' leases are left to run out."""

FINISH_RETRY_SECONDS = 5.0
"""How long a store that does not work is asked again to take the end of a run."""

FINISH_RETRY_INTERVAL = 0.1


class RunPersistence:
    """Saves, watches and keeps the leases of runs, in rounds that all runs share."""

    def __init__(self, store: RunStore, async_store: AsyncStore) -> None:
        self._store = store
        self._async_store = async_store
        self._saving: PeriodicTask[Run] = PeriodicTask(FLUSH_INTERVAL_SECONDS, self._flush_tick)
        self._watching: PeriodicTask[Run] = PeriodicTask(store.poll_seconds or 1.0, self._poll_tick)
        self._keeper: LeaseRenewer | None = None
        self._making = threading.Lock()
        self._busy_saving: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._busy_watching: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._unsaved = OutageLog("the store does not take what runs have emitted")
        self._unwatched = OutageLog("the store does not say whether runs are to stop")

    def track(self, run: Run) -> None:
        """A run has begun."""
        if self._store.poll_seconds is not None:
            self._watching.add(run, run.loop)
        if self._store.lease_seconds is not None:
            # Runs begin on many threads at once, and all of them have to have the same keeper.
            with self._making:
                if self._keeper is None:
                    self._keeper = LeaseRenewer(self._store, self._store.lease_seconds)
            self._keeper.add(run)

    def untrack(self, run: Run) -> None:
        """A run is over."""
        self._saving.discard(run, run.loop)
        self._watching.discard(run, run.loop)
        if self._keeper is not None:
            self._keeper.discard(run)

    def after_fork(self) -> None:
        """This is a child process: its parent's runs are not here."""
        self._saving.clear()
        self._watching.clear()
        self._keeper = None
        self._making = threading.Lock()
        self._busy_saving.clear()
        self._busy_watching.clear()

    # --- saving ---

    def schedule_flush(self, run: Run) -> None:
        """A run has frames that the store has not."""
        if run.unflushed_bytes >= MAX_UNFLUSHED_BYTES and not self._store.blocking:
            self._flush([run])
        elif not run.flush_scheduled:
            run.flush_scheduled = True
            self._saving.add(run, run.loop)

    async def finish(self, run: Run, lease: Lease, rest: Sequence[bytes], finished: RunCompletion) -> FinishResult:
        """Ends a run in the store, which is asked again for a while where it does not work."""

        def write() -> None:
            with run.flush_lock:
                self._store.finish(lease, [*run.log.frames[run.flushed_count :], *rest], finished)

        self._saving.discard(run, run.loop)
        # While it is asked, the lease is kept; without one there is nobody who could take the run.
        deadline = time.monotonic() + min(FINISH_RETRY_SECONDS, self._store.lease_seconds or FINISH_RETRY_SECONDS)
        while True:
            try:
                await self._async_store.call(write)
                return FinishResult.STORED
            except LeaseLost:
                return FinishResult.LEASE_LOST
            except Exception as error:
                if not isinstance(error, StoreError) or time.monotonic() + FINISH_RETRY_INTERVAL > deadline:
                    logger.exception("run %r has ended, but the store did not take its end", run.request.run_id)
                    return FinishResult.NOT_STORED
            await asyncio.sleep(FINISH_RETRY_INTERVAL)

    def _flush_tick(self, runs: list[Run]) -> None:
        # One at a time: what waits for a store that does not answer would take up every thread there is.
        loop = asyncio.get_running_loop()
        if loop in self._busy_saving:
            return
        for run in runs:
            self._saving.discard(run, run.loop)
            run.flush_scheduled = False
        if self._store.blocking:
            self._busy_saving.add(loop)
            loops.create_task_threadsafe(loop, self._flush_in_thread(runs, loop))
        else:
            self._flush(runs)

    async def _flush_in_thread(self, runs: Sequence[Run], loop: asyncio.AbstractEventLoop) -> None:
        try:
            await self._async_store.call(lambda: self._flush(runs))
        finally:
            self._busy_saving.discard(loop)

    def _flush(self, runs: Sequence[Run]) -> None:
        held: dict[Lease, Run] = {}
        try:
            batches = []
            for run in runs:
                # A run is saved by one at a time, its end included, or frames would be stored twice.
                run.flush_lock.acquire()
                if run.lease is None or run.is_finished:
                    run.flush_lock.release()
                    continue
                held[run.lease] = run
                run.unflushed_bytes = 0
                batches.append(Batch(run.lease, run.log.frames[run.flushed_count :], run.log.duplicates))
            refused = self._store.append(batches) if batches else {}
            self._unsaved.recovered()
            for batch in batches:
                held[batch.lease].flushed_count += len(batch.frames)
            for lease, why in refused.items():
                self._handle_refusal(held[lease], why)
        except StoreError as error:
            # Not the agents' failure, and perhaps nothing more comes from them that would bring it along.
            self._unsaved.failed(error)
            for run in held.values():
                run.flush_scheduled = True
                self._saving.add(run, run.loop)
        except Exception:
            logger.exception("the store did not take what runs have emitted")
        finally:
            for run in held.values():
                run.flush_lock.release()

    def _handle_refusal(self, run: Run, why: LeaseLost | RunTooLarge) -> None:
        if isinstance(why, RunTooLarge):
            run.stop_threadsafe(TOO_LARGE)
        else:
            loops.call_soon_threadsafe(run.loop, run.mark_lost)

    # --- watching ---

    def _poll_tick(self, runs: list[Run]) -> None:
        loop = asyncio.get_running_loop()
        if self._keeper is not None:
            self._keeper.heartbeat(loop)
        if loop not in self._busy_watching:
            self._busy_watching.add(loop)
            loops.create_task_threadsafe(loop, self._poll_signals(runs, loop))

    async def _poll_signals(self, runs: Sequence[Run], loop: asyncio.AbstractEventLoop) -> None:
        leases = {run.lease: run for run in runs if run.lease is not None and not run.is_finished}
        try:
            signals = await self._async_store.call(lambda: self._store.poll_signals(list(leases)))
        except Exception as error:
            self._unwatched.failed(error)
            return
        finally:
            self._busy_watching.discard(loop)
        self._unwatched.recovered()
        for lease, signal in signals.items():
            if signal is LeaseSignal.STOP:
                leases[lease].stop(STOPPED_BY_USER)
            else:
                leases[lease].mark_lost()


class LeaseRenewer:
    """Renews leases on a thread of its own, as long as their loops are alive.

    A thread, since a loop that an agent blocks for a while is no reason to lose its runs;
    but a loop that is stuck must not keep them for ever.
    """

    def __init__(self, store: RunStore, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._runs: dict[Run, float] = {}
        """When each run's lease was last known to hold."""
        self._active_seconds = 0.0
        """For how long this thread has been at it: a clock that stands still when the process does."""
        self._ticks: dict[asyncio.AbstractEventLoop, float] = {}
        """When each loop was last alive, by that clock."""
        self._wake = threading.Event()
        self._trouble = OutageLog("leases cannot be renewed")
        loops.start_thread(self._run, name="copilotkit-leases")

    def add(self, run: Run) -> None:
        """A lease to keep."""
        self.heartbeat(run.loop)
        self._runs[run] = time.monotonic()
        self._wake.set()

    def discard(self, run: Run) -> None:
        """A lease that is done with."""
        self._runs.pop(run, None)

    def heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """A loop is alive."""
        self._ticks[loop] = self._active_seconds

    def _run(self) -> None:
        is_well = True
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._runs:
                # One that has failed is made up for soon: a store that works again finds leases that still hold.
                self._sleep(self._lease_seconds / (RENEWALS_PER_LEASE if is_well else RETRIES_PER_LEASE))
                is_well = self._renew()

    def _sleep(self, seconds: float) -> None:
        """Waits in naps, until either of the machine's clocks says that it is time: leases run out by the one
        that may be set, and it is the other one that goes on where that is set back."""
        wall, steady = time.time() + seconds, time.monotonic() + seconds
        nap = min(CLOCK_CHECK_SECONDS, seconds)
        while time.time() < wall and time.monotonic() < steady:
            time.sleep(nap)
            self._active_seconds += nap

    def _renew(self) -> bool:
        now = time.monotonic()
        oldest = self._active_seconds - LOOP_STALL_SECONDS
        kept = {run: last for run, last in list(self._runs.items()) if self._ticks[run.loop] > oldest}
        try:
            self._store.renew([run.lease for run in kept if run.lease is not None])
        except Exception as error:
            self._trouble.failed(error)
            for run, last in kept.items():
                if now - last >= self._lease_seconds:
                    # Whoever reaches the store may have taken the thread by now.
                    loops.call_soon_threadsafe(run.loop, run.stop, LOST_LEASE)
            return False
        self._trouble.recovered()
        for run in kept:
            if run in self._runs:
                self._runs[run] = now
        return True
