"""Follows runs of other processes: once per process, however many readers there are."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from .._concurrency import loops
from .._concurrency.periodic import PeriodicTask
from .._events import ends_of_open, error_frame, is_terminal
from .._log_text import log_failure
from ..stores.protocol import RunKey, RunStore, RunUpdate, ThreadUnreadable
from .async_store import AsyncStore
from .endings import LOST
from .optional_members import find_watching
from .outage_log import OutageLog
from .run_log import RunLog

logger = logging.getLogger("copilot_runtime.engine")

UNREAD_SECONDS = 5.0
"""How long a run is followed further that has no reader any more: one may come back."""

_UNREADABLE = RunUpdate((), frozenset(), ended=True)
"""What readers of a run learn that can neither be followed nor ended: nothing more comes."""


class _Fetches:
    """The logs of one loop that are to be filled, in the next fetch. One fetch runs at a time."""

    def __init__(self) -> None:
        self.due: set[RunLog] = set()
        self.is_running = False


class RemoteRunFollower:
    """Local logs of remote runs, filled from the store: when it reports a change, and every ``poll_seconds``.

    Args:
        store: the store.
        async_store: the same store, for event loops.
        reap_lost: ends a run whose process has died.
        find_local: returns the log of an active run of this process, which another engine over the same store object
            runs: neither the store nor this engine is told of it by anybody else.
    """

    def __init__(
        self,
        store: RunStore,
        async_store: AsyncStore,
        reap_lost: Callable[[RunKey], Coroutine[Any, Any, None]],
        find_local: Callable[[RunKey], RunLog | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._watching = find_watching(store)
        self._async_store = async_store
        self._reap_lost = reap_lost
        self._find_local = find_local
        self._logs: dict[RunKey, RunLog] = {}
        self._timer: PeriodicTask[RunLog] = PeriodicTask(store.poll_seconds or 0.1, self._poll)
        self._fetches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Fetches] = weakref.WeakKeyDictionary()
        self._loops: dict[RunLog, asyncio.AbstractEventLoop] = {}
        """On which loop each log is filled."""
        self._watches: dict[RunLog, Callable[[], None]] = {}
        """The functions that end the watches."""
        self._read_at: dict[RunLog, float] = {}
        """When each log was last seen to have a reader."""
        self._reaping: set[RunLog] = set()
        self._own: set[RunLog] = set()
        """Logs of runs of this process that another one has taken over: they may have frames that the store has not."""
        self._fetch_outage = OutageLog("following runs of other processes")
        self._reap_outage = OutageLog("reaping orphaned runs")

    def log(self, run: RunKey, run_id: str, agent_id: str) -> RunLog:
        """Returns the log of a remote run, which is filled from the store until the run has ended."""
        log = self._logs.get(run)
        if log is None:
            log = RunLog(run, run_id, agent_id)
        self._read_at[log] = time.monotonic()
        # After that, the loop of a log that it has just dropped for lack of readers finds that there is one.
        loop = self._loops.get(log)
        if self._logs.get(run) is not log or loop is None or loop.is_closed():
            self._follow(run, log, loops.target_loop())
        return log

    def follow_own(self, log: RunLog, loop: asyncio.AbstractEventLoop) -> None:
        """Does the same, after the frames that it has already, for a run of this process that another has taken over.

        The run may have another log here: that of a reader which found it in the store before it was launched.
        """
        if log.run is not None:
            self._own.add(log)
            self._follow(log.run, log, loop)

    def _follow(self, run: RunKey, log: RunLog, loop: asyncio.AbstractEventLoop) -> None:
        if loop not in self._fetches:
            self._take_over_from_closed(loop)
        self._start(run, log, loop)

    def _take_over_from_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has a loop fill the logs of those that are closed: they may have readers on others, or are dropped there."""
        for log, old_loop in list(self._loops.items()):
            if log.run is not None and old_loop.is_closed():
                self._start(log.run, log, loop)

    def _start(self, run: RunKey, log: RunLog, loop: asyncio.AbstractEventLoop) -> None:
        self._unwatch(log)
        self._reaping.discard(log)  # by a loop that is closed
        self._logs.setdefault(run, log)
        self._loops[log] = loop
        log.is_foreign = True
        self._read_at[log] = time.monotonic()
        self._timer.add(log, loop)
        if self._watching is not None and self._find_local(run) is None:
            self._watches[log] = self._watching.watch(run, partial(self._fetch_threadsafe, log, loop))
        self._fetch_threadsafe(log, loop)

    def _unfollow(self, run: RunKey, log: RunLog, loop: asyncio.AbstractEventLoop) -> float | None:
        """Follows a run no further. Returns when it was last seen to have a reader."""
        if self._logs.get(run) is log:
            del self._logs[run]
        self._timer.discard(log, loop)
        self._loops.pop(log, None)
        self._unwatch(log)
        return self._read_at.pop(log, None)

    def _unwatch(self, log: RunLog) -> None:
        stop_watching = self._watches.pop(log, None)
        if stop_watching is not None:
            stop_watching()

    def after_fork(self) -> None:
        """Forgets the parent process's logs."""
        self._logs.clear()
        self._timer.clear()
        self._fetches = weakref.WeakKeyDictionary()
        self._loops.clear()
        self._watches.clear()
        self._read_at.clear()
        self._reaping.clear()
        self._own.clear()

    def _poll(self, logs: list[RunLog]) -> None:
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        for log in logs:
            read_at = self._read_at.setdefault(log, now)
            if log.readers or log in self._own:
                self._read_at[log] = now
            elif (run := log.run) is not None and now - read_at > UNREAD_SECONDS:
                last_read_at = self._unfollow(run, log, loop)
                if last_read_at != read_at:  # a reader has come meanwhile, on another thread
                    self._follow(run, log, loop)
        self._fetch_soon([log for log in logs if log in self._read_at], loop)

    def _fetch_threadsafe(self, log: RunLog, loop: asyncio.AbstractEventLoop) -> None:
        """Fills a log soon, from any thread."""
        if not loops.call_soon_threadsafe(loop, self._fetch_soon, (log,), loop):
            self._unwatch(log)  # the loop is closed, and its readers with it

    def _fetch_soon(self, logs: Iterable[RunLog], loop: asyncio.AbstractEventLoop) -> None:
        fetches = self._fetches.get(loop)
        if fetches is None:
            fetches = self._fetches[loop] = _Fetches()
        fetches.due.update(logs)
        if not fetches.is_running and fetches.due:
            fetches.is_running = True
            loops.create_task_threadsafe(loop, self._fetch_due(fetches, loop))

    async def _fetch_due(self, fetches: _Fetches, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while fetches.due:
                due, fetches.due = fetches.due, set()
                logs = [log for log in due if log in self._read_at and log not in self._reaping]
                if remote := [log for log in logs if not self._copy_local(log, loop)]:
                    await self._fetch(remote, loop)
        finally:
            fetches.is_running = False

    def _copy_local(self, log: RunLog, loop: asyncio.AbstractEventLoop) -> bool:
        """Fills the log of a run that is active in this process. Returns False if it is not one."""
        local = None if log.run is None or log in self._own else self._find_local(log.run)
        if local is None or local is log:
            return False
        fetch = partial(self._fetch_threadsafe, log, loop)
        while not local.ended:
            log.duplicates = local.duplicates
            count = len(local.pieces)
            copied = len(log.pieces)
            if copied and (copied > count or log.pieces[-1] is not local.pieces[copied - 1]):
                # What came from the store is in other pieces.
                log.extend(local.pieces_after(log.frame_count), has_bursts=True)
            elif copied < count:
                log.extend(local.pieces[copied:count], has_bursts=local.has_bursts)
            if local.add_waiter(count, fetch):
                return True
        return False  # its end is in the store

    async def _fetch(self, logs: list[RunLog], loop: asyncio.AbstractEventLoop) -> None:
        """Fills logs, unless the store fails."""

        def follow(log: RunLog) -> RunUpdate | None:
            if log.run is None:
                return None
            try:
                return self._store.follow(log.run, 0 if log in self._own else log.frame_count)
            except ThreadUnreadable as error:
                log_failure(logger, error, "run %r cannot be followed any more", log.run_id)
                return _UNREADABLE  # only this one: the others are read together with it

        def follow_all() -> list[RunUpdate | None]:
            return [follow(log) for log in logs]

        try:
            updates = await self._async_store.call(follow_all)
            for log, update in zip(logs, updates, strict=True):
                if update is not None and log.run is not None:
                    self._apply(log, log.run, update, loop)
                    if update.expired:
                        # In a task of its own: reaping takes a while, and the other logs must not wait for it.
                        self._reaping.add(log)
                        loops.create_task_threadsafe(loop, self._reap(log, log.run))
        except Exception as error:
            # Readers get keep-alives meanwhile, and what they missed once the store works again.
            self._fetch_outage.failed(error)
        else:
            self._fetch_outage.recovered()

    async def _reap(self, log: RunLog, run: RunKey) -> None:
        try:
            await self._reap_lost(run)
        except ThreadUnreadable as error:
            log_failure(logger, error, "run %r cannot be ended", log.run_id)
            self._apply(log, run, _UNREADABLE, asyncio.get_running_loop())
        except Exception as error:
            self._reap_outage.failed(error)
        else:
            self._reap_outage.recovered()
        finally:
            self._reaping.discard(log)
        # Nobody reports to this process what it has done itself.
        self._fetch_soon((log,), asyncio.get_running_loop())

    def _apply(self, log: RunLog, run: RunKey, update: RunUpdate, loop: asyncio.AbstractEventLoop) -> None:
        log.duplicates = set(update.duplicates)
        frames = self._after_own_frames(log, update) if log in self._own else update.frames
        log.extend(frames)
        if update.ended:
            self._own.discard(log)
            sent = log.frames
            if not (sent and is_terminal(sent[-1])):
                # The run was deleted, or its rest was lost: a stream that just ends would look like success.
                log.extend(_with_ends(sent, error_frame(LOST)))
            self._unfollow(run, log, loop)
            log.end()

    def _after_own_frames(self, log: RunLog, update: RunUpdate) -> Sequence[bytes]:
        """Returns what the store has after the frames that this process has sent."""
        frames = log.frames
        sent = len(frames)
        if not sent or (len(update.frames) >= sent and update.frames[sent - 1] == frames[-1]):
            self._own.discard(log)  # nothing was lost, so from now on it is followed like any other
            return update.frames[sent:]
        # Some of these frames were never stored, and what the store has in their place contradicts them.
        return _with_ends(frames, update.frames[-1]) if update.ended and update.frames else ()


def _with_ends(sent: Sequence[bytes], terminal: bytes) -> Sequence[bytes]:
    """Returns the end of a run after ``sent``: clients accept RUN_FINISHED only where nothing is open."""
    return [*ends_of_open(sent, terminal), terminal]
