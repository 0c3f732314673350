"""Following a run that goes on in another process: one poller a process, whatever the readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .._concurrency import driver, loops
from .._events import LOST, error_frame, is_terminal
from ..stores.protocol import RunKey, RunStore, RunUpdate
from .outage_log import OutageLog
from .periodic import PeriodicTask
from .run_log import RunLog


class RemoteRunFollower:
    """Local logs of remote runs, fed from the store. ``find_lost`` ends a run whose owner is gone."""

    def __init__(self, store: RunStore, find_lost: Callable[[RunKey], Coroutine[Any, Any, None]]) -> None:
        self._store = store
        self._reap_lost = find_lost
        self._tails: dict[RunKey, RunLog] = {}
        self._rounds: PeriodicTask[RunLog] = PeriodicTask(store.poll_seconds or 0.1, self._poll)
        self._busy: set[RunLog] = set()
        self._unread = OutageLog("the store does not say how remote runs go on")
        self._unended = OutageLog("runs whose processes are gone cannot be ended")

    def log(self, run: RunKey, run_id: str, agent_id: str) -> RunLog:
        """The log of a remote run."""
        return self.follow(self._tails.get(run) or RunLog(run, run_id, agent_id), loops.target_loop())

    def follow(self, log: RunLog, loop: asyncio.AbstractEventLoop) -> RunLog:
        """Feeds a log from the store until the run has ended, from what it has on."""
        if log.run is None:
            return log
        known = self._tails.setdefault(log.run, log)
        if known is log:
            self._rounds.add(log, loop)
        return known

    def after_fork(self) -> None:
        """This is a child process."""
        self._tails.clear()
        self._rounds.clear()
        self._busy.clear()

    def _poll(self, logs: list[RunLog]) -> None:
        loop = asyncio.get_running_loop()
        ready = [log for log in logs if log not in self._busy]
        self._busy.update(ready)
        if ready:
            loops.create_task_threadsafe(loop, self._fetch(ready, loop))

    async def _fetch(self, logs: list[RunLog], loop: asyncio.AbstractEventLoop) -> None:
        def look() -> list[RunUpdate | None]:
            return [None if log.run is None else self._store.follow(log.run, len(log.frames)) for log in logs]

        going_on = set(logs)
        try:
            views = await driver.run_blocking(look) if self._store.blocking else look()
            for log, view in zip(logs, views, strict=True):
                if view is not None and log.run is not None:
                    self._apply(log, log.run, view, loop)
                    if view.expired:
                        # By itself: to end it takes a while, and the others are not to wait for that.
                        going_on.discard(log)
                        loops.create_task_threadsafe(loop, self._end(log, log.run))
        except Exception as error:
            # Readers get keep-alives meanwhile, and what they missed once the store is back.
            self._unread.failed(error)
        else:
            self._unread.recovered()
        finally:
            self._busy -= going_on

    async def _end(self, log: RunLog, run: RunKey) -> None:
        try:
            await self._reap_lost(run)
        except Exception as error:
            self._unended.failed(error)
        else:
            self._unended.recovered()
        finally:
            self._busy.discard(log)

    def _apply(self, log: RunLog, run: RunKey, view: RunUpdate, loop: asyncio.AbstractEventLoop) -> None:
        log.duplicates = set(view.duplicates)
        log.extend(view.frames or (log.fallback_ending if view.ended else ()))
        if view.ended:
            if not (log.frames and is_terminal(log.frames[-1])):
                # It was deleted, or what was left of it is gone: a stream that just ends would look like success.
                log.extend([error_frame(LOST, run.ordinal, len(log.frames) + 1)])
            self._tails.pop(run, None)
            self._rounds.discard(log, loop)
            log.end()
