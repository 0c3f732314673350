"""What the store is told of this process's runs, and what it says of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TypeVar

from .._concurrency import bridge
from ..stores.protocol import (
    Batch,
    Finished,
    Lease,
    LeaseLost,
    RunStore,
    RunTooLarge,
    Signal,
    StoreError,
)
from .finish_result import End
from .outage_log import Trouble
from .periodic import Rounds
from .run import (
    LOST_LEASE,
    STOP,
    TOO_LARGE,
    Run,
)

logger = logging.getLogger("copilot_runtime.engine")

T = TypeVar("T")

SAVE_SECONDS = 0.1
SAVE_BYTES = 64 * 1024
"""What a crash may take of a run: what came in so many seconds, or so many bytes."""

RENEWALS = 3
"""How often a lease is renewed within its time, so that one renewal may fail."""

RETRIES = 15
"""How often within a lease's time a renewal is tried that has failed."""

NAP_SECONDS = 0.1
"""How late a renewal may be after the machine stood still, or its clock was set forward."""

LATE_SECONDS = 0.75
"""How long the owner of a run whose lease has run out is given to renew it after all: some naps."""

STUCK_SECONDS = 60.0
"""A loop that has not ticked for so long is given up: its runs' leases are left to run out."""

FINISH_SECONDS = 5.0
"""How long a store that does not work is asked again to take the end of a run."""

FINISH_PAUSE = 0.1


class Custody:
    """Saves, watches and keeps the leases of runs, in rounds that all runs share."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._saving: Rounds[Run] = Rounds(SAVE_SECONDS, self._save_round)
        self._watching: Rounds[Run] = Rounds(store.poll_seconds or 1.0, self._watch_round)
        self._keeper: LeaseKeeper | None = None
        self._making = threading.Lock()
        self._is_last = False
        self._busy_saving: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._busy_watching: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._unsaved = Trouble("the store does not take what runs have emitted")
        self._unwatched = Trouble("the store does not say whether runs are to stop")

    async def ask(self, question: Callable[[], T]) -> T:
        """Something of the store's, off the loop where the store may block. Raises what the store raises."""
        if self._store.blocking and not self._is_last:
            return await bridge.blocking(question)
        return question()

    def at_exit(self) -> None:
        """The process ends: there are no more threads to be had, and nobody whom waiting could keep."""
        self._is_last = True

    def take(self, run: Run) -> None:
        """A run has begun."""
        if self._store.poll_seconds is not None:
            self._watching.add(run, run.home)
        if self._store.lease_seconds is not None:
            # Runs begin on many threads at once, and all of them have to have the same keeper.
            with self._making:
                if self._keeper is None:
                    self._keeper = LeaseKeeper(self._store, self._store.lease_seconds)
            self._keeper.add(run)

    def leave(self, run: Run) -> None:
        """A run is over."""
        self._saving.discard(run, run.home)
        self._watching.discard(run, run.home)
        if self._keeper is not None:
            self._keeper.discard(run)

    def after_fork(self) -> None:
        """This is a child process: its parent's runs are not here."""
        self._saving.forget()
        self._watching.forget()
        self._keeper = None
        self._making = threading.Lock()
        self._busy_saving.clear()
        self._busy_watching.clear()

    # --- saving ---

    def grew(self, run: Run) -> None:
        """A run has frames that the store has not."""
        if run.unsaved_bytes >= SAVE_BYTES and not self._store.blocking:
            self._save([run])
        elif not run.is_marked:
            run.is_marked = True
            self._saving.add(run, run.home)

    async def finish(self, run: Run, lease: Lease, rest: Sequence[bytes], finished: Finished) -> End:
        """Ends a run in the store, which is asked again for a while where it does not work."""

        def write() -> None:
            with run.saving:
                self._store.finish(lease, [*run.log.frames[run.saved :], *rest], finished)

        self._saving.discard(run, run.home)
        # While it is asked, the lease is kept; without one there is nobody who could take the run.
        deadline = time.monotonic() + min(FINISH_SECONDS, self._store.lease_seconds or FINISH_SECONDS)
        while True:
            try:
                await self.ask(write)
                return End.STORED
            except LeaseLost:
                return End.LOST
            except Exception as error:
                if not isinstance(error, StoreError) or time.monotonic() + FINISH_PAUSE > deadline:
                    logger.exception("run %r has ended, but the store did not take its end", run.given.run_id)
                    return End.UNSTORED
            await asyncio.sleep(FINISH_PAUSE)

    def _save_round(self, runs: list[Run]) -> None:
        # One at a time: what waits for a store that does not answer would take up every thread there is.
        loop = asyncio.get_running_loop()
        if loop in self._busy_saving:
            return
        for run in runs:
            self._saving.discard(run, run.home)
            run.is_marked = False
        if self._store.blocking:
            self._busy_saving.add(loop)
            bridge.spawn(loop, self._save_elsewhere(runs, loop))
        else:
            self._save(runs)

    async def _save_elsewhere(self, runs: Sequence[Run], loop: asyncio.AbstractEventLoop) -> None:
        try:
            await self.ask(lambda: self._save(runs))
        finally:
            self._busy_saving.discard(loop)

    def _save(self, runs: Sequence[Run]) -> None:
        held: dict[Lease, Run] = {}
        try:
            batches = []
            for run in runs:
                # A run is saved by one at a time, its end included, or frames would be stored twice.
                run.saving.acquire()
                if run.lease is None or run.is_over:
                    run.saving.release()
                    continue
                held[run.lease] = run
                run.unsaved_bytes = 0
                batches.append(Batch(run.lease, run.log.frames[run.saved :], run.log.repeats))
            refused = self._store.append(batches) if batches else {}
            self._unsaved.ends()
            for batch in batches:
                held[batch.lease].saved += len(batch.frames)
            for lease, why in refused.items():
                self._refused(held[lease], why)
        except StoreError as error:
            # Not the agents' failure, and perhaps nothing more comes from them that would bring it along.
            self._unsaved.begins(error)
            for run in held.values():
                run.is_marked = True
                self._saving.add(run, run.home)
        except Exception:
            logger.exception("the store did not take what runs have emitted")
        finally:
            for run in held.values():
                run.saving.release()

    def _refused(self, run: Run, why: LeaseLost | RunTooLarge) -> None:
        if isinstance(why, RunTooLarge):
            run.stop_from_anywhere(TOO_LARGE)
        else:
            bridge.in_loop(run.home, run.lose)

    # --- watching ---

    def _watch_round(self, runs: list[Run]) -> None:
        loop = asyncio.get_running_loop()
        if self._keeper is not None:
            self._keeper.ticked(loop)
        if loop not in self._busy_watching:
            self._busy_watching.add(loop)
            bridge.spawn(loop, self._watch(runs, loop))

    async def _watch(self, runs: Sequence[Run], loop: asyncio.AbstractEventLoop) -> None:
        leases = {run.lease: run for run in runs if run.lease is not None and not run.is_over}
        try:
            signals = await self.ask(lambda: self._store.signals(list(leases)))
        except Exception as error:
            self._unwatched.begins(error)
            return
        finally:
            self._busy_watching.discard(loop)
        self._unwatched.ends()
        for lease, signal in signals.items():
            if signal is Signal.STOP:
                leases[lease].stop(STOP)
            else:
                leases[lease].lose()


class LeaseKeeper:
    """Renews leases on a thread of its own, as long as their loops are alive.

    A thread, since a loop that an agent blocks for a while is no reason to lose its runs;
    but a loop that is stuck must not keep them for ever.
    """

    def __init__(self, store: RunStore, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._runs: dict[Run, float] = {}
        """When each run's lease was last known to hold."""
        self._awake = 0.0
        """For how long this thread has been at it: a clock that stands still when the process does."""
        self._ticks: dict[asyncio.AbstractEventLoop, float] = {}
        """When each loop was last alive, by that clock."""
        self._wake = threading.Event()
        self._trouble = Trouble("leases cannot be renewed")
        bridge.thread(self._keep, name="copilotkit-leases")

    def add(self, run: Run) -> None:
        """A lease to keep."""
        self.ticked(run.home)
        self._runs[run] = time.monotonic()
        self._wake.set()

    def discard(self, run: Run) -> None:
        """A lease that is done with."""
        self._runs.pop(run, None)

    def ticked(self, loop: asyncio.AbstractEventLoop) -> None:
        """A loop is alive."""
        self._ticks[loop] = self._awake

    def _keep(self) -> None:
        is_well = True
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._runs:
                # One that has failed is made up for soon: a store that works again finds leases that still hold.
                self._rest(self._lease_seconds / (RENEWALS if is_well else RETRIES))
                is_well = self._renew()

    def _rest(self, seconds: float) -> None:
        """Waits in naps, until either of the machine's clocks says that it is time: leases run out by the one
        that may be set, and it is the other one that goes on where that is set back."""
        wall, steady = time.time() + seconds, time.monotonic() + seconds
        nap = min(NAP_SECONDS, seconds)
        while time.time() < wall and time.monotonic() < steady:
            time.sleep(nap)
            self._awake += nap

    def _renew(self) -> bool:
        now = time.monotonic()
        oldest = self._awake - STUCK_SECONDS
        kept = {run: last for run, last in list(self._runs.items()) if self._ticks[run.home] > oldest}
        try:
            self._store.renew([run.lease for run in kept if run.lease is not None])
        except Exception as error:
            self._trouble.begins(error)
            for run, last in kept.items():
                if now - last >= self._lease_seconds:
                    # Whoever reaches the store may have taken the thread by now.
                    bridge.in_loop(run.home, run.stop, LOST_LEASE)
            return False
        self._trouble.ends()
        for run in kept:
            if run in self._runs:
                self._runs[run] = now
        return True
