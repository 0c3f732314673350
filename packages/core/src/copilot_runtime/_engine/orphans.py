"""Ends runs that nobody runs any more: their process has died, or their event loop was closed under them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

from .._concurrency import driver
from .._events import RunEnding
from ..stores.protocol import ActiveRun, RunKey, RunStore
from .active_runs import ActiveRuns
from .async_store import AsyncStore
from .endings import LOST, STOPPED_BY_USER
from .leases import REAP_GRACE_SECONDS
from .reaper import reap
from .types import EndedRun


class Orphans:
    """Ends orphaned runs, and those that do not end by themselves.

    Args:
        store: the store.
        async_store: the same store, for event loops.
        runs: the active runs of this process.
        reaped: called with the report of a run that was another process's, and with its owner.
    """

    def __init__(
        self,
        store: RunStore,
        async_store: AsyncStore,
        runs: ActiveRuns,
        reaped: Callable[[EndedRun, str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._async_store = async_store
        self._runs = runs
        self._reaped = reaped

    async def end(self, live: ActiveRun) -> bool:
        """Ends a run if it is an orphan, and returns whether it was one. Raises StoreError."""
        if await self._runs.end_without_loop(live):
            return True
        if live.expired:
            await self.reap_lost(live.run)
        return live.expired

    async def fence(self, live: ActiveRun, seconds: float) -> None:
        """Ends a run that does not end by itself, here, where that is waited for, or in another process.

        Raises StoreError.
        """
        run = self._runs.shared.get(live.run)
        if run is None:
            await self._reap(live.run, STOPPED_BY_USER, force=True)
        else:
            run.force_stop_threadsafe()
            await run.wait_ended(time.monotonic() + seconds)

    async def reap_lost(self, run: RunKey) -> None:
        """Ends a run whose process has died. Raises StoreError."""
        # Where the machine was suspended, or its clock set forward, the owner is only late.
        await driver.sleep(REAP_GRACE_SECONDS)
        await self._reap(run, LOST)

    async def _reap(self, run: RunKey, ending: RunEnding, *, force: bool = False) -> None:
        ended = await self._async_store.call(partial(reap, self._store, run, ending, force=force))
        if ended is not None:
            await self._reaped(ended, run.thread.owner)
