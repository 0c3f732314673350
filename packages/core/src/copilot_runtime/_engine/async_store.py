"""The store's methods as coroutine functions, which never block an event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .._concurrency.driver import run_blocking
from ..stores.protocol import (
    ActiveRun,
    Lease,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunStarted,
    RunStore,
    ThreadBusy,
    ThreadKey,
    ThreadSnapshot,
)

T = TypeVar("T")


class AsyncStore:
    """Calls a store: on a pool thread where the store may block, and right here where it does not.

    Each method takes, returns and raises what `RunStore`'s of the same name does, StoreError included.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._interpreter_exiting = False

    def at_exit(self) -> None:
        """From now on calls block: an interpreter that exits starts no more threads, and has nothing else to do."""
        self._interpreter_exiting = True

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a function that uses the store, possibly several times, and returns its result."""
        if self._store.blocking and not self._interpreter_exiting:
            return await run_blocking(function, *args)
        return function(*args)

    async def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        return await self.call(self._store.begin, run)

    async def finish(self, lease: Lease, frames: Sequence[bytes], completion: RunCompletion) -> None:
        await self.call(self._store.finish, lease, frames, completion)

    async def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        return await self.call(self._store.poll_signals, leases)

    async def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        return await self.call(lambda: self._store.read(thread, touch=touch, raw_ordinal=raw_ordinal))

    async def request_stop(self, thread: ThreadKey, run_id: str | None) -> ActiveRun | None:
        return await self.call(self._store.request_stop, thread, run_id)

    async def update(self, thread: ThreadKey, *, name: str | None = None, archived: bool | None = None) -> bool:
        return await self.call(lambda: self._store.update(thread, name=name, archived=archived))

    async def delete(self, thread: ThreadKey) -> bool:
        return await self.call(self._store.delete, thread)

    async def clear(self, owner: str) -> None:
        await self.call(self._store.clear, owner)
