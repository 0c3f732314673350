"""Ends runs that have begun in the store although nobody runs them: the call that began them has failed."""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid

from .._concurrency import driver, loops
from ..stores.protocol import Lease, LeaseLost, NewRun, RunCompletion, RunStore, StoreError, ThreadUnreadable
from .async_store import AsyncStore

CHECK_SECONDS = 0.2
"""How often the store is asked while there are such runs."""

CHECKS = 3
"""How often the store has to answer that there is no such run. The call that failed may still be on its way to it."""

KEEP_SECONDS = 60.0
"""How long it is tried, if leases do not end before."""


class LostBegins:
    """Frees the threads of runs that are not run here, once the store works again. Until then, they are busy.

    Without it, they would be busy until the lease expires, although the client was told that there is no run. On the
    background loop, since that of the request may be about to be closed.
    """

    def __init__(self, store: RunStore, async_store: AsyncStore) -> None:
        self._store = store
        self._async_store = async_store
        self._prefix = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._pending: dict[NewRun | Lease, _Check] = {}

    def next_id(self) -> str:
        """Returns a `NewRun.begin_id` that no other call has."""
        return f"{self._prefix}-{next(self._numbers)}"

    def add(self, lost: NewRun | Lease) -> None:
        """Ends a run soon, from any thread, if it has begun; of a lease, that is known."""
        with contextlib.suppress(RuntimeError):  # no thread can be started: its lease expires
            loops.call_soon_threadsafe(loops.background_loop(), self._start, lost)

    def after_fork(self) -> None:
        """Forgets the parent process's runs."""
        self._prefix = uuid.uuid4().hex
        self._pending = {}

    def _start(self, lost: NewRun | Lease) -> None:
        is_idle = not self._pending
        seconds = self._store.lease_seconds or KEEP_SECONDS
        self._pending[lost] = _Check(time.monotonic() + seconds)
        if is_idle:
            loops.create_task_threadsafe(loops.background_loop(), self._check_all(self._pending))

    async def _check_all(self, pending: dict[NewRun | Lease, _Check]) -> None:
        while pending:
            await driver.sleep(CHECK_SECONDS)
            for lost, check in list(pending.items()):
                try:
                    is_over = await self._async_store.call(_end, self._store, lost)
                except ThreadUnreadable:
                    is_over = True
                except StoreError:
                    now = time.monotonic()
                    for late in [late for late, check in pending.items() if check.deadline < now]:
                        del pending[late]  # its lease has expired
                    break  # the store would fail with the others as well
                except Exception:
                    is_over = True
                check.count += 1
                if is_over or check.count == CHECKS:
                    del pending[lost]


class _Check:
    """Until when a run is looked for, and how often the store has answered that it is not there."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.count = 0


def _end(store: RunStore, lost: NewRun | Lease) -> bool:
    """Ends a run of which nothing is to be kept. Returns whether it had begun. Raises StoreError."""
    if isinstance(lost, NewRun):
        # Stops no run, as none has this id, and returns the active one without reading the rest of the thread.
        live = store.request_stop(lost.thread, lost.begin_id)
        if live is None or live.begin_id != lost.begin_id:
            return False
        claimed = store.claim(live.run, force=True)
        if claimed is None:
            return False
        lost = claimed.lease
    try:
        store.finish(lost, (), RunCompletion(persist=False))
    except LeaseLost:
        pass
    return True
