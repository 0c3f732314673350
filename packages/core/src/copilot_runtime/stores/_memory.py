"""Threads in the memory of one process: lost when it ends, and not visible to other processes."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence, Set
from typing import Any

from .. import _validation as validation
from .._concurrency.process_local import process_lock
from . import protocol as p
from ._pagination import paginate

logger = logging.getLogger("copilot_runtime.stores.memory")

_RANDOM_ORDINALS = 1_000_000_000

_CLEAR_BATCH = 200
"""The most threads to delete at a time, so that others do not wait long for the lock."""


@dataclasses.dataclass(slots=True)
class _ActiveRun:
    lease: p.Lease
    agent_id: str
    size: int
    """The bytes of its input and its frames."""
    started_at: float
    frames: list[bytes] = dataclasses.field(default_factory=list)
    duplicates: Set[int] = frozenset()
    stopping: bool = False

    def view(self) -> p.ActiveRun:
        return p.ActiveRun(self.lease.run, self.lease.run_id, self.agent_id, self.stopping)


@dataclasses.dataclass(slots=True)
class _RawFrames:
    """The frames of a run as they were sent. Separate from the run, so that the expiry queue keeps no runs alive."""

    frames: list[bytes] | None
    size: int
    expires_at: float
    """By the monotonic clock."""
    duplicates: Set[int]

    def drop(self) -> int:
        """Drops the frames, and returns how many bytes that frees."""
        freed, self.frames, self.size = self.size, None, 0
        return freed


@dataclasses.dataclass(slots=True)
class _Run:
    ordinal: int
    run_id: str
    agent_id: str
    records: Sequence[p.CompactedFrame]
    size: int
    """The bytes of its records."""
    event_messages: Set[str]
    input_messages: Set[str]
    raw: _RawFrames
    has_run_error: bool
    recorded_by: str


@dataclasses.dataclass(slots=True)
class _Thread:
    key: p.ThreadKey
    token: int
    """The first token after its creation."""
    ordinal: int = 0
    """The ordinal of its last run."""
    agent_id: str = ""
    name: str | None = None
    archived: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0
    used_at: float = 0.0
    """By the monotonic clock."""
    live: _ActiveRun | None = None
    runs: list[_Run] = dataclasses.field(default_factory=list)
    event_messages: set[str] = dataclasses.field(default_factory=set)
    input_messages: set[str] = dataclasses.field(default_factory=set)
    # The thread's messages are those of the input and of the agent's own events of the last run that had any.
    messages: Sequence[Mapping[str, Any]] = ()
    messages_run: _Run | None = None
    messages_last_agent_event: int = 0
    messages_size: int = 0

    @property
    def size(self) -> int:
        live = 0 if self.live is None else self.live.size
        return live + self.messages_size + sum(run.size + run.raw.size for run in self.runs)

    def info(self) -> p.ThreadInfo:
        return p.ThreadInfo(
            thread_id=self.key.thread_id,
            agent_id=self.agent_id,
            name=self.name,
            archived=self.archived,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class MemoryStore:
    """Keeps threads in memory, up to limits.

    Args:
        max_threads: How many threads to keep. The least recently used are deleted first.
        max_runs_per_thread: How many runs of each thread to keep. The oldest are deleted first.
        max_bytes: The total size of all frames and messages, those of active runs included.
        max_age_seconds: Threads that have not been used for this long are deleted.

    0 means no limit. Threads with an active run are never deleted.

    Raises:
        ValueError: A limit is not an integer >= 0 (``max_age_seconds``: a number >= 0).
    """

    blocking: bool = False
    poll_seconds: float | None = None
    lease_seconds: float | None = None

    def __init__(
        self,
        *,
        max_threads: int = 1000,
        max_runs_per_thread: int = 100,
        max_bytes: int = 512 * 1024 * 1024,
        max_age_seconds: float = 0,
    ) -> None:
        validation.check_number("MemoryStore: max_threads", max_threads, integer=True)
        validation.check_number("MemoryStore: max_runs_per_thread", max_runs_per_thread, integer=True)
        validation.check_number("MemoryStore: max_bytes", max_bytes, integer=True)
        validation.check_number("MemoryStore: max_age_seconds", max_age_seconds)
        self._max_threads = max_threads
        self._max_runs = max_runs_per_thread
        self._max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._size = 0
        self._last_token = 0
        self._first_ordinal = random.randrange(_RANDOM_ORDINALS)
        """Where the ordinals of new threads start: the highest one of all deleted threads, since the event ids of a
        thread that is created again must differ from those of before. At first a random number, since all threads of
        an earlier process were lost with it."""
        self._threads: OrderedDict[p.ThreadKey, _Thread] = OrderedDict()
        """The least recently used thread comes first."""
        self._raw: deque[_RawFrames] = deque()
        """In the order in which they expire."""
        self._has_evicted = False
        self._lock = process_lock()

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        with self._lock.get():
            self._sweep()
            thread = self._threads.get(run.thread)
            if thread is None:
                thread = self._threads[run.thread] = _Thread(
                    run.thread, self._last_token + 1, ordinal=self._first_ordinal
                )
            elif thread.live is not None:
                return p.ThreadBusy(thread.live.view())
            self._touch(thread)
            thread.ordinal += 1
            self._last_token += 1
            lease = p.Lease(p.RunKey(run.thread, thread.ordinal), run.run_id, self._last_token)
            thread.live = _ActiveRun(lease, run.agent_id, run.size, time.time())
            self._size += run.size
            started = p.RunStarted(lease, thread.event_messages, thread.input_messages)
            evicted = self._evict(thread)
        self._warn_evicted(evicted)
        return started

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        evicted = 0
        with self._lock.get():
            for batch in batches:
                try:
                    thread, live = self._require_lease(batch.lease)
                except p.LeaseLost as error:
                    refused[batch.lease] = error
                    continue
                self._append(live, batch.frames, batch.duplicates)
                evicted += self._evict(thread)
                if 0 < self._max_bytes < live.size:
                    refused[batch.lease] = p.RunTooLarge()
        self._warn_evicted(evicted)
        return refused

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        has_messages = bool(
            completion.messages or p.messages_after_run((), completion.records, completion.last_agent_event)
        )
        with self._lock.get():
            self._sweep()
            thread, live = self._require_lease(lease)
            self._append(live, frames, live.duplicates)
            self._size -= thread.size
            thread.live = None
            if completion.persist:
                self._store_run(thread, live, completion, has_messages)
            self._size += thread.size
            if thread.runs or completion.keep_ordinal:
                self._touch(thread)
            else:
                self._delete(thread)
            evicted = self._evict(thread)
        self._warn_evicted(evicted)

    def renew(self, leases: Sequence[p.Lease]) -> None:
        """Does nothing: a lease holds as long as the process lives."""

    def poll_signals(self, leases: Sequence[p.Lease]) -> Mapping[p.Lease, p.LeaseSignal]:
        signals: dict[p.Lease, p.LeaseSignal] = {}
        with self._lock.get():
            for lease in leases:
                try:
                    if self._require_lease(lease)[1].stopping:
                        signals[lease] = p.LeaseSignal.STOP
                except p.LeaseLost:
                    signals[lease] = p.LeaseSignal.LOST
        return signals

    def claim(self, run: p.RunKey, *, force: bool = False) -> p.ClaimedRun | None:
        with self._lock.get():
            thread = self._threads.get(run.thread)
            if thread is None or (live := thread.live) is None or live.lease.run != run or not force:
                return None
            self._last_token += 1
            live.lease = lease = dataclasses.replace(live.lease, token=self._last_token)
            agent_id, started_at = live.agent_id, live.started_at
            frames, event_messages = tuple(live.frames), thread.event_messages
        return p.ClaimedRun(lease, agent_id, started_at, frames, self.messages(run.thread), event_messages)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        with self._lock.get():
            stored = self._threads.get(thread)
            if stored is None or stored.live is None:
                return None
            before = stored.live.view()
            if run_id is None or run_id == before.run_id:
                stored.live.stopping = True
            return before

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        with self._lock.get():
            self._sweep()
            stored = self._threads.get(thread)
            if stored is None:
                return p.ThreadSnapshot()
            if touch:
                self._touch(stored)
            runs = tuple(
                p.StoredRun(
                    run.ordinal,
                    run.run_id,
                    run.agent_id,
                    run.records,
                    run.raw.frames if run.ordinal == raw_ordinal else None,
                    run.has_run_error,
                    run.recorded_by,
                )
                for run in stored.runs
            )
            live = None if stored.live is None else stored.live.view()
            return p.ThreadSnapshot(runs, live, stored.ordinal)

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        with self._lock.get():
            thread = self._threads.get(run.thread)
            if thread is None:
                return p.RunUpdate((), frozenset(), True)
            live = thread.live
            if live is not None and live.lease.run == run:
                return p.RunUpdate(live.frames[after:], live.duplicates, False)
            ended = next((stored for stored in thread.runs if stored.ordinal == run.ordinal), None)
            if ended is None or ended.raw.frames is None:
                return p.RunUpdate((), frozenset(), True)
            frames = ended.raw.frames
            return p.RunUpdate(frames[-1:] if after > len(frames) else frames[after:], ended.raw.duplicates, True)

    def messages(self, thread: p.ThreadKey) -> list[dict[str, Any]]:
        with self._lock.get():
            stored = self._threads.get(thread)
            if stored is None:
                return []
            messages, last_agent_event = stored.messages, stored.messages_last_agent_event
            records = () if stored.messages_run is None else stored.messages_run.records
        return p.messages_after_run(messages, records, last_agent_event)

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        with self._lock.get():
            infos = [thread.info() for thread in self._threads.values() if thread.key.owner == owner and thread.runs]
        return paginate(infos, query)

    # --- changing threads ---

    def update(self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None) -> bool:
        with self._lock.get():
            stored = self._threads.get(thread)
            if stored is None or not stored.runs:
                return False
            if name is not None:
                stored.name = name
            if archived is not None:
                stored.archived = archived
            return True

    def delete(self, thread: p.ThreadKey) -> bool:
        with self._lock.get():
            stored = self._threads.get(thread)
            if stored is None:
                return False
            self._delete(stored)
            return bool(stored.runs)

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        with self._lock.get():
            # Tokens increase, so the threads that have been created since the first call are known by theirs.
            last = self._last_token if cursor is None else int(cursor)
            mine = (thread for thread in self._threads.values() if thread.key.owner == owner and thread.token <= last)
            found = list(itertools.islice(mine, _CLEAR_BATCH))
            for thread in found:
                self._delete(thread)
                if thread.live is not None:
                    # The active run continues on a thread without any history.
                    self._last_token += 1
                    successor = _Thread(thread.key, self._last_token, ordinal=thread.ordinal, live=thread.live)
                    self._threads[thread.key] = successor
                    self._size += successor.size
            return str(last) if len(found) == _CLEAR_BATCH else None

    def sweep(self) -> bool:
        with self._lock.get():
            self._sweep()
        return False

    def after_fork(self) -> None:
        self._lock = process_lock()
        # Other children of the parent start at the same number.
        self._first_ordinal += random.randrange(_RANDOM_ORDINALS)
        for thread in list(self._threads.values()):
            if thread.live is not None:
                self._size -= thread.live.size
                thread.live = None
                if not thread.runs:
                    self._delete(thread)
        self._evict()  # threads with an active run may have kept the store above its limits

    # --- helpers; the lock must be held ---

    def _require_lease(self, lease: p.Lease) -> tuple[_Thread, _ActiveRun]:
        thread = self._threads.get(lease.run.thread)
        if thread is None or thread.live is None or thread.live.lease != lease:
            raise p.LeaseLost
        return thread, thread.live

    def _append(self, live: _ActiveRun, frames: Sequence[bytes], duplicates: Set[int]) -> None:
        size = sum(map(len, frames))
        live.frames.extend(frames)
        live.duplicates = duplicates
        live.size += size
        self._size += size

    def _store_run(self, thread: _Thread, live: _ActiveRun, completion: p.RunCompletion, has_messages: bool) -> None:
        now = time.time()
        raw = _RawFrames(
            frames=live.frames,
            size=sum(map(len, live.frames)),
            expires_at=time.monotonic() + p.RAW_RETENTION_SECONDS,
            duplicates=completion.duplicates,
        )
        run = _Run(
            ordinal=live.lease.run.ordinal,
            run_id=live.lease.run_id,
            agent_id=live.agent_id,
            records=completion.records,
            size=sum(len(record.frame) for record in completion.records),
            event_messages=completion.event_messages,
            input_messages=completion.input_messages,
            raw=raw,
            has_run_error=completion.has_run_error,
            recorded_by=completion.recorded_by,
        )
        thread.created_at = thread.created_at or now
        thread.updated_at = now
        thread.agent_id = live.agent_id
        thread.runs.append(run)
        # New sets: `RunStarted` has passed the old ones on.
        thread.event_messages = {*thread.event_messages, *run.event_messages}
        thread.input_messages = {*thread.input_messages, *run.input_messages}
        if has_messages:
            thread.messages = completion.messages
            thread.messages_run = run
            thread.messages_last_agent_event = completion.last_agent_event
            thread.messages_size = live.size - raw.size
        self._raw.append(raw)
        while 0 < self._max_runs < len(thread.runs):
            self._delete_oldest_run(thread)

    def _delete_oldest_run(self, thread: _Thread) -> None:
        """Deletes a thread's oldest run. The caller adjusts `_size`."""
        thread.runs.pop(0).raw.drop()
        thread.event_messages = set().union(*(run.event_messages for run in thread.runs))
        thread.input_messages = set().union(*(run.input_messages for run in thread.runs))

    def _delete(self, thread: _Thread) -> None:
        self._size -= thread.size
        self._first_ordinal = max(self._first_ordinal, thread.ordinal)
        del self._threads[thread.key]
        for run in thread.runs:
            run.raw.drop()

    def _touch(self, thread: _Thread) -> None:
        thread.used_at = time.monotonic()
        self._threads.move_to_end(thread.key)

    def _sweep(self) -> None:
        """Deletes expired raw frames and threads."""
        now = time.monotonic()
        while self._max_age:
            oldest = next((thread for thread in self._threads.values() if thread.live is None), None)
            if oldest is None or now - oldest.used_at < self._max_age:
                break
            self._delete(oldest)
        while self._raw and (self._raw[0].frames is None or self._raw[0].expires_at <= now):
            self._size -= self._raw.popleft().drop()

    def _exceeds_limits(self) -> bool:
        return 0 < self._max_threads < len(self._threads) or 0 < self._max_bytes < self._size

    def _evict(self, current: _Thread | None = None) -> int:
        """Enforces the limits. Returns how many threads other than ``current`` that has deleted."""
        evicted = 0
        while self._exceeds_limits():
            # Usually the first thread can be deleted, so this search is short.
            victim = next(
                (thread for thread in self._threads.values() if thread is not current and thread.live is None), None
            )
            if victim is None:
                break
            self._delete(victim)
            evicted += 1
        # Only threads in use are left: their raw frames are dropped next, then the oldest runs of ``current``.
        while self._raw and 0 < self._max_bytes < self._size:
            self._size -= self._raw.popleft().drop()
        while current is not None and len(current.runs) > 1 and 0 < self._max_bytes < self._size:
            self._size -= current.size
            self._delete_oldest_run(current)
            self._size += current.size
        return evicted

    def _warn_evicted(self, evicted: int) -> None:
        if evicted and not self._has_evicted:
            self._has_evicted = True
            logger.warning(
                "the memory store has reached its limits (max_threads=%d, max_bytes=%d) and evicts the least recently "
                "used threads; this is logged once",
                self._max_threads,
                self._max_bytes,
            )
