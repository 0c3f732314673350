"""Following a run that goes on in another process: one poller a process, whatever the readers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .. import bridge
from ..events import LOST, error_frame, is_terminal
from ..stores.protocol import LiveView, RunKey, RunStore
from .log import RunLog
from .rounds import Rounds


class Tails:
    """Local logs of remote runs, fed from the store."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._tails: dict[RunKey, RunLog] = {}
        self._rounds: Rounds[RunLog] = Rounds(store.poll_seconds or 0.1, self._visit)

    def log(self, run: RunKey, run_id: str, agent_id: str) -> RunLog:
        """The log of a remote run."""
        return self.follow(self._tails.get(run) or RunLog(run, run_id, agent_id), bridge.home())

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
        self._rounds.forget()

    def _visit(self, logs: Sequence[RunLog]) -> None:
        loop = asyncio.get_running_loop()
        for log in logs:
            if self._store.blocking:
                bridge.spawn(loop, self._fetch(log, loop))
            else:
                self._take(log, self._look(log), loop)

    async def _fetch(self, log: RunLog, loop: asyncio.AbstractEventLoop) -> None:
        self._take(log, await bridge.blocking(self._look, log), loop)

    def _look(self, log: RunLog) -> tuple[int, LiveView]:
        assert log.run is not None
        after = len(log.frames)
        return after, self._store.follow(log.run, after)

    def _take(self, log: RunLog, news: tuple[int, LiveView], loop: asyncio.AbstractEventLoop) -> None:
        after, view = news
        if log.ended:
            self._rounds.discard(log, loop)
            return
        if after != len(log.frames):  # an earlier look has come back later than this one
            return
        log.repeats = set(view.repeats)
        log.extend(view.frames or (log.epitaph if view.ended else ()))
        if view.ended:
            if log.run is not None and not (log.frames and is_terminal(log.frames[-1])):
                # It was deleted, or what was left of it is gone: a stream that just ends would look like success.
                log.extend([error_frame(LOST, log.run.ordinal, len(log.frames) + 1)])
            if log.run is not None:
                self._tails.pop(log.run, None)
            self._rounds.discard(log, loop)
            log.end()
