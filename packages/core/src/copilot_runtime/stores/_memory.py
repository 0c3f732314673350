"""Threads in the memory of one process: lost when it ends, and not visible to other processes."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from operator import attrgetter
from typing import Any

from .. import _validation as validation
from .._concurrency.process_local import ProcessLocal
from . import protocol as p
from ._memory_owners import Limit, Owners
from ._memory_threads import ActiveRun, StoredRun, Thread, first_other, messages_data
from ._ordinals import take_ordinal
from ._pagination import paginate
from .portable import ImportOutcome, KeyPage, PortableThread, check_room, import_outcome

logger = logging.getLogger("copilot_runtime.stores.memory")

_CLEAR_BATCH = 200
"""The most threads to delete at a time, so that others do not wait long for the lock."""


_MAX_FLUSH_BYTES = 64 * 1024
_NO_IDS: Set[str] = frozenset()


class _ProcessState:
    """What each process has of its own."""

    __slots__ = ("lock", "unused_ordinals")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.unused_ordinals: list[int] = []
        """See `take_ordinal`."""


class MemoryStore:
    """Keeps threads in memory, up to limits.

    Args:
        max_threads: How many threads to keep. The least recently used are deleted first, of owners who have more than
            their share.
        max_runs_per_thread: How many runs of each thread to keep. The oldest are deleted first.
        max_bytes: The memory that all threads may take, active runs and the bodies of their requests included.
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
        self._max_runs = max_runs_per_thread or math.inf
        self._max_threads = max_threads or math.inf
        self._max_bytes = max_bytes or math.inf
        self._thread_limit = Limit(self._max_threads, lambda: len(self._threads), attrgetter("thread_count"))
        self._byte_limit = Limit(self._max_bytes, lambda: self._size, attrgetter("size"))
        self._max_age = max_age_seconds
        self._given_limits = (max_threads, max_bytes)
        self._size = 0
        self._last_token = 0
        self._threads: dict[p.ThreadKey, Thread] = {}
        self._idle: OrderedDict[Thread, None] = OrderedDict()
        """Those without an active run, the least recently used first."""
        self._owners = Owners()
        self._raw: OrderedDict[StoredRun, Thread] = OrderedDict()
        """The runs with raw frames, in the order in which these expire."""
        self._next_expiry = math.inf
        """Before this time by the monotonic clock, no raw frames expire."""
        self._has_evicted = False
        self._process = ProcessLocal(_ProcessState)

    @property
    def flush_bytes(self) -> int:
        # What is not counted yet of a run: a thousand of them stay within max_bytes.
        return int(min(_MAX_FLUSH_BYTES, self._max_bytes / 1000))

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        key = run.thread
        event_messages = input_messages = _NO_IDS
        process = self._process.get()
        with process.lock:
            now = self._sweep()
            thread = self._threads.get(key)
            if thread is None:
                ordinal = take_ordinal(process.unused_ordinals)
            elif thread.live is not None:
                return p.ThreadBusy(thread.live.view())
            else:
                ordinal = thread.ordinal + 1
            self._last_token = token = self._last_token + 1
            lease = p.Lease(p.RunKey(key, ordinal), run.run_id, token)
            live = ActiveRun(lease, run.agent_id, run.size, time.time())
            if thread is None:
                thread = Thread(key, token, ordinal, now, live)
                self._add(thread)
            else:
                self._set_active(thread)
                thread.ordinal, thread.used_at, thread.live = ordinal, now, live
                self._count(thread, live.size + thread.join_ids())
                event_messages, input_messages = thread.known_ids
            evicted = self._evict(thread)
        if evicted and not self._has_evicted:
            self._warn_evicted()
        return p.RunStarted(lease, event_messages, input_messages)

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        evicted = 0
        with self._process.get().lock:
            for batch in batches:
                try:
                    thread, live = self._require_lease(batch.lease)
                    frames = p.missing_frames(batch.frames, batch.frame_count, live.frame_count)
                except p.LeaseLost as error:
                    refused[batch.lease] = error
                    continue
                self._count(thread, live.append(frames, batch.duplicates))
                evicted += self._evict(thread)
                if live.size > self._max_bytes:
                    refused[batch.lease] = p.RunTooLarge()
        if evicted and not self._has_evicted:
            self._warn_evicted()
        return refused

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        # Before the lock is taken, since this may take a while.
        messages = messages_data(completion) if completion.persist else None
        with self._process.get().lock:
            now = self._sweep()
            thread, live = self._require_lease(lease)
            if completion.persist:
                frames = p.missing_frames(frames, completion.frame_count, live.frame_count)
                run = StoredRun(live, completion, live.joined_with(frames), now + p.RAW_RETENTION_SECONDS)
                self._count(thread, thread.add_run(run, completion, messages, time.time()) - live.size)
                self._raw[run] = thread
                if run.expires_at < self._next_expiry:
                    self._next_expiry = run.expires_at
                while len(thread.runs) > self._max_runs:
                    self._delete_oldest_run(thread)
            else:
                self._count(thread, -live.size)
            thread.live = None
            if thread.runs or completion.keep_ordinal:
                thread.used_at = now
                self._set_idle(thread)
            else:
                self._delete(thread)
            evicted = self._evict(thread)
        if evicted and not self._has_evicted:
            self._warn_evicted()

    def renew(self, leases: Sequence[p.Lease]) -> None:
        """Does nothing: a lease holds as long as the process lives."""

    def poll_signals(self, leases: Sequence[p.Lease]) -> Mapping[p.Lease, p.LeaseSignal]:
        signals: dict[p.Lease, p.LeaseSignal] = {}
        with self._process.get().lock:
            for lease in leases:
                try:
                    if self._require_lease(lease)[1].stopping:
                        signals[lease] = p.LeaseSignal.STOP
                except p.LeaseLost:
                    signals[lease] = p.LeaseSignal.LOST
        return signals

    def claim(self, run: p.RunKey, *, force: bool = False) -> p.ClaimedRun | None:
        with self._process.get().lock:
            thread = self._threads.get(run.thread)
            if thread is None or (live := thread.live) is None or live.lease.run != run or not force:
                return None
            self._last_token += 1
            live.lease = lease = live.lease._replace(token=self._last_token)
            agent_id, started_at = live.agent_id, live.started_at
            frames, event_messages = tuple(live.frames), thread.known_ids[0]
        return p.ClaimedRun(lease, agent_id, started_at, frames, self.messages(run.thread), event_messages)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        with self._process.get().lock:
            stored = self._threads.get(thread)
            if stored is None or stored.live is None:
                return None
            before = stored.live.view()
            if run_id is None or run_id == before.run_id:
                stored.live.stopping = True
            return before

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        with self._process.get().lock:
            self._sweep()
            stored = self._threads.get(thread)
            if stored is None:
                return p.ThreadSnapshot()
            if touch:
                self._touch(stored)
            runs = tuple(_snapshot(run, with_raw=run.ordinal == raw_ordinal) for run in stored.runs)
            live = None if stored.live is None else stored.live.view()
            return p.ThreadSnapshot(runs, live, stored.ordinal)

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        with self._process.get().lock:
            thread = self._threads.get(run.thread)
            if thread is None:
                return p.RunUpdate((), frozenset(), True)
            live = thread.live
            if live is not None and live.lease.run == run:
                return p.RunUpdate(live.frames_after(after), live.duplicates, False)
            ended = next((stored for stored in thread.runs if stored.ordinal == run.ordinal), None)
            frames = None if ended is None else ended.raw_frames()
            if ended is None or frames is None:
                return p.RunUpdate((), frozenset(), True)
            return p.RunUpdate(frames[-1:] if after > len(frames) else frames[after:], ended.duplicates, True)

    def messages(self, thread: p.ThreadKey) -> list[dict[str, Any]]:
        with self._process.get().lock:
            stored = self._threads.get(thread)
            if stored is None:
                return []
            messages = stored.messages
        return messages.decode()

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        with self._process.get().lock:
            infos = [thread.info() for thread in self._owners.threads(owner) if thread.runs]
        return paginate(infos, query)

    # --- changing threads ---

    def update(
        self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        with self._process.get().lock:
            stored = self._threads.get(thread)
            if stored is None or not stored.runs or (if_unnamed and stored.name is not None):
                return False
            if name is not None:
                self._count(stored, stored.rename(name))
            if archived is not None:
                stored.archived = archived
            evicted = self._evict(stored)
        if evicted and not self._has_evicted:
            self._warn_evicted()
        return True

    def delete(self, thread: p.ThreadKey) -> bool:
        with self._process.get().lock:
            stored = self._threads.get(thread)
            if stored is None:
                return False
            self._delete(stored)
            return bool(stored.runs)

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        with self._process.get().lock:
            # Tokens increase, so the threads that have been created since the first call are known by theirs.
            last = self._last_token if cursor is None else int(cursor)
            mine = (thread for thread in self._owners.threads(owner) if thread.token <= last)
            found = list(itertools.islice(mine, _CLEAR_BATCH))
            for thread in found:
                self._delete(thread)
                if thread.live is not None:
                    # The active run continues on a thread without any history.
                    self._last_token += 1
                    self._add(Thread(thread.key, self._last_token, thread.ordinal, time.monotonic(), thread.live))
            return str(last) if len(found) == _CLEAR_BATCH else None

    # --- moving threads; modules for this alone are imported when it is done, which few processes do ---

    def thread_keys(self, cursor: str | None, limit: int) -> KeyPage:
        after = 0 if cursor is None else int(cursor)
        with self._process.get().lock:
            # They are in the order of their tokens, which increase.
            found = list(itertools.islice((t for t in self._threads.values() if t.token > after), limit))
            keys = [thread.key for thread in found]
            return KeyPage(keys, str(found[-1].token) if len(found) == limit else None)

    def export_thread(self, thread: p.ThreadKey) -> PortableThread | None:
        from ._memory_portable import copy_of, export_thread

        with self._process.get().lock:
            stored = self._threads.get(thread)
            if stored is None:
                return None
            stored = copy_of(stored)
        return export_thread(stored)

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        from ._memory_portable import import_thread, state_of

        imported = import_thread(thread)
        with self._process.get().lock:
            self._sweep()
            stored = self._threads.get(thread.key)
            outcome = import_outcome(None if stored is None else state_of(stored), thread)
            if outcome.is_written:
                before = 0 if stored is None else stored.size
                check_room("max_runs_per_thread", self._max_runs, len(thread.runs))
                check_room("max_threads", self._max_threads, len(self._threads) + (stored is None))
                check_room("max_bytes", self._max_bytes, self._size - before + imported.size)
                if stored is not None:
                    self._delete(stored)
                self._last_token += 1
                imported.token = self._last_token
                self._add(imported)
                self._set_idle(imported)
        return outcome

    # --- retention and forks ---

    def sweep(self) -> bool:
        with self._process.get().lock:
            self._sweep()
        return False

    def after_fork(self) -> None:
        self._process = ProcessLocal(_ProcessState)
        for thread in sorted(self._threads.values(), key=attrgetter("used_at")):
            if (live := thread.live) is not None:
                thread.live = None
                self._count(thread, -live.size)
                if not thread.runs:
                    self._delete(thread)
                    continue
            self._set_active(thread)
            self._set_idle(thread)
        self._evict()  # threads with an active run may have kept the store above its limits

    # --- helpers; the lock must be held ---

    def _require_lease(self, lease: p.Lease) -> tuple[Thread, ActiveRun]:
        thread = self._threads.get(lease.run.thread)
        # Mostly it is the same object, which takes less time to find than that it is equal.
        if thread is None or (live := thread.live) is None or ((held := live.lease) is not lease and held != lease):
            raise p.LeaseLost
        return thread, live

    def _delete_oldest_run(self, thread: Thread) -> None:
        """Deletes a thread's oldest run."""
        run, change = thread.delete_oldest_run()
        self._raw.pop(run, None)
        self._count(thread, change)

    def _add(self, thread: Thread) -> None:
        """Adds a thread, which is in use."""
        self._threads[thread.key] = thread
        self._owners.add(thread)
        self._size += thread.size

    def _delete(self, thread: Thread) -> None:
        self._owners.remove(thread)
        self._size -= thread.size
        del self._threads[thread.key]
        self._idle.pop(thread, None)
        for run in reversed(thread.runs):
            if run.raw is None:  # so the frames of those before it have expired as well
                break
            del self._raw[run]

    def _count(self, thread: Thread, change: int) -> None:
        """Counts that a thread takes more bytes than before, or less."""
        thread.size += change
        thread.owner.size += change
        self._size += change

    def _touch(self, thread: Thread) -> None:
        """Marks a thread as used now."""
        thread.used_at = time.monotonic()
        if thread.live is None:
            self._set_active(thread)
            self._set_idle(thread)

    def _set_active(self, thread: Thread) -> None:
        """Removes a thread from those that may be deleted."""
        self._idle.pop(thread, None)
        thread.owner.idle.pop(thread, None)

    def _set_idle(self, thread: Thread) -> None:
        """Adds a thread to those that may be deleted, as the one that was used last."""
        self._idle[thread] = thread.owner.idle[thread] = None

    def _sweep(self) -> float:
        """Deletes expired raw frames and threads, and returns the time by the monotonic clock."""
        now = time.monotonic()
        while self._max_age:
            oldest = first_other(self._idle, None)
            if oldest is None or now - oldest.used_at < self._max_age:
                break
            self._delete(oldest)
        if now >= self._next_expiry:
            self._drop_expired(now)
        return now

    def _drop_expired(self, now: float) -> None:
        self._next_expiry = math.inf
        while self._raw:
            run = next(iter(self._raw))
            if run.expires_at > now:
                self._next_expiry = run.expires_at
                return
            self._drop_raw_frames(run)

    def _drop_raw_frames(self, run: StoredRun) -> None:
        thread = self._raw.pop(run)
        self._count(thread, run.drop_raw())

    def _evict(self, current: Thread | None = None) -> int:
        """Enforces the limits after ``current`` has grown. Returns how many other threads that has deleted.

        If the owner of ``current`` has more than its share, it first loses its other threads, then raw frames, and then
        the oldest runs of ``current``. Only then do others lose threads.
        """
        evicted = 0
        if len(self._threads) > self._max_threads:
            evicted = self._evict_for(self._thread_limit, current)
        if self._size > self._max_bytes:
            evicted += self._evict_for(self._byte_limit, current)
            self._trim(current, self._byte_limit.is_exceeded)
        return evicted

    def _evict_for(self, limit: Limit, current: Thread | None) -> int:
        """Does what is to be done while a limit, which is exceeded, is."""
        owners = self._owners
        evicted = 0
        if current is not None:
            owner = current.owner
            while owners.is_above_share(owner, limit) and (thread := first_other(owner.idle, current)) is not None:
                self._delete(thread)
                evicted += 1
                if not limit.is_exceeded():
                    return evicted
            if limit is self._byte_limit:
                self._trim(
                    current, lambda: limit.is_exceeded() and owners.is_above_share(owner, limit), current.key.owner
                )
        while limit.is_exceeded() and (thread := first_other(self._idle, current)) is not None:
            if not owners.is_above_share(thread.owner, limit):
                thread = owners.idle_thread_above_share(limit, current) or thread
            self._delete(thread)
            evicted += 1
        return evicted

    def _trim(self, current: Thread | None, is_needed: Callable[[], bool], owner: str | None = None) -> None:
        """Drops raw frames, of all threads or of those of an owner, and then the oldest runs of ``current``."""
        for run, thread in list(self._raw.items()) if is_needed() else ():
            if owner in (None, thread.key.owner) and is_needed():
                self._drop_raw_frames(run)
        while current is not None and len(current.runs) > 1 and is_needed():
            self._delete_oldest_run(current)

    def _warn_evicted(self) -> None:
        self._has_evicted = True
        logger.warning(
            "the memory store has reached its limits (max_threads=%d, max_bytes=%d) and evicts the least recently "
            "used threads; this is logged once",
            *self._given_limits,
        )


def _snapshot(run: StoredRun, *, with_raw: bool) -> p.StoredRun:
    raw = run.raw_frames() if with_raw else None
    return p.StoredRun(
        run.ordinal,
        run.run_id,
        run.agent_id,
        run,
        raw,
        run.has_run_error,
        run.recorded_by,
        frozenset() if raw is None else run.duplicates,
    )
