"""Threads in this process's memory: gone with it, and seen by it alone."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence, Set
from typing import Any

from .. import _validation as validation
from .._events import CompactedFrame, messages_after_run
from ._pagination import paginate
from .protocol import (
    ActiveRun,
    Batch,
    ClaimedRun,
    Lease,
    LeaseLost,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunKey,
    RunStarted,
    RunTooLarge,
    RunUpdate,
    StoredRun,
    ThreadBusy,
    ThreadInfo,
    ThreadKey,
    ThreadPage,
    ThreadQuery,
    ThreadSnapshot,
)

logger = logging.getLogger("copilot_runtime.stores.memory")

RAW_RETENTION_SECONDS = 60.0
"""How long the frames of an ended run are kept as they were sent, for exact resumption."""


@dataclasses.dataclass(slots=True)
class _ActiveRun:
    lease: Lease
    agent_id: str
    size: int
    frames: list[bytes] = dataclasses.field(default_factory=list)
    repeats: Set[int] = frozenset()
    stopping: bool = False

    def view(self) -> ActiveRun:
        return ActiveRun(self.lease.run, self.lease.run_id, self.agent_id, self.stopping)


@dataclasses.dataclass(slots=True)
class _Raw:
    """A run's frames as they were sent, apart from the run: what waits to expire holds no more than these."""

    frames: list[bytes] | None
    size: int
    until: float
    repeats: Set[int]

    def drop(self) -> int:
        """Forgets the frames; gives how many bytes that frees."""
        freed, self.frames, self.size = self.size, None, 0
        return freed


@dataclasses.dataclass(slots=True)
class _Run:
    ordinal: int
    run_id: str
    agent_id: str
    records: Sequence[CompactedFrame]
    size: int
    event_messages: Set[str]
    input_messages: Set[str]
    raw: _Raw


@dataclasses.dataclass(slots=True)
class _Thread:
    key: ThreadKey
    ordinal: int = 0
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
    messages: Sequence[Mapping[str, Any]] = ()
    messages_run: _Run | None = None
    messages_own: int = 0
    messages_size: int = 0

    @property
    def size(self) -> int:
        live = 0 if self.live is None else self.live.size
        return live + self.messages_size + sum(run.size + run.raw.size for run in self.runs)

    def info(self) -> ThreadInfo:
        return ThreadInfo(
            thread_id=self.key.thread_id,
            agent_id=self.agent_id,
            name=self.name,
            archived=self.archived,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class MemoryStore:
    """Keeps threads in memory, the least recently used going first.

    ``max_threads`` and ``max_runs_per_thread`` are counts, ``max_bytes`` bounds the bytes
    of all frames and messages kept, runs in flight included, ``max_age_seconds`` is how long
    a thread is kept that nobody uses; 0 means no bound. A thread
    goes only when nothing runs on it, and of a thread the oldest run. Raises ValueError
    for what is not a whole number from 0 on.
    """

    blocking = False
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
        self._token = 0
        self._ordinals = 0
        """The highest ordinal of all threads forgotten: ids of a thread's former life must not fit its next one."""
        self._threads: OrderedDict[ThreadKey, _Thread] = OrderedDict()
        self._raw: deque[_Raw] = deque()
        self._has_evicted = False
        self._lock = threading.Lock()

    # --- runs ---

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        with self._lock:
            self._sweep()
            thread = self._threads.get(run.thread)
            if thread is None:
                thread = self._threads[run.thread] = _Thread(run.thread, ordinal=self._ordinals)
            elif thread.live is not None:
                return ThreadBusy(thread.live.view())
            self._touch(thread)
            thread.ordinal += 1
            self._token += 1
            lease = Lease(RunKey(run.thread, thread.ordinal), run.run_id, self._token)
            thread.live = _ActiveRun(lease, run.agent_id, run.size)
            self._size += run.size
            begun = RunStarted(lease, thread.event_messages, thread.input_messages)
            evicted = self._evict(thread)
        self._warn_evicted(evicted)
        return begun

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        refused: dict[Lease, LeaseLost | RunTooLarge] = {}
        evicted = 0
        with self._lock:
            for batch in batches:
                try:
                    thread, live = self._require_lease(batch.lease)
                except LeaseLost as lost:
                    refused[batch.lease] = lost
                    continue
                self._append(live, batch.frames, batch.duplicates)
                evicted += self._evict(thread)
                if 0 < self._max_bytes < live.size:
                    refused[batch.lease] = RunTooLarge()
        self._warn_evicted(evicted)
        return refused

    def finish(self, lease: Lease, frames: Sequence[bytes], finished: RunCompletion) -> None:
        has_messages = bool(finished.messages or messages_after_run((), finished.records, finished.last_agent_event))
        with self._lock:
            self._sweep()
            thread, live = self._require_lease(lease)
            self._append(live, frames, live.repeats)
            self._size -= thread.size
            thread.live = None
            if finished.persist:
                self._store_run(thread, live, finished, has_messages)
            self._size += thread.size
            if thread.runs:
                self._touch(thread)
            else:
                self._forget(thread)
            evicted = self._evict(thread)
        self._warn_evicted(evicted)

    def renew(self, leases: Sequence[Lease]) -> None:
        """A lease holds as long as the process."""

    def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        signals: dict[Lease, LeaseSignal] = {}
        with self._lock:
            for lease in leases:
                try:
                    if self._require_lease(lease)[1].stopping:
                        signals[lease] = LeaseSignal.STOP
                except LeaseLost:
                    signals[lease] = LeaseSignal.LOST
        return signals

    def claim(self, run: RunKey, *, force: bool = False) -> ClaimedRun | None:
        with self._lock:
            thread = self._threads.get(run.thread)
            if thread is None or (live := thread.live) is None or live.lease.run != run or not force:
                return None
            self._token += 1
            live.lease = lease = dataclasses.replace(live.lease, token=self._token)
            agent_id, frames, known = live.agent_id, tuple(live.frames), thread.event_messages
        return ClaimedRun(lease, agent_id, frames, self.messages(run.thread), known)

    def request_stop(self, thread: ThreadKey, run_id: str | None) -> ActiveRun | None:
        with self._lock:
            known = self._threads.get(thread)
            if known is None or known.live is None:
                return None
            before = known.live.view()
            if run_id is None or run_id == before.run_id:
                known.live.stopping = True
            return before

    # --- readers ---

    def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        with self._lock:
            self._sweep()
            known = self._threads.get(thread)
            if known is None:
                return ThreadSnapshot()
            if touch:
                self._touch(known)
            runs = tuple(
                StoredRun(
                    run.ordinal,
                    run.run_id,
                    run.agent_id,
                    run.records,
                    run.raw.frames if run.ordinal == raw_ordinal else None,
                )
                for run in known.runs
            )
            return ThreadSnapshot(runs, None if known.live is None else known.live.view())

    def follow(self, run: RunKey, after: int) -> RunUpdate:
        with self._lock:
            thread = self._threads.get(run.thread)
            if thread is None:
                return RunUpdate((), frozenset(), True)
            live = thread.live
            if live is not None and live.lease.run == run:
                return RunUpdate(live.frames[after:], live.repeats, False)
            ended = next((one for one in thread.runs if one.ordinal == run.ordinal), None)
            if ended is None or ended.raw.frames is None:
                return RunUpdate((), frozenset(), True)
            raw = ended.raw.frames
            return RunUpdate(raw[-1:] if after > len(raw) else raw[after:], ended.raw.repeats, True)

    def messages(self, thread: ThreadKey) -> list[dict[str, Any]]:
        with self._lock:
            known = self._threads.get(thread)
            if known is None:
                return []
            messages, own = known.messages, known.messages_own
            records = () if known.messages_run is None else known.messages_run.records
        return messages_after_run(messages, records, own)

    def threads(self, owner: str, query: ThreadQuery) -> ThreadPage:
        with self._lock:
            infos = [thread.info() for thread in self._threads.values() if thread.key.owner == owner and thread.runs]
        return paginate(infos, query)

    # --- changes ---

    def update(self, thread: ThreadKey, *, name: str | None = None, archived: bool | None = None) -> bool:
        with self._lock:
            known = self._threads.get(thread)
            if known is None or not known.runs:
                return False
            if name is not None:
                known.name = name
            if archived is not None:
                known.archived = archived
            return True

    def delete(self, thread: ThreadKey) -> bool:
        with self._lock:
            known = self._threads.get(thread)
            if known is None:
                return False
            self._forget(known)
            return bool(known.runs)

    def clear(self, owner: str) -> None:
        with self._lock:
            for thread in [thread for thread in self._threads.values() if thread.key.owner == owner]:
                self._forget(thread)
                if thread.live is not None:
                    # The run goes on, on a thread that knows nothing of what was before.
                    anew = self._threads[thread.key] = _Thread(thread.key, ordinal=thread.ordinal, live=thread.live)
                    self._size += anew.size

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        for thread in list(self._threads.values()):
            if thread.live is not None:
                self._size -= thread.live.size
                thread.live = None
                if not thread.runs:
                    self._forget(thread)
        self._evict()  # threads that were in use until now may be more than the bounds allow

    # --- inside, with the lock held ---

    def _require_lease(self, lease: Lease) -> tuple[_Thread, _ActiveRun]:
        thread = self._threads.get(lease.run.thread)
        if thread is None or thread.live is None or thread.live.lease != lease:
            raise LeaseLost
        return thread, thread.live

    def _append(self, live: _ActiveRun, frames: Sequence[bytes], repeats: Set[int]) -> None:
        grown = sum(map(len, frames))
        live.frames.extend(frames)
        live.repeats = repeats
        live.size += grown
        self._size += grown

    def _store_run(self, thread: _Thread, live: _ActiveRun, finished: RunCompletion, has_messages: bool) -> None:
        now = time.time()
        run = _Run(
            ordinal=live.lease.run.ordinal,
            run_id=live.lease.run_id,
            agent_id=live.agent_id,
            records=finished.records,
            size=sum(len(record.frame) for record in finished.records),
            event_messages=finished.event_messages,
            input_messages=finished.input_messages,
            raw=_Raw(
                live.frames, sum(map(len, live.frames)), time.monotonic() + RAW_RETENTION_SECONDS, finished.duplicates
            ),
        )
        thread.created_at = thread.created_at or now
        thread.updated_at = now
        thread.agent_id = live.agent_id
        thread.runs.append(run)
        thread.event_messages = {*thread.event_messages, *run.event_messages}
        thread.input_messages = {*thread.input_messages, *run.input_messages}
        if has_messages:
            thread.messages = finished.messages
            thread.messages_run = run
            thread.messages_own = finished.last_agent_event
            thread.messages_size = live.size - run.raw.size
        self._raw.append(run.raw)
        while 0 < self._max_runs < len(thread.runs):
            self._drop_run(thread)

    def _drop_run(self, thread: _Thread) -> None:
        dropped = thread.runs.pop(0)
        dropped.raw.drop()
        thread.event_messages = set().union(*(run.event_messages for run in thread.runs))
        thread.input_messages = set().union(*(run.input_messages for run in thread.runs))

    def _forget(self, thread: _Thread) -> None:
        self._size -= thread.size
        self._ordinals = max(self._ordinals, thread.ordinal)
        del self._threads[thread.key]
        for run in thread.runs:
            run.raw.drop()

    def _touch(self, thread: _Thread) -> None:
        thread.used_at = time.monotonic()
        self._threads.move_to_end(thread.key)

    def _sweep(self) -> None:
        """Drops the raw frames and the threads whose time is over."""
        now = time.monotonic()
        while self._max_age:
            # The least recently used come first; what runs is in use.
            oldest = next((one for one in self._threads.values() if one.live is None), None)
            if oldest is None or now - oldest.used_at < self._max_age:
                break
            self._forget(oldest)
        while self._raw and (self._raw[0].frames is None or self._raw[0].until <= now):
            self._size -= self._raw.popleft().drop()

    def _exceeds_limits(self) -> bool:
        return 0 < self._max_threads < len(self._threads) or 0 < self._max_bytes < self._size

    def _evict(self, current: _Thread | None = None) -> int:
        """Deletes threads other than ``current`` until the bounds hold, and returns how many."""
        evicted = 0
        while self._exceeds_limits():
            # The least recently used come first, and nearly always the very first can go.
            victim = next((one for one in self._threads.values() if one is not current and one.live is None), None)
            if victim is None:
                break
            self._forget(victim)
            evicted += 1
        # Only what is in use is left: raw frames can go, and then the thread's own oldest runs.
        while self._raw and 0 < self._max_bytes < self._size:
            self._size -= self._raw.popleft().drop()
        while current is not None and len(current.runs) > 1 and 0 < self._max_bytes < self._size:
            self._size -= current.size
            self._drop_run(current)
            self._size += current.size
        return evicted

    def _warn_evicted(self, evicted: int) -> None:
        if evicted and not self._has_evicted:
            self._has_evicted = True
            logger.warning(
                "the memory store is full (max_threads=%d, max_bytes=%d): the least recently used threads are "
                "forgotten from now on. Said once.",
                self._max_threads,
                self._max_bytes,
            )
