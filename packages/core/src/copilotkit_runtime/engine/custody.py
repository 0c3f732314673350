"""What the store is told of this process's runs, and what it says of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import bridge
from ..stores.protocol import Batch, Finished, Lease, LeaseLost, RunStore, RunTooLarge, Signal
from .rounds import Rounds
from .run import LOST_LEASE, STOP, TOO_LARGE, Run

logger = logging.getLogger("copilotkit_runtime.engine")

T = TypeVar("T")

SAVE_SECONDS = 0.1
SAVE_BYTES = 64 * 1024
"""What a crash may take of a run: what came in so many seconds, or so many bytes."""

RENEWALS = 3
"""How often a lease is renewed within its time, so that one renewal may fail."""

STUCK_SECONDS = 60.0
"""A loop that has not ticked for so long is given up: its runs' leases are left to run out."""


class Custody:
    """Saves, watches and keeps the leases of runs, in rounds that all runs share."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._saving: Rounds[Run] = Rounds(SAVE_SECONDS, self._save_round)
        self._watching: Rounds[Run] = Rounds(store.poll_seconds or 1.0, self._watch_round)
        self._keeper: LeaseKeeper | None = None

    async def ask(self, question: Callable[[], T]) -> T:
        """Something of the store's, off the loop where the store may block. Raises what the store raises."""
        if self._store.blocking:
            return await bridge.blocking(question)
        return question()

    def take(self, run: Run) -> None:
        """A run has begun."""
        if self._store.poll_seconds is not None:
            self._watching.add(run, run.home)
        if self._store.lease_seconds is not None:
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

    # --- saving ---

    def grew(self, run: Run) -> None:
        """A run has frames that the store has not."""
        if run.unsaved_bytes >= SAVE_BYTES and not self._store.blocking:
            self._save([run])
        elif not run.is_marked:
            run.is_marked = True
            self._saving.add(run, run.home)

    async def finish(self, run: Run, lease: Lease, rest: Sequence[bytes], finished: Finished) -> bool:
        """Ends a run in the store. False where it was no longer this process's to end."""

        def write() -> None:
            with run.saving:
                self._store.finish(lease, [*run.log.frames[run.saved :], *rest], finished)

        self._saving.discard(run, run.home)
        try:
            await self.ask(write)
        except LeaseLost:
            return False
        except Exception:
            logger.exception("run %r has ended, but the store did not take its end", run.given.run_id)
        return True

    def _save_round(self, runs: list[Run]) -> None:
        for run in runs:
            self._saving.discard(run, run.home)
            run.is_marked = False
        if self._store.blocking:
            bridge.spawn(asyncio.get_running_loop(), bridge.blocking(self._save, runs))
        else:
            self._save(runs)

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
            for batch in batches:
                held[batch.lease].saved += len(batch.frames)
            for lease, why in refused.items():
                self._refused(held[lease], why)
        except Exception:
            # Not the agents' failure. What is not saved now is tried again with what comes next.
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
        if self._keeper is not None:
            self._keeper.ticked(asyncio.get_running_loop())
        bridge.spawn(asyncio.get_running_loop(), self._watch(runs))

    async def _watch(self, runs: Sequence[Run]) -> None:
        leases = {run.lease: run for run in runs if run.lease is not None and not run.is_over}
        try:
            signals = await self.ask(lambda: self._store.signals(list(leases)))
        except Exception:
            logger.warning("the store does not say whether runs are to stop", exc_info=True)
            return
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
        self._ticks: dict[asyncio.AbstractEventLoop, float] = {}
        self._wake = threading.Event()
        bridge.thread(self._keep, name="copilotkit-leases")

    def add(self, run: Run) -> None:
        """A lease to keep."""
        now = time.monotonic()
        self._ticks[run.home] = now
        self._runs[run] = now
        self._wake.set()

    def discard(self, run: Run) -> None:
        """A lease that is done with."""
        self._runs.pop(run, None)

    def ticked(self, loop: asyncio.AbstractEventLoop) -> None:
        """A loop is alive."""
        self._ticks[loop] = time.monotonic()

    def _keep(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._runs:
                time.sleep(self._lease_seconds / RENEWALS)
                self._renew()

    def _renew(self) -> None:
        now = time.monotonic()
        kept = {run: last for run, last in list(self._runs.items()) if now - self._ticks[run.home] < STUCK_SECONDS}
        try:
            self._store.renew([run.lease for run in kept if run.lease is not None])
        except Exception:
            logger.warning("leases could not be renewed", exc_info=True)
            for run, last in kept.items():
                if now - last >= self._lease_seconds:
                    # Whoever reaches the store may have taken the thread by now.
                    bridge.in_loop(run.home, run.stop, LOST_LEASE)
            return
        for run in kept:
            if run in self._runs:
                self._runs[run] = now
