"""The beginnings and ends of runs, written together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

from .. import protocol as p
from .lease_signals import LeaseSignals
from .retention import Retention
from .room import StoreConnection
from .run_begins import begin_run
from .run_ends import PreparedEnd, end_runs, in_portions
from .writer import Writer

SWEEP_INTERVAL_SECONDS = 10.0
"""How often expired frames and threads are looked for."""

Db = StoreConnection

Result = p.RunStarted | p.ThreadBusy | Exception | None
"""What `RunStore.begin` or `RunStore.finish` returns or raises."""


class RunWrites:
    """Begins and ends runs.

    Args:
        writer: Writes to the file.
        retention: Keeps the limits of the store.
        signals: Is told of the runs.
        lease_seconds: How long a run stays active without being renewed.
    """

    def __init__(self, writer: Writer, retention: Retention, signals: LeaseSignals, lease_seconds: float) -> None:
        self._writer = writer
        self._retention = retention
        self._signals = signals
        self._lease_seconds = lease_seconds
        self._next_sweep = 0.0
        """When to look for expired rows, by the monotonic clock."""

    def write(self, changes: Sequence[p.NewRun | p.RunEnd]) -> Sequence[Result]:
        """As `GroupingStore.write_runs`."""
        return self._writer.write_each(self._write, [self._prepare(change) for change in changes])

    def _prepare(self, change: p.NewRun | p.RunEnd) -> p.NewRun | PreparedEnd | Exception:
        if isinstance(change, p.NewRun):
            return change
        self._signals.ending(change.lease.token)
        try:
            end = PreparedEnd(change)
            self._writer.make_room_for(end.size)
        except Exception as error:  # of this run alone
            return error
        return end

    def _write(self, db: Db, changes: Sequence[p.NewRun | PreparedEnd | Exception]) -> list[Result]:
        results: list[Result] = []
        for kind, group in itertools.groupby(changes, type):
            some: Sequence[Any] = list(group)
            if kind is p.NewRun:
                results += self._begin(db, some)
            elif kind is PreparedEnd:
                results += self._end(db, some)
            else:
                results += some
        return results

    def _begin(self, db: Db, runs: Sequence[p.NewRun]) -> list[p.RunStarted | p.ThreadBusy]:
        now = time.time()
        if time.monotonic() >= self._next_sweep and not self._retention.sweep(db, now):
            self._next_sweep = time.monotonic() + SWEEP_INTERVAL_SECONDS
        self._retention.make_room(db, *[0] * len(runs))
        results = [begin_run(db, run, now, self._lease_seconds) for run in runs]
        for result in results:
            if isinstance(result, p.RunStarted):
                self._signals.begun(result.lease.token)
        return results

    def _end(self, db: Db, ends: Sequence[PreparedEnd]) -> list[p.LeaseLost | None]:
        results: list[p.LeaseLost | None] = []
        now = time.time()
        for portion in in_portions(ends):
            ended, growths = end_runs(db, portion, self._retention, now)
            results += ended
            # The last one is the last to be deleted, as if they had ended one after the other.
            for growth in reversed(growths):
                if self._retention.evict(db, *growth):
                    self._writer.warn_evicted()
        return results
