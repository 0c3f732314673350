"""A store that calls back when other processes have changed a run, as those on other machines do."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores.protocol import Batch, Lease, LeaseSignal, RunKey, ThreadKey

NEVER = 3600.0
"""How often a store is polled in tests that would hang if that were needed."""


class Notifications:
    """What the stores of one file tell each other. ``sent`` counts the notifications."""

    def __init__(self) -> None:
        self.watchers: list[tuple[WatchedStore, RunKey, Callable[[], None]]] = []
        self.followed: set[RunKey] = set()
        self.sent = 0
        self._lock = threading.Lock()

    def add(self, watcher: tuple[WatchedStore, RunKey, Callable[[], None]]) -> None:
        with self._lock:
            self.watchers.append(watcher)

    def remove(self, watcher: tuple[WatchedStore, RunKey, Callable[[], None]]) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self.watchers.remove(watcher)

    def notify(self, sender: WatchedStore | None, thread: ThreadKey) -> None:
        for store, run, on_change in list(self.watchers):
            if store is not sender and run.thread == thread:
                self.sent += 1
                on_change()


class WatchedStore(SqliteStore):
    """A store of one process. ``calls`` counts the looks of the engine at what others do."""

    def __init__(self, path: Path, notifications: Notifications, **options: Any) -> None:
        super().__init__(path, **{"poll_seconds": NEVER, **options})
        self.notifications = notifications
        self.calls: Counter[str] = Counter()
        self._leased: set[RunKey] = set()

    def watch(self, run: RunKey, on_change: Callable[[], None]) -> Callable[[], None]:
        self.calls["watch"] += 1
        watcher = (self, run, on_change)
        self.notifications.add(watcher)
        on_change()
        return lambda: self.notifications.remove(watcher)

    def append(self, batches: Sequence[Batch]) -> Any:
        self.calls["append"] += 1
        self._leased.update(batch.lease.run for batch in batches)
        with self._notifying(*[batch.lease.run.thread for batch in batches]):
            return super().append(batches)

    def finish(self, lease: Lease, frames: Any, completion: Any) -> None:
        with self._notifying(lease.run.thread):
            super().finish(lease, frames, completion)

    def claim(self, run: RunKey, *, force: bool = False) -> Any:
        with self._notifying(run.thread):
            return super().claim(run, force=force)

    def request_stop(self, thread: ThreadKey, run_id: str | None) -> Any:
        with self._notifying(thread):
            return super().request_stop(thread, run_id)

    def delete(self, thread: ThreadKey) -> bool:
        with self._notifying(thread):
            return super().delete(thread)

    def follow(self, run: RunKey, after: int) -> Any:
        self.calls["follow"] += 1
        if run not in self._leased and run not in self.notifications.followed:
            self.notifications.followed.add(run)
            self.notifications.notify(self, run.thread)
        return super().follow(run, after)

    def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        self.calls["poll_signals"] += 1
        followed = {lease: LeaseSignal.FOLLOWED for lease in leases if lease.run in self.notifications.followed}
        return {**followed, **super().poll_signals(leases)}

    @contextlib.contextmanager
    def _notifying(self, *threads: ThreadKey) -> Iterator[None]:
        yield
        for thread in threads:
            self.notifications.notify(self, thread)
