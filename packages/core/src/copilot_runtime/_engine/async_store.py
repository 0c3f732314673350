"""The store's methods as coroutine functions, which never block an event loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from .._concurrency import driver, loops
from ..stores.protocol import (
    ActiveRun,
    Lease,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunEnd,
    RunStarted,
    RunStore,
    StoreError,
    ThreadBusy,
    ThreadKey,
    ThreadSnapshot,
)
from .store_queue import StoreQueue
from .store_writes import StoreWrites, find_grouping

T = TypeVar("T")

MIN_PAUSE_SECONDS = 0.001
MAX_PAUSE_SECONDS = 0.1
"""How long others are left alone with the store between two pieces of a long operation."""


class AsyncStore:
    """Calls a store: on a pool thread where the store may block, and right here where it does not.

    Each method takes, returns and raises what `RunStore`'s of the same name does, StoreError included.

    Attributes:
        direct: the store itself, where its calls neither block nor are measured: then a run begins and ends there
            without a coroutine for each call.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.direct: RunStore | None = None if store.blocking else store
        grouping = find_grouping(store)
        self._queue = StoreQueue()
        self._writes = None if grouping is None else StoreWrites(grouping, self._queue)
        self._interpreter_exiting = False

    def at_exit(self) -> None:
        """From now on calls block: an interpreter that exits starts no more threads, and has nothing else to do."""
        self._interpreter_exiting = True

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a function that uses the store, possibly several times, and returns its result."""
        if self._store.blocking and not self._interpreter_exiting:
            return await driver.run_blocking(self._call_in_turn, time.monotonic(), function, args)
        return function(*args)

    async def call_off_loop(self, function: Callable[..., T], *args: Any) -> T:
        """Does the same with a function that computes for long as well."""
        return await driver.run_off_loop(self._call_in_turn, time.monotonic(), function, args)

    @property
    def is_interpreter_exiting(self) -> bool:
        """Whether this is about to be over, so that nothing is waited for long."""
        return self._interpreter_exiting

    def _call_in_turn(self, waiting_since: float, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if (late := self._queue.check(waiting_since)) is not None:
            raise late
        try:
            result = function(*args)
        except Exception as error:
            self._queue.failed(error)
            raise
        self._queue.succeeded()
        return result

    async def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        if self._writes is not None and (writes := self._grouped_writes()) is not None:
            return cast("RunStarted | ThreadBusy", await writes.begin(run))
        return await self.call(self._store.begin, run)

    async def finish(
        self, lease: Lease, frames: Sequence[bytes], completion: RunCompletion, *, lasted: float = 0.0
    ) -> None:
        """As `RunStore.finish`. ``lasted`` is for how many seconds the run was active."""
        if self._writes is not None and (writes := self._grouped_writes()) is not None:
            await writes.end(RunEnd(lease, frames, completion), lasted)
        else:
            await self.call(self._store.finish, lease, frames, completion)

    def _grouped_writes(self) -> StoreWrites | None:
        """Returns the queue for what the store can write together; None where each run is written by itself."""
        return None if self._interpreter_exiting or loops.in_sync_driver() else self._writes

    async def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        return await self.call(self._store.poll_signals, leases)

    async def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        return await self.call(partial(self._store.read, thread, touch=touch, raw_ordinal=raw_ordinal))

    async def request_stop(self, thread: ThreadKey, run_id: str | None) -> ActiveRun | None:
        return await self.call(self._store.request_stop, thread, run_id)

    async def update(
        self, thread: ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        changes = partial(self._store.update, thread, name=name, archived=archived, if_unnamed=if_unnamed)
        return await self.call(changes)

    async def delete(self, thread: ThreadKey) -> bool:
        existed = await self.call(self._store.delete, thread)
        await self._sweep()
        return existed

    async def clear(self, owner: str) -> None:
        """Deletes an owner's threads, in small pieces."""
        cursor: str | None = None
        while True:
            started = time.monotonic()
            cursor = await self.call(self._store.clear, owner, cursor)
            if cursor is None:
                break
            await _pause_since(started)
        await self._sweep()

    async def _sweep(self) -> None:
        # What was deleted is not visible any more, whether or not the store gets rid of it now.
        with contextlib.suppress(StoreError):
            started = time.monotonic()
            while await self.call(self._store.sweep):
                await _pause_since(started)
                started = time.monotonic()


async def _pause_since(started: float) -> None:
    """Waits for about as long as the last piece of work took, since a lock is not passed on to those who wait for it.

    They look again after a while, and have to find it free.
    """
    await driver.sleep(min(max(time.monotonic() - started, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))
