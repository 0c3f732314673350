"""Threads in the memory of one process: lost when it ends, and not visible to other processes."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence, Set
from operator import attrgetter
from typing import Any

from .. import _validation as validation
from .._concurrency.process_local import ProcessLocal
from . import protocol as p
from ._memory_table import ThreadTable
from ._memory_threads import ActiveRun, StoredRun, Thread, messages_data
from ._ordinals import take_ordinal
from ._pagination import paginate
from .portable import ImportOutcome, KeyPage, PortableThread, check_room, import_outcome

logger = logging.getLogger("copilot_runtime.stores.memory")

_CLEAR_BATCH = 200
"""The most threads to delete at a time, so that others do not wait long for the lock."""


_MAX_FLUSH_BYTES = 64 * 1024
_NO_IDS: Set[str] = frozenset()

_new = tuple.__new__
"""Makes the named tuples of which each run has one, in half the time that their constructors take."""


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
        self._given_limits = (max_threads, max_bytes)
        self._table = ThreadTable(max_threads or math.inf, max_bytes or math.inf, max_age_seconds or math.inf)
        self._last_token = 0
        self._has_warned = False
        self._process = ProcessLocal(_ProcessState)

    @property
    def flush_bytes(self) -> int:
        # What is not counted yet of a run: a thousand of them stay within max_bytes.
        return int(min(_MAX_FLUSH_BYTES, self._table.max_bytes / 1000))

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        key, run_id, agent_id, size, _ = run
        event_messages = input_messages = _NO_IDS
        process = self._process.get()
        with process.lock:
            now = time.monotonic()
            table = self._table
            if now >= table.next_sweep:
                table.sweep(now)
            thread = table.by_key.get(key)
            if thread is None:
                ordinal = take_ordinal(process.unused_ordinals)
            elif thread.live is not None:
                return p.ThreadBusy(thread.live.view())
            else:
                ordinal = thread.ordinal + 1
            self._last_token = token = self._last_token + 1
            lease = _new(p.Lease, (_new(p.RunKey, (key, ordinal)), run_id, token))
            live = ActiveRun(lease, agent_id, size, time.time())
            if thread is None:
                thread = Thread(key, token, ordinal, now, live)
                table.add(thread)
            else:
                table.set_active(thread)
                thread.ordinal, thread.used_at, thread.live = ordinal, now, live
                table.count(thread, live.size + thread.join_ids())
                event_messages, input_messages = thread.known_ids
            if table.size > table.max_bytes or len(table.by_key) > table.max_threads:
                table.evict(thread)
        if not self._has_warned and table.has_evicted:
            self._warn_evicted()
        return _new(p.RunStarted, (lease, event_messages, input_messages))

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        with self._process.get().lock:
            for batch in batches:
                try:
                    thread, live = self._require_lease(batch.lease)
                    frames = p.missing_frames(batch.frames, batch.frame_count, live.frame_count)
                except p.LeaseLost as error:
                    refused[batch.lease] = error
                    continue
                self._table.count(thread, live.append(frames, batch.duplicates))
                self._table.evict(thread)
                if live.size > self._table.max_bytes:
                    refused[batch.lease] = p.RunTooLarge()
        if not self._has_warned and self._table.has_evicted:
            self._warn_evicted()
        return refused

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        is_stored = completion.persist
        # Before the lock is taken, since this may take a while.
        messages = messages_data(completion) if is_stored else None
        table = self._table
        with self._process.get().lock:
            now = time.monotonic()
            if now >= table.next_sweep:
                table.sweep(now)
            thread, live = self._require_lease(lease)
            if is_stored:
                frames = p.missing_frames(frames, completion.frame_count, live.frame_count)
                run = StoredRun(live, completion, live.packed_with(frames), now + p.RAW_RETENTION_SECONDS)
                table.count(thread, thread.add_run(run, completion, messages, time.time()) - live.size)
                table.raw[run] = thread
                if run.expires_at < table.next_sweep:
                    table.next_sweep = run.expires_at
                while len(thread.runs) > self._max_runs:
                    table.delete_oldest_run(thread)
            else:
                table.count(thread, -live.size)
            if thread.runs or completion.keep_ordinal:
                thread.live = None
                table.set_idle(thread, now)
            else:
                table.remove(thread)
            if table.size > table.max_bytes or len(table.by_key) > table.max_threads:
                table.evict(thread)
        if not self._has_warned and table.has_evicted:
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
            thread = self._table.by_key.get(run.thread)
            if thread is None or (live := thread.live) is None or live.lease.run != run or not force:
                return None
            self._last_token += 1
            live.lease = lease = live.lease._replace(token=self._last_token)
            agent_id, started_at = live.agent_id, live.started_at
            frames, event_messages = tuple(live.frames), thread.known_ids[0]
        return p.ClaimedRun(lease, agent_id, started_at, frames, self.messages(run.thread), event_messages)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        with self._process.get().lock:
            stored = self._table.by_key.get(thread)
            if stored is None or stored.live is None:
                return None
            before = stored.live.view()
            if run_id is None or run_id == before.run_id:
                stored.live.stopping = True
            return before

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        with self._process.get().lock:
            self._table.sweep(time.monotonic())
            stored = self._table.by_key.get(thread)
            if stored is None:
                return p.ThreadSnapshot()
            if touch:
                self._touch(stored)
            runs = tuple(_snapshot(run, with_raw=run.ordinal == raw_ordinal) for run in stored.runs)
            live = None if stored.live is None else stored.live.view()
            return p.ThreadSnapshot(runs, live, stored.ordinal)

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        with self._process.get().lock:
            thread = self._table.by_key.get(run.thread)
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
            stored = self._table.by_key.get(thread)
            if stored is None:
                return []
            messages = stored.messages
        return messages.decode()

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        with self._process.get().lock:
            infos = [thread.info() for thread in self._table.of_owner(owner) if thread.runs]
        return paginate(infos, query)

    # --- changing threads ---

    def update(
        self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        with self._process.get().lock:
            stored = self._table.by_key.get(thread)
            if stored is None or not stored.runs or (if_unnamed and stored.name is not None):
                return False
            if name is not None:
                self._table.count(stored, stored.rename(name))
            if archived is not None:
                stored.archived = archived
            self._table.evict(stored)
        if not self._has_warned and self._table.has_evicted:
            self._warn_evicted()
        return True

    def delete(self, thread: p.ThreadKey) -> bool:
        with self._process.get().lock:
            stored = self._table.by_key.get(thread)
            if stored is None:
                return False
            self._table.remove(stored)
            return bool(stored.runs)

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        with self._process.get().lock:
            # Tokens increase, so the threads that have been created since the first call are known by theirs.
            last = self._last_token if cursor is None else int(cursor)
            mine = (thread for thread in self._table.of_owner(owner) if thread.token <= last)
            found = list(itertools.islice(mine, _CLEAR_BATCH))
            for thread in found:
                self._table.remove(thread)
                if thread.live is not None:
                    # The active run continues on a thread without any history.
                    self._last_token += 1
                    self._table.add(Thread(thread.key, self._last_token, thread.ordinal, time.monotonic(), thread.live))
            return str(last) if len(found) == _CLEAR_BATCH else None

    # --- moving threads; modules for this alone are imported when it is done, which few processes do ---

    def thread_keys(self, cursor: str | None, limit: int) -> KeyPage:
        after = 0 if cursor is None else int(cursor)
        with self._process.get().lock:
            # They are in the order of their tokens, which increase.
            found = list(itertools.islice((t for t in self._table.by_key.values() if t.token > after), limit))
            keys = [thread.key for thread in found]
            return KeyPage(keys, str(found[-1].token) if len(found) == limit else None)

    def export_thread(self, thread: p.ThreadKey) -> PortableThread | None:
        from ._memory_portable import copy_of, export_thread

        with self._process.get().lock:
            stored = self._table.by_key.get(thread)
            if stored is None:
                return None
            stored = copy_of(stored)
        return export_thread(stored)

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        from ._memory_portable import import_thread, state_of

        imported = import_thread(thread)
        with self._process.get().lock:
            self._table.sweep(time.monotonic())
            stored = self._table.by_key.get(thread.key)
            outcome = import_outcome(None if stored is None else state_of(stored), thread)
            if outcome.is_written:
                before = 0 if stored is None else stored.size
                check_room("max_runs_per_thread", self._max_runs, len(thread.runs))
                check_room("max_threads", self._table.max_threads, len(self._table.by_key) + (stored is None))
                check_room("max_bytes", self._table.max_bytes, self._table.size - before + imported.size)
                if stored is not None:
                    self._table.remove(stored)
                self._last_token += 1
                imported.token = self._last_token
                self._table.add(imported)
                self._table.set_idle(imported, imported.used_at)
        return outcome

    # --- retention and forks ---

    def sweep(self) -> bool:
        with self._process.get().lock:
            self._table.sweep(time.monotonic())
        return False

    def after_fork(self) -> None:
        self._process = ProcessLocal(_ProcessState)
        table = self._table
        for thread in sorted(table.by_key.values(), key=attrgetter("used_at")):
            if (live := thread.live) is not None:
                if not thread.runs:
                    table.remove(thread)
                    continue
                thread.live = None
                table.count(thread, -live.size)
            table.set_active(thread)
            table.set_idle(thread, thread.used_at)
        table.evict()  # threads with an active run may have kept the store above its limits

    # --- helpers; the lock must be held ---

    def _require_lease(self, lease: p.Lease) -> tuple[Thread, ActiveRun]:
        thread = self._table.by_key.get(lease.run.thread)
        # Mostly it is the same object, which takes less time to find than that it is equal.
        if thread is None or (live := thread.live) is None or ((held := live.lease) is not lease and held != lease):
            raise p.LeaseLost
        return thread, live

    def _touch(self, thread: Thread) -> None:
        """Marks a thread as used now."""
        if thread.live is None:
            self._table.set_active(thread)
            self._table.set_idle(thread, time.monotonic())
        else:
            thread.used_at = time.monotonic()

    def _warn_evicted(self) -> None:
        self._has_warned = True
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
