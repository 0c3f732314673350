"""The debug feed: every event of this process's runs, as they happen."""

from __future__ import annotations

import time
from typing import NamedTuple

from pydantic_core import to_json

from .._events import CONNECTED, decode
from .readers import BaseReader, ReaderCallbacks
from .run_log import Notify, RunLog
from .types import RunRequest


class _Position(NamedTuple):
    given: RunRequest
    seen: int


class DebugFeed:
    """Who listens, and to what. Listeners read the runs' own logs; nothing is copied for them."""

    def __init__(self) -> None:
        self._listeners: set[_DebugReader] = set()

    def add(self, log: RunLog, given: RunRequest) -> None:
        """A run has begun."""
        for listener in list(self._listeners):
            if listener.owner == given.owner:
                listener.add(log, given)

    def subscribe(self, owner: str, life: ReaderCallbacks) -> _DebugReader:
        """A source of an owner's events from now on; runs that go on already are not shown."""
        listener = _DebugReader(self, owner, life)
        self._listeners.add(listener)
        return listener

    def unsubscribe(self, listener: _DebugReader) -> None:
        """A listener has left."""
        self._listeners.discard(listener)

    def after_fork(self) -> None:
        """This is a child process."""
        self._listeners.clear()


class _DebugReader(BaseReader):
    __slots__ = ("_feed", "_greeted", "_places", "owner")

    def __init__(self, feed: DebugFeed, owner: str, life: ReaderCallbacks) -> None:
        self.owner = owner
        self._feed = feed
        self._places: dict[RunLog, _Position] = {}
        self._greeted = False
        super().__init__(life)

    def add(self, log: RunLog, given: RunRequest) -> None:
        self._places[log] = _Position(given, 0)
        if self._wake is not None:
            self._wake()

    def read_available(self) -> bytes | None:
        if self._life is None:
            return None
        pieces: list[bytes] = []
        if not self._greeted:
            self._greeted = True
            pieces.append(CONNECTED)
        for log, (given, seen) in list(self._places.items()):
            ended = log.ended  # before the frames: what was added earlier is then seen
            frames = log.frames[seen:]
            pieces += [_frame(given, framed) for framed in frames]
            self._places[log] = _Position(given, seen + len(frames))
            if ended:
                del self._places[log]
        if not pieces:
            return self._keep_alive()
        self._sent()
        return b"".join(pieces)

    def add_waiter(self, wake: Notify) -> bool:
        self._wake = wake
        places = list(self._places.items())
        # A run that begins after this look wakes through `add`.
        return self._greeted and not self._due and all(log.add_waiter(place.seen, wake) for log, place in places)

    def close(self) -> None:
        self._places = {}
        self._feed.unsubscribe(self)
        super().close()


def _frame(given: RunRequest, framed: bytes) -> bytes:
    shown = {
        "timestamp": int(time.time() * 1000),
        "agentId": given.agent_id,
        "threadId": given.thread_id,
        "runId": given.run_id,
        "event": decode(framed),
    }
    return b"data: %b\n\n" % to_json(shown)
