"""Renews the leases of this process's runs."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref

from .._concurrency import loops
from ..stores.protocol import RunStore
from .endings import STORE_UNREACHABLE
from .outage_log import OutageLog
from .run_writer import RunWriter

RENEWALS_PER_LEASE = 3
"""How often a lease is renewed within its time, so that one renewal may fail."""

RETRIES_PER_LEASE = 15
"""How often within a lease's time a renewal that has failed is tried again, at least."""

MAX_RETRY_SECONDS = 0.25
"""How long after a failure it is tried again at the latest: well within `REAP_GRACE_SECONDS` once the store is back, so
that a lease that has expired during the outage holds again before another process ends its run."""

CLOCK_CHECK_SECONDS = 0.1
"""How late a renewal may be after the machine was suspended, or its clock was set."""

REAP_GRACE_SECONDS = 0.75
"""Grace period before an expired run is reaped: an owner that was only suspended (VM pause, clock step) renews within
it, which takes it a few times `CLOCK_CHECK_SECONDS`."""

LOOP_STALL_SECONDS = 60.0
"""The leases of a loop that shows no heartbeat for so long are left to expire."""


class LeaseRenewer:
    """Renews leases on a thread of its own, as long as their event loops are alive.

    On a thread, since a loop that an agent blocks for a while is no reason to lose its runs; but a loop that is
    blocked for good must not keep them forever.
    """

    def __init__(self, store: RunStore, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._renewed_at: dict[RunWriter, float] = {}
        """When each run's lease was last known to hold, by the monotonic clock."""
        self._failing_since: float | None = None
        """When the first call began of those that have failed since the last one that did not."""
        self._active_seconds = 0.0
        """For how long this thread has been running: a clock that stands still when the process does."""
        self._heartbeats: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()
        """When each loop was last alive, by that clock."""
        self._has_leases = threading.Event()
        self._outage = OutageLog("renewing leases")

    def start(self) -> None:
        """Starts the thread. To be called once."""
        loops.start_thread(self._run, name="copilot-runtime-leases")

    def add(self, writer: RunWriter) -> None:
        """Renews a run's lease from now on."""
        self.heartbeat(writer.loop)
        self._renewed_at[writer] = time.monotonic()
        self._has_leases.set()

    def discard(self, writer: RunWriter) -> None:
        """Stops renewing a run's lease."""
        self._renewed_at.pop(writer, None)

    def heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Records that a loop is alive; to be called on it."""
        self._heartbeats[loop] = self._active_seconds

    def _run(self) -> None:
        is_working = True
        while True:
            self._has_leases.wait()
            self._has_leases.clear()
            while self._renewed_at:
                # After a failure sooner: a store that works again finds leases that still hold.
                retry_seconds = min(self._lease_seconds / RETRIES_PER_LEASE, MAX_RETRY_SECONDS)
                self._sleep(self._lease_seconds / RENEWALS_PER_LEASE if is_working else retry_seconds)
                is_working = self._renew()

    def _sleep(self, seconds: float) -> None:
        """Sleeps in short naps until either of the machine's clocks says that it is time.

        Leases expire by the clock that can be set. If that is set back, they are renewed at once: an expiry that is
        further away than a lease lasts counts as expired.
        """
        last = time.time()
        wall, monotonic = last + seconds, time.monotonic() + seconds
        nap = min(CLOCK_CHECK_SECONDS, seconds)
        while last <= (now := time.time()) < wall and time.monotonic() < monotonic:
            last = now
            time.sleep(nap)
            self._active_seconds += nap

    def _renew(self) -> bool:
        now = time.monotonic()
        for writer in [writer for writer in list(self._renewed_at) if writer.loop.is_closed()]:
            self.discard(writer)  # nothing on that loop can ever end the run
        oldest = self._active_seconds - LOOP_STALL_SECONDS
        alive = {
            writer: renewed
            for writer, renewed in list(self._renewed_at.items())
            if self._heartbeats[writer.loop] > oldest
        }
        try:
            self._store.renew([writer.lease for writer in alive])
        except Exception as error:
            self._outage.failed(error)
            if self._failing_since is None:
                self._failing_since = now
            for writer, renewed in alive.items():
                # From the beginning of the outage on, and not of the lease, which is up to a third of its time older:
                # if the store is away for all processes, nobody takes the thread meanwhile.
                if now - max(renewed, self._failing_since) >= self._lease_seconds:
                    # A process that does reach the store may have taken the thread by now.
                    writer.stop_threadsafe(STORE_UNREACHABLE)
            return False
        self._failing_since = None
        self._outage.recovered()
        for writer in alive:
            if writer in self._renewed_at:
                self._renewed_at[writer] = now
        return True
