"""Persists this process's runs: batched appends, the ends of runs, and who looks after their leases."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from enum import Enum
from typing import cast

from .._concurrency import driver, loops
from .._concurrency.periodic import PeriodicTask
from .._concurrency.process_local import ProcessLocal
from .._events import Piece, split_pieces
from .._log_text import log_failure
from ..stores.protocol import (
    Batch,
    LazyStore,
    LeaseLost,
    RunCompletion,
    RunStore,
    RunTooLarge,
    StoreError,
    ThreadUnreadable,
)
from .async_store import AsyncStore
from .endings import TOO_LARGE
from .leases import LeaseRenewer
from .optional_members import has_member
from .outage_log import OutageLog
from .prompt_appends import PromptAppends
from .run_writer import RunWriter
from .signals import SignalPoller

logger = logging.getLogger("copilot_runtime.engine")

FLUSH_INTERVAL_SECONDS = 0.1
MAX_UNFLUSHED_BYTES = 64 * 1024
"""What a crash may take of a run: the events of this interval, or of two with `MANY_RUNS`, or this many bytes if the
store does not block."""

MANY_RUNS = 32
"""How many runs are flushed half as often: a flush costs as much for each one, however few events there are."""

FINISH_RETRY_SECONDS = 5.0
"""How long storing the end of a run is tried again while the store fails, if there are no leases or the interpreter
exits. Otherwise for as long as a lease holds: until then, no other process ends the run."""

FINISH_RETRY_INTERVAL = 0.1


def find_lazy(store: RunStore) -> LazyStore | None:
    """Returns the store if it is one whose active runs need not be appended in time.

    Never one that is polled: the engines that follow a run there are not those that can append what it lacks.
    """
    is_alone = store.poll_seconds is None and not store.blocking
    is_lazy = is_alone and has_member(store, "flush_bytes", {"append", "follow", "claim"})
    return cast(LazyStore, store) if is_lazy else None


class FinishResult(Enum):
    """The result of persisting a run's final state."""

    STORED = "stored"
    LEASE_LOST = "another process has ended the run or taken over its thread"
    NOT_STORED = "the store failed"


STORED, LEASE_LOST = FinishResult.STORED, FinishResult.LEASE_LOST
"""By themselves, since each look at a member of an `Enum` takes longer than a call, and a run ends with several."""


class RunPersistence:
    """Flushes runs, with one timer for all of a loop, and has their signals polled for and their leases renewed.

    Args:
        store: the store.
        async_store: the same store, for event loops.
        has_all_readers: whether all that read active runs find their logs in this process.
    """

    def __init__(self, store: RunStore, async_store: AsyncStore, *, has_all_readers: bool = True) -> None:
        self._store = store
        self._async_store = async_store
        self._lazy = find_lazy(store) if has_all_readers else None
        max_unflushed = MAX_UNFLUSHED_BYTES if self._lazy is None else self._lazy.flush_bytes
        self.flush_bytes = 0 if self._lazy is None else max_unflushed
        """How many bytes of a run the store has to lack for `schedule_flush` to do anything."""
        self.overdue_bytes = sys.maxsize if store.blocking else max_unflushed
        """The same for a run whose flush is scheduled already."""
        self.tracks_runs = store.poll_seconds is not None or store.lease_seconds is not None
        """Whether other processes may have something to tell of a run, or take its thread."""
        self._flush_timer: PeriodicTask[RunWriter] = PeriodicTask(FLUSH_INTERVAL_SECONDS, self._flush_tick)
        self._prompt_appends = self._process_appends()
        self._poller = self._process_poller()
        self._renewer = self._process_renewer()
        self._flushing: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._postponed: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        """The loops whose flush has waited for one interval already."""
        self._flush_outage = OutageLog("storing events")

    def track(self, writer: RunWriter) -> None:
        """Polls for signals about a run that has begun, and renews its lease. Needed only if `tracks_runs`."""
        if self._store.poll_seconds is not None:
            self._poller.get().add(writer)
        if self._store.lease_seconds is not None:
            self._renewer.get().add(writer)

    def untrack(self, writer: RunWriter) -> None:
        """Forgets a run that has ended. Needed only if `tracks_runs`, or a flush is scheduled."""
        if writer.flush_scheduled:
            self._cancel_flush(writer)
        if self._store.poll_seconds is not None and (poller := self._poller.get_existing()) is not None:
            poller.discard(writer)
        if self._store.lease_seconds is not None and (renewer := self._renewer.get_existing()) is not None:
            renewer.discard(writer)

    def after_fork(self) -> None:
        """Forgets the parent process's runs."""
        self._flush_timer.clear()
        self._prompt_appends = self._process_appends()
        self._poller = self._process_poller()
        self._renewer = self._process_renewer()
        self._flushing.clear()
        self._postponed.clear()

    def heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Records that a loop is alive; to be called on it, regularly."""
        if (renewer := self._renewer.get_existing()) is not None:
            renewer.heartbeat(loop)

    def _process_poller(self) -> ProcessLocal[SignalPoller]:
        return ProcessLocal(
            lambda: SignalPoller(self._store, self._store.poll_seconds or 1.0, self._append_promptly),
            SignalPoller.start,
        )

    def _process_appends(self) -> ProcessLocal[PromptAppends]:
        return ProcessLocal(lambda: PromptAppends(self._flush), PromptAppends.start)

    def _process_renewer(self) -> ProcessLocal[LeaseRenewer]:
        return ProcessLocal(lambda: LeaseRenewer(self._store, self._store.lease_seconds or 0.0), LeaseRenewer.start)

    # --- flushing ---

    def schedule_flush(self, writer: RunWriter) -> None:
        """Flushes a run soon: it has frames that the store does not have."""
        if writer.unflushed_bytes >= self.overdue_bytes:
            self._flush([writer])
        elif self._lazy is None and not writer.flush_scheduled:
            writer.flush_scheduled = True
            if writer.followed_until and writer.followed_until > time.monotonic():
                self._append_promptly(writer)
            else:
                self._flush_timer.add(writer, writer.loop)

    def _append_promptly(self, writer: RunWriter) -> None:
        self._prompt_appends.get().add(writer)

    def _cancel_flush(self, writer: RunWriter) -> None:
        self._flush_timer.discard(writer, writer.loop)

    async def flush_now(self, writer: RunWriter) -> bool:
        """Stores what a run has emitted so far. Returns False if it fails, is refused, or the run has ended."""

        def write() -> bool:
            with writer.flush_lock:
                # Also if a flush has stored all meanwhile: it may have been refused, as this is then.
                batch = writer.batch(may_be_empty=True)
                if batch is None:
                    return False
                refused = self._store.append([batch])
                writer.mark_flushed()
                return not refused

        try:
            return await self._async_store.call(write)
        except StoreError as error:
            self._flush_outage.failed(error)
            return False

    async def finish(
        self, writer: RunWriter, pieces: Sequence[Piece], completion: RunCompletion, *, is_uncertain: bool = False
    ) -> FinishResult:
        """Stores the end of a run, ``pieces`` being its last frames; retries for a while if the store fails.

        ``is_uncertain``: whether an earlier call of this may have stored it, or may still do so.
        """
        if writer.flush_scheduled:  # most runs are over before their first flush
            self._cancel_flush(writer)
        if writer.existing_lock is not None and writer.existing_lock.locked():
            await self._wait_for_flush(writer)
        frames = writer.last_frames(pieces, completion.frame_count)
        began_at = time.monotonic()
        while True:
            try:
                if is_uncertain:
                    return await self._finish_again(writer, frames, pieces, completion)
                if (store := self._async_store.direct) is not None:
                    store.finish(writer.lease, frames, completion)
                else:
                    lasted = time.time() - writer.started_at
                    # Of a run of which nothing was shown, all is there at once as soon as it is stored.
                    writer.log.is_starting = not (writer.log.pieces or writer.log.ended)
                    await self._async_store.finish(writer.lease, frames, completion, lasted=lasted)
                return STORED
            except LeaseLost:
                return LEASE_LOST
            except Exception as error:
                may_succeed_later = isinstance(error, StoreError) and not isinstance(error, ThreadUnreadable)
                if not may_succeed_later or time.monotonic() + FINISH_RETRY_INTERVAL > began_at + self._retry_seconds():
                    log_failure(logger, error, "run %r has ended, but its end could not be stored", writer.lease.run_id)
                    return FinishResult.NOT_STORED
                is_uncertain = True
            writer.log.mark_started()
            await driver.sleep(FINISH_RETRY_INTERVAL)

    def _retry_seconds(self) -> float:
        lease_seconds = self._store.lease_seconds
        return (
            FINISH_RETRY_SECONDS if lease_seconds is None or self._async_store.is_interpreter_exiting else lease_seconds
        )

    async def _finish_again(
        self, writer: RunWriter, frames: Sequence[bytes], pieces: Sequence[Piece], completion: RunCompletion
    ) -> FinishResult:
        """Stores the end of a run after a call that has failed, but may have stored it. Raises StoreError."""
        try:
            await self._async_store.finish(writer.lease, frames, completion)
        except LeaseLost:
            is_stored = await self._async_store.call(
                _has_ended_with, self._store, writer, split_pieces(pieces), completion
            )
            return STORED if is_stored else LEASE_LOST
        return STORED

    async def _wait_for_flush(self, writer: RunWriter) -> None:
        """Waits for a flush of the run that has begun. Another one does not begin once the run is closed."""

        def wait() -> None:
            with writer.flush_lock:
                pass

        if self._store.blocking and not self._async_store.is_interpreter_exiting:
            await driver.run_blocking(wait)  # not in the store's queue, which may refuse calls
        else:
            wait()

    def _flush_tick(self, writers: list[RunWriter]) -> None:
        # One flush at a time: calls that wait for a store which does not answer would use up all pool threads.
        loop = asyncio.get_running_loop()
        if loop in self._flushing:
            return
        if len(writers) >= MANY_RUNS and loop not in self._postponed:
            self._postponed.add(loop)
            return
        self._postponed.discard(loop)
        for writer in writers:
            self._flush_timer.discard(writer, writer.loop)
            writer.begin_flush()
        if self._store.blocking:
            self._flushing.add(loop)
            loops.create_task_threadsafe(loop, self._flush_in_thread(writers, loop))
        else:
            self._flush(writers)

    async def _flush_in_thread(self, writers: Sequence[RunWriter], loop: asyncio.AbstractEventLoop) -> None:
        try:
            await self._async_store.call(self._flush, writers)
        except Exception as error:  # it was not called: its turn did not come in time, or no thread can be started
            self._flush_outage.failed(error)
            for writer in writers:
                self._flush_later(writer)
        finally:
            self._flushing.discard(loop)

    def _flush(self, writers: Sequence[RunWriter]) -> None:
        locked: list[RunWriter] = []
        locks: list[threading.Lock] = []
        batches: list[Batch] = []
        is_alone = len(writers) == 1
        try:
            for writer in writers:
                # Where there are several, two threads might wait for each other.
                if not (lock := writer.flush_lock).acquire(blocking=is_alone):
                    self._flush_later(writer)
                    continue
                locks.append(lock)
                if (batch := writer.batch()) is None:
                    locks.pop().release()
                else:
                    locked.append(writer)
                    batches.append(batch)
            refused = self._store.append(batches) if batches else {}
            self._flush_outage.recovered()
            for writer in locked:
                writer.mark_flushed()
                if refused and (reason := refused.get(writer.lease)) is not None:
                    self._handle_refusal(writer, reason)
        except StoreError as error:
            # Not the agents' failure; and perhaps they emit nothing more that would bring these frames along.
            self._flush_outage.failed(error)
            for writer in locked:
                self._flush_later(writer)
        except Exception:
            logger.exception("storing events failed")
        finally:
            for lock in locks:
                lock.release()

    def _flush_later(self, writer: RunWriter) -> None:
        writer.flush_scheduled = True
        self._flush_timer.add(writer, writer.loop)

    def _handle_refusal(self, writer: RunWriter, reason: LeaseLost | RunTooLarge) -> None:
        if isinstance(reason, RunTooLarge):
            writer.stop_threadsafe(TOO_LARGE)
        else:
            writer.mark_lost_threadsafe()


def _has_ended_with(store: RunStore, writer: RunWriter, frames: Sequence[bytes], completion: RunCompletion) -> bool:
    """Returns whether a run has ended in the store with these frames: another process would have stored others."""
    sent = writer.log.frames
    last = list(frames) or sent[-1:]
    update = store.follow(writer.lease.run, len(sent) if frames else max(0, len(sent) - 1))
    return update.ended and list(update.frames) == (last if completion.persist else [])
