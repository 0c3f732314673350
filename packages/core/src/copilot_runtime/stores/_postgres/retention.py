"""How the limits of a PostgreSQL store are kept, and when what has expired is deleted. The server does the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress

from ..._concurrency.loops import start_thread
from ..._concurrency.process_local import ProcessLocal
from .. import protocol as p
from ..portable import check_room
from .calls import Calls
from .encoding import thread_digest
from .limits import Limits
from .process_state import ProcessState
from .sizes import THREAD_BYTES
from .writes import MAKE_ROOM_TYPES, End, call

logger = logging.getLogger("copilot_runtime.stores.postgres")

SWEEP_INTERVAL_SECONDS = 10.0
"""How often expired frames and threads are looked for."""

SWEEP_PAUSE_SECONDS = 0.1
"""The pause between two pieces of a sweep."""

SWEEP_ROWS = 500
"""About how many rows a sweep deletes at a time."""

EVICTION_BATCH = 200
"""The most threads that one write deletes."""


class Retention:
    """Enforces the limits of one store."""

    def __init__(self, calls: Calls, limits: Limits, states: ProcessLocal[ProcessState]) -> None:
        self._calls = calls
        self._limits = limits
        self._states = states

    def sweep(self, interval: float = 0.0) -> bool:
        """Sweeps, unless somebody has done so in the last ``interval`` seconds. Returns whether there is more."""
        types = ("double precision", "double precision", "integer", "double precision")
        values = (float(self._limits.max_age_seconds), float(p.RAW_RETENTION_SECONDS), SWEEP_ROWS, interval)
        [(has_more,)] = self._calls.fetch(call(self._calls.schema, "sweep", types), values)
        return bool(has_more)

    def sweep_if_due(self, state: ProcessState) -> None:
        """Sweeps from time to time, on another OS thread: no request waits for it."""
        now = time.monotonic()
        if now >= state.next_sweep:
            state.next_sweep = now + SWEEP_INTERVAL_SECONDS
            start_thread(self._sweep_all, name="copilot-runtime-postgres-sweep")

    def _sweep_all(self) -> None:
        with suppress(p.StoreError):  # which requests report
            has_more = self.sweep(SWEEP_INTERVAL_SECONDS)
            while has_more:
                time.sleep(SWEEP_PAUSE_SECONDS)
                has_more = self.sweep()

    def check_room(self, threads: int, size: int) -> None:
        """Raises NoRoomError if the limits do not leave room for more threads and bytes."""
        if self._states.get().room.take(threads=threads, size=size):
            return
        _, threads_left, bytes_left = self._make_room((), (), 0)
        limits = self._limits
        check_room("max_threads", limits.max_threads, limits.max_threads - threads_left + threads)
        check_room("max_bytes", limits.max_bytes, limits.max_bytes - bytes_left + size)

    def make_room(self, state: ProcessState, ends: Sequence[End], new: int, begun: int) -> None:
        """Enforces the limits after runs have ended, unless there is certainly room.

        Args:
            state: The state of the process.
            ends: The runs that have ended.
            new: How many of them were the first of their threads.
            begun: How many runs have begun.
        """
        size = sum(end.size for end in ends) + THREAD_BYTES * begun
        if not state.room.take(size=size, threads=new) and ends:
            self._enforce((), [end.key for end in ends])

    def count(self, leases: Sequence[p.Lease]) -> None:
        """Counts what active runs have added, and enforces the limits."""
        self._enforce([lease.token for lease in leases], [thread_digest(lease.run.thread) for lease in leases])

    def _enforce(self, tokens: Sequence[int], keys: Sequence[bytes]) -> None:
        with suppress(p.StoreError):  # what was written stays, and the next write does it
            evicted, _, _ = self._make_room(tokens, keys, EVICTION_BATCH)
            state = self._states.get()
            if evicted and not state.has_evicted:
                state.has_evicted = True
                self._limits.log_eviction(logger, self._calls.where)

    def _make_room(self, tokens: Sequence[int], keys: Sequence[bytes], batch: int) -> tuple[int, int, int]:
        """Returns how many threads were deleted, and how many threads and bytes there is room for."""
        values = (list(tokens), list(keys), self._limits.max_threads, self._limits.max_bytes, batch)
        [(evicted, threads_left, bytes_left)] = self._calls.call("make_room", MAKE_ROOM_TYPES, values)
        self._states.get().room.found(threads_left, bytes_left)
        return evicted, threads_left, bytes_left
