"""The debug feed: every event of this process's runs, as they happen."""

from __future__ import annotations

import time
from typing import NamedTuple

from pydantic_core import to_json

from .._concurrency.waiters import Notify
from .._events import decode, split_pieces
from .._http.streaming import CONNECTED
from .base_reader import BaseReader, ReaderCallbacks
from .run_log import RunLog
from .run_reader import next_chunk
from .types import RunRequest


class _Position(NamedTuple):
    request: RunRequest
    seen: int
    """How many pieces of its log."""


class DebugFeed:
    """The readers of debug streams. They read the runs' own logs; nothing is copied for them."""

    def __init__(self) -> None:
        self._readers: set[_DebugReader] = set()

    def add(self, log: RunLog, request: RunRequest) -> None:
        """Shows a run that has begun to the readers of its owner."""
        for reader in list(self._readers):
            if reader.owner == request.owner:
                reader.add(log, request)

    def subscribe(self, owner: str, callbacks: ReaderCallbacks) -> _DebugReader:
        """Returns a source of an owner's events from now on; runs that are active already are not shown."""
        reader = _DebugReader(self, owner, callbacks)
        self._readers.add(reader)
        return reader

    def unsubscribe(self, reader: _DebugReader) -> None:
        """Removes a reader."""
        self._readers.discard(reader)

    def after_fork(self) -> None:
        """Forgets the parent process's readers."""
        self._readers.clear()


class _DebugReader(BaseReader):
    __slots__ = ("_feed", "_greeted", "_positions", "owner")

    def __init__(self, feed: DebugFeed, owner: str, callbacks: ReaderCallbacks) -> None:
        self.owner = owner
        self._feed = feed
        self._positions: dict[RunLog, _Position] = {}
        self._greeted = False
        super().__init__(callbacks)

    def add(self, log: RunLog, request: RunRequest) -> None:
        self._positions[log] = _Position(request, 0)
        if self._notify is not None:
            self._notify()

    def _read(self) -> bytes | None:
        if self._callbacks is None:
            return None
        chunks: list[bytes] = []
        if not self._greeted:
            self._greeted = True
            chunks.append(CONNECTED)
        for log, (request, seen) in list(self._positions.items()):
            ended = log.ended  # before the frames: what was added earlier is then seen
            pieces = next_chunk(log.pieces, seen)
            chunks += [_debug_frame(request, frame) for frame in split_pieces(pieces)]
            self._positions[log] = _Position(request, seen + len(pieces))
            if ended and seen + len(pieces) == len(log.pieces):
                del self._positions[log]
        if not chunks:
            return None if self._is_cut else self._keep_alive()
        return b"".join(chunks)

    def _wait(self, notify: Notify, *, is_lasting: bool) -> bool:
        positions = list(self._positions.items())
        # A run that begins after this look notifies through `add`.
        return self._greeted and all(log.add_waiter(position.seen, notify) for log, position in positions)

    def evict(self) -> None:
        """Does nothing: it reads the logs of runs, which count as those of their own readers."""

    def close(self) -> None:
        if self._notify is not None:
            for log in list(self._positions):
                log.discard(self._notify)
        self._positions = {}
        self._feed.unsubscribe(self)
        super().close()


def _debug_frame(request: RunRequest, frame: bytes) -> bytes:
    entry = {
        "timestamp": int(time.time() * 1000),
        "agentId": request.agent_id,
        "threadId": request.thread_id,
        "runId": request.run_id,
        "event": decode(frame),
    }
    return b"data: %b\n\n" % to_json(entry)
