"""How the events of a run become frames of its log, and how large these are."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .._events import RunEnding, RunRecorder
from .endings import MEMORY_EXCEEDED, NOT_STORED
from .pump import FLUSH_BYTES, feed_each
from .run_limits import RunSlot
from .run_services import RunServices
from .run_writer import RunWriter
from .types import RunRequest

NO_LOCK: AbstractContextManager[object] = nullcontext()


class RecordedRun(RunWriter):
    """A run as its agent's events come: the second layer of a `Run`, which sets its attributes.

    Attributes:
        request: what is run.
        slot: its place among the runs that may be active.
    """

    __slots__ = ("_counted", "_ending", "_feed", "_flush_bytes", "_lock", "_recorder", "_services", "request", "slot")

    request: RunRequest
    slot: RunSlot

    _services: RunServices[Any]
    _recorder: RunRecorder
    _feed: Callable[[Any], int] | None
    """What feeds the recorder, if not all events of the agent are recorded."""
    _flush_bytes: int
    """How many bytes the store has to lack until a flush is scheduled."""
    _counted: int
    """Which part of its size its slot has counted."""
    _ending: RunEnding | None
    """How it is to end, once its agent has been asked to end: no more of its events are wanted then."""
    _lock: AbstractContextManager[object]
    """Held while an event is fed, or the run is closed.

    Only a synchronous agent's thread and the loop can meet in the recorder, until the run is closed: other runs, of
    which thousands may be idle, have `NO_LOCK`. `begin_thread` makes the lock of a run which gets such a thread.
    """

    async def _record_opening(self) -> bool:
        """Records the events that come before those of the agent. Returns False if they cannot be stored."""
        for event in self.request.opening:
            self._recorder.feed(event)
        self.flush()
        if self.log.run is None or await self._services.persistence.flush_now(self):
            return True
        self._ending = self._ending or NOT_STORED
        return False

    def feed_all(self, events: AsyncIterable[Any]) -> Coroutine[Any, Any, None]:
        """Records all events of an asynchronous agent. Raises InvalidEventError."""
        if self._feed is None:
            return self._recorder.feed_all(events, FLUSH_BYTES)
        return feed_each(self._feed, events)

    @property
    def event_count(self) -> int:
        """How many events there are."""
        return self._recorder.number

    def flush(self) -> None:
        """Makes what was recorded visible to readers, and has it stored soon."""
        if self.is_finished:
            return
        log, recorder = self.log, self._recorder
        frame = recorder.take_delta()
        if frame is not None:
            self.size = size = self.size + len(frame)
            log.add_frame(frame)
        else:
            pieces, grown, has_bursts = recorder.take()
            if not grown:
                return
            self.size = size = self.size + grown
            if recorder.duplicates:
                log.duplicates = recorder.duplicates
            log.extend(pieces, has_bursts=has_bursts)
        if size >= self.due_at:
            self._look_at_size(size)

    def _look_at_size(self, size: int) -> None:
        """Has the run counted and stored as far as that is due, and stopped if there is too much in memory."""
        slot, persistence = self.slot, self._services.persistence
        if size - self._counted >= slot.allowance:
            grown, self._counted = size - self._counted, size
            if not slot.grow(grown):
                self.stop_threadsafe(MEMORY_EXCEEDED)
        if size - self.flushed_size >= self._flush_bytes:
            persistence.schedule_flush(self)
        uncounted_at = self._counted + slot.allowance
        if self.flush_scheduled:
            self.due_at = min(uncounted_at, self.flushed_size + persistence.overdue_bytes)
            if self.flush_scheduled:  # and has not begun meanwhile, on another thread
                return
        self.due_at = min(uncounted_at, self.flushed_size + self._flush_bytes)

    def begin_thread(self) -> None:
        """Has another thread feed events from now on. Called on the run's loop."""
        if self._lock is NO_LOCK:
            self._lock = threading.Lock()

    def feed_threadsafe(self, event: Any) -> bool:
        """Records and flushes an event of a synchronous agent. Returns False if the agent is to stop."""
        with self._lock:
            if self.is_finished:
                return False
            (self._feed or self._recorder.feed)(event)
            # The terminal event is shown once it is stored, like that of an asynchronous agent.
            if not self._recorder.has_ended:
                self.flush()
                self.log.mark_started()
        return self._ending is None
