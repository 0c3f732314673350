"""Looks in the store for what other processes ask of this process's runs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from .._concurrency import loops
from ..stores.protocol import FOLLOWED_SECONDS, Lease, LeaseSignal, RunStore
from .endings import STOPPED_BY_USER
from .optional_members import find_watching
from .outage_log import OutageLog
from .run_writer import RunWriter

WATCH_SECONDS = 0.1
"""How often runs are looked for that have begun and are to be watched. Most are over before."""


class SignalPoller:
    """Polls for the signals of all runs of this process, on a thread of its own.

    On a thread, since a store that is polled may block, and because most polls find nothing: an event loop that only
    learns of signals is not woken twenty times a second, and needs no task, future and pool thread for each poll.

    Args:
        store: The store. If it reports changes, those runs are polled for that have some.
        poll_seconds: How often all are polled for while any run is active.
        on_followed: Called, on that thread, with runs that another process has begun to follow.
    """

    def __init__(
        self, store: RunStore, poll_seconds: float, on_followed: Callable[[RunWriter], object] = lambda _: None
    ) -> None:
        self._store = store
        self._watching = find_watching(store)
        self._poll_seconds = poll_seconds
        self._wait_seconds = poll_seconds if self._watching is None else min(WATCH_SECONDS, poll_seconds)
        self._on_followed = on_followed
        self._writers: dict[RunWriter, Lease] = {}
        """The runs, with their leases, so that these need not be collected for each poll."""
        self._unwatched: deque[RunWriter] = deque()
        """Runs that have begun since the thread last looked."""
        self._watches: dict[RunWriter, Callable[[], None]] = {}
        """The functions that end the watches."""
        self._changed: deque[RunWriter] = deque()
        self._is_woken = threading.Event()
        self._has_writers = threading.Event()
        self._outage = OutageLog("polling for stop requests")

    def start(self) -> None:
        """Starts the thread. To be called once."""
        loops.start_thread(self._run, name="copilot-runtime-signals")

    def add(self, writer: RunWriter) -> None:
        """Polls for the signals of a run from now on."""
        self._writers[writer] = writer.lease
        if self._watching is not None:
            self._unwatched.append(writer)
        if not self._has_writers.is_set():
            self._has_writers.set()

    def discard(self, writer: RunWriter) -> None:
        """Stops polling for the signals of a run."""
        self._writers.pop(writer, None)
        if self._watches:
            self._unwatch(writer)

    def _run(self) -> None:
        while True:
            self._has_writers.wait()
            self._has_writers.clear()
            next_poll = time.monotonic() + self._poll_seconds
            while self._writers or self._unwatched or self._changed:
                if self._is_woken.wait(self._wait_seconds):
                    self._is_woken.clear()
                self._watch_new()
                now = time.monotonic()
                # The wait may end a little early; without a watch, each one is for a poll of all.
                if self._watching is None or now >= next_poll:
                    next_poll = now + self._poll_seconds
                    self._changed.clear()
                    self._poll(self._writers.copy())
                elif self._changed:
                    changed = _take_all(self._changed)
                    self._poll({writer: writer.lease for writer in changed if not writer.is_finished})

    def _watch_new(self) -> None:
        if self._watching is None:
            return
        for writer in _take_all(self._unwatched):
            if writer in self._writers:
                self._watches[writer] = self._watching.watch(writer.lease.run, partial(self._wake, writer))
                if writer not in self._writers:  # it has ended meanwhile
                    self._unwatch(writer)

    def _unwatch(self, writer: RunWriter) -> None:
        stop_watching = self._watches.pop(writer, None)
        if stop_watching is not None:
            stop_watching()

    def _wake(self, writer: RunWriter) -> None:
        """Has a run polled for soon, from any thread."""
        self._changed.append(writer)
        self._is_woken.set()

    def _poll(self, writers: Mapping[RunWriter, Lease]) -> None:
        if any(loop.is_closed() for loop in {writer.loop for writer in writers}):
            for writer in [writer for writer in writers if writer.loop.is_closed()]:
                self.discard(writer)  # nothing on that loop can ever end the run
        try:
            signals = self._store.poll_signals(list(writers.values())) if writers else {}
        except Exception as error:
            self._outage.failed(error)
            return
        self._outage.recovered()
        if not signals:  # usually: leases take long to hash
            return
        for writer, lease in writers.items():
            signal = None if writer.is_finished else signals.get(lease)
            if signal is LeaseSignal.STOP:
                writer.stop_threadsafe(STOPPED_BY_USER)
            elif signal is LeaseSignal.LOST:
                writer.mark_lost_threadsafe()
            elif signal is LeaseSignal.FOLLOWED:
                writer.followed_until = time.monotonic() + FOLLOWED_SECONDS
                self._on_followed(writer)


def _take_all(queue: deque[RunWriter]) -> list[RunWriter]:
    """Removes and returns what is in a queue, without duplicates."""
    return list(dict.fromkeys([queue.popleft() for _ in range(len(queue))]))
