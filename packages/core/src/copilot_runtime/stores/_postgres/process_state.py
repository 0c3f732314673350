"""What one process knows of a PostgreSQL store: the runs that it holds, and what became of its last writes."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set

from ..._events import CompactedFrames
from .. import protocol as p
from .._sql.message_ids import Ids, MessageIds, ids_of_runs
from .._sql.shared_frames import SharedFrames, SharedList
from .limits import Limits, Room
from .reading import message_ids
from .writes import Begin, Written

SWEEP_DELAY_SECONDS = 2.0
"""When a process first looks for what is to be deleted."""

MAX_KNOWN_THREADS = 10_000

MIN_RUNS = 8
"""Of how many runs a thread's message ids are kept. Fewer are read in less time than it takes to look after them."""

NO_IDS: frozenset[str] = frozenset()

ReadIds = Callable[[int], Sequence[tuple[int, list[str], list[str]]]]
"""Reads the ids of all runs of a thread, by its row id."""


class HeldRun:
    """A run whose lease this process has."""

    __slots__ = ("begun_at", "in_events", "in_inputs", "token")

    def __init__(self, token: int, in_events: Set[str], in_inputs: Set[str]) -> None:
        self.token = token
        self.begun_at = time.monotonic()
        self.in_events = in_events
        """The ids of the thread's messages when the run began, as `p.RunStarted` has them."""
        self.in_inputs = in_inputs


class ProcessState:
    """See the module. Created on first use in a process, and so after a fork."""

    def __init__(self, limits: Limits) -> None:
        self.id = secrets.randbits(63)
        """The process, for notifications."""
        self.room = Room(limits)
        self.held: dict[p.RunKey, HeldRun] = {}
        self.uncertain: set[int] = set()
        """The tokens of runs whose end was written, or not: the server has not answered."""
        self.shared_records: SharedFrames[CompactedFrames] = SharedFrames()
        self.shared_raw: SharedFrames[SharedList[bytes]] = SharedFrames()
        self.next_sweep = time.monotonic() + SWEEP_DELAY_SECONDS
        self.has_evicted = False
        self._lock = threading.Lock()
        self._message_ids = MessageIds()
        """Of threads with many runs, by their row ids."""
        self._row_ids: OrderedDict[bytes, int] = OrderedDict()
        """The row ids of these threads, by their keys."""

    def known_messages(self, lease: p.Lease) -> tuple[Set[str], Set[str]]:
        """Returns the ids of the messages that a thread had when a run of this process began."""
        held = self.held.get(lease.run)
        return (NO_IDS, NO_IDS) if held is None or held.token != lease.token else (held.in_events, held.in_inputs)

    def forget(self, lease: p.Lease) -> None:
        """Forgets a run whose lease does not hold any more."""
        held = self.held.get(lease.run)
        if held is not None and held.token == lease.token:
            self.held.pop(lease.run, None)
        self.uncertain.discard(lease.token)

    def begun_at(self, run: p.RunKey) -> float | None:
        """Returns when this process has begun a run, by the monotonic clock; None if it does not have its lease."""
        held = self.held.get(run)
        return None if held is None else held.begun_at

    def last_known(self, key: bytes) -> tuple[int, int]:
        """Returns the row id of a thread, and the ordinal of the last run whose message ids are known; 0 if unknown."""
        row_id = self._row_ids.get(key, 0)
        return row_id, self._message_ids.last_ordinal(row_id) if row_id else 0

    def started(self, begin: Begin, row: Written, read_ids: ReadIds) -> p.RunStarted:
        """Returns a run that has begun, and remembers it."""
        in_events, in_inputs = self._known_ids(begin.key, row, read_ids) if row.runs else (NO_IDS, NO_IDS)
        lease = p.Lease(p.RunKey(begin.run.thread, row.ordinal), begin.run.run_id, row.token)
        self.held[lease.run] = HeldRun(row.token, in_events, in_inputs)
        return p.RunStarted(lease, in_events, in_inputs)

    def _known_ids(self, key: bytes, row: Written, read_ids: ReadIds) -> tuple[Set[str], Set[str]]:
        columns = (row.ordinals or (), row.event_messages or (), row.input_messages or ())
        sent = message_ids(list(zip(*columns, strict=True)))
        if row.runs < MIN_RUNS:
            return {text for _, ids, _ in sent for text in ids}, {text for _, _, ids in sent for text in ids}

        def read(after: int) -> Ids:
            return ids_of_runs(sent if after == row.after else read_ids(row.thread))

        with self._lock:
            self._row_ids[key] = row.thread
            self._row_ids.move_to_end(key)
            if len(self._row_ids) > MAX_KNOWN_THREADS:
                self._row_ids.popitem(last=False)
            return self._message_ids.select(row.thread, row.first or 0, row.ordinal - 1, read)
