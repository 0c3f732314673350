"""The end of a run: completed, stored, reported, and shown to its readers, in this order."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from .._concurrency import loops
from .._events import Piece, RecordedEnd, RunEnding, error_frame, is_terminal, last_frame
from ..stores.protocol import RunCompletion
from .endings import AGENT_FAILED, NOT_STORED
from .persistence import LEASE_LOST, STORED, FinishResult
from .pump import FLUSH_BYTES
from .run_recording import RecordedRun
from .types import EndedRun, Outcome

logger = logging.getLogger("copilot_runtime.engine")

RETURNED = RunEnding()
"""Of an agent that has returned, without a terminal event if that is needed."""


class EndingRun(RecordedRun):
    """A run as it ends, exactly once: the third layer of a `Run`, which sets its attributes, and decides how it ends.

    Attributes:
        was_stopped: whether it ended on request, and not by its agent.
    """

    __slots__ = ("_context", "_failure", "_timers", "was_stopped")

    was_stopped: bool

    _context: contextvars.Context
    """A copy of that of the request, for what the run starts beside its agent."""
    _failure: str
    """What went wrong in the agent, for `on_run_end`."""
    _timers: tuple[asyncio.TimerHandle, ...]
    """Those that its end cancels."""

    async def _end(self, ending: RunEnding) -> None:
        """Completes, stores and shows the run, unless it has ended."""
        with self._lock:
            if self.is_finished:
                return
            self.is_finished = True
        recorder, request, log, services = self._recorder, self.request, self.log, self._services
        request.context._control.stop()
        if self._timers:
            self._cancel_timers()
        shown: Sequence[Piece] | None = ()  # None if another process shows how it ends, or `_end_again` does
        try:
            # A run that is over before it was flushed is joined once, for the store and for its readers.
            end = recorder.end(ending, request.input.thread_id, log.run_id, 0 if log.pieces else FLUSH_BYTES)
            # An event of the agent is its last one, or RUN_ERROR, which is not counted as one but ends the run.
            was_empty = not (end.last_agent_event or end.had_ended)
            if ending is RETURNED and not end.had_ended:
                services.hints.ended_without_terminal_event(request.agent_id, has_events=not was_empty)
            if end.has_bursts:
                log.has_bursts = True
            self.size += end.size
            completion, result = None, STORED
            if log.run is not None:
                completion = RunCompletion.from_recorder(
                    recorder,
                    request.messages,
                    end.last_agent_event,
                    persist=not (was_empty and ending.failed),
                    frame_count=end.frame_count,
                )
                try:
                    result = await services.persistence.finish(self, end.pieces, completion)
                except (GeneratorExit, asyncio.CancelledError):
                    # Its loop was or is being closed, and the store can tell it nothing any more.
                    shown = None
                    self._end_elsewhere(self._end_again(ending, end, completion))
                    raise
            shown = self._end_to_show(result, end.pieces)
            if result is STORED:
                self._note_stored(ending, end, completion)
        except Exception:
            # Nothing may leave readers waiting or the thread busy.
            logger.exception("ending run %r failed", request.run_id)
            if log.run is not None:
                await services.persistence.finish(self, (), RunCompletion(persist=False))
            last = last_frame(shown or log.pieces)
            if not (last and is_terminal(last)):
                shown = [error_frame(RunEnding(AGENT_FAILED))]
        finally:
            # Before readers see the end, since a client may begin its next run as soon as it does.
            self.slot.release()
            if shown is not None:
                log.pieces += shown  # which readers see with the end, so that the last chunk says that it is the last
                services.ended(self)

    def _note_stored(self, ending: RunEnding, end: RecordedEnd, completion: RunCompletion | None) -> None:
        """Notes how the run has ended, and has it reported, now that its end is stored where it has to be."""
        self.was_stopped = ending.stopped and not end.had_ended
        self.log.duplicates = self._recorder.duplicates
        if completion is not None and (report := self._services.reporter(self)) is not None:
            outcome = _outcome(has_failed=end.has_failed, was_stopped=self.was_stopped)
            loops.run_in_context(self._context, report, self, self._describe_end(completion, outcome))

    def _end_to_show(self, result: FinishResult, pieces: Sequence[Piece]) -> Sequence[Piece] | None:
        """Returns the end that readers are shown, ``pieces`` if it is stored; None if another process shows one."""
        if result is STORED:
            return pieces
        if result is LEASE_LOST:
            # Not with these frames, which may mean success: readers get what the store has, or that it was lost.
            self._services.lost(self)
            return None
        # The lease is left to expire: then another process reaps the run, and calls on_run_end.
        return [error_frame(NOT_STORED)]

    def _end_elsewhere(self, again: Coroutine[Any, Any, None]) -> None:
        """Has the background loop end a run: its own may be about to be closed."""
        try:
            self._context.run(loops.create_task_threadsafe, loops.background_loop(), again)
        except RuntimeError:  # no thread can be started
            again.close()
            self._services.lost(self)

    async def _end_again(self, ending: RunEnding, end: RecordedEnd, completion: RunCompletion) -> None:
        """Stores and shows the end of a completed run, of which it is unknown whether the store has it already."""
        shown: Sequence[Piece] | None = [error_frame(RunEnding(AGENT_FAILED))]
        try:
            result = await self._services.persistence.finish(self, end.pieces, completion, is_uncertain=True)
            shown = self._end_to_show(result, end.pieces)
            if result is STORED:
                self._note_stored(ending, end, completion)
        except Exception:
            logger.exception("ending run %r failed", self.request.run_id)
        finally:
            if shown is not None:
                self.log.pieces += shown
                self._services.ended(self)

    def _describe_end(self, completion: RunCompletion, outcome: Outcome) -> EndedRun:
        request = self.request
        return EndedRun.from_completion(
            completion,
            thread_id=request.thread_id,
            run_id=request.run_id,
            agent_id=request.agent_id,
            user=request.context.user,
            outcome=outcome,
            failure=self._failure,
            started_at=self.started_at,
        )

    def _call_later(self, seconds: float, function: Callable[..., object], *args: object) -> None:
        self._timers += (self.loop.call_later(seconds, function, *args),)
        if self.is_finished:  # meanwhile, on the thread of a synchronous agent, which has seen no timer to cancel
            self._drop_timers()

    def _cancel_timers(self) -> None:
        # Only on their loop, unless that is closed.
        if not (loops.in_sync_driver() and loops.call_soon_threadsafe(self.loop, self._drop_timers)):
            self._drop_timers()

    def _drop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()


def _outcome(*, has_failed: bool, was_stopped: bool) -> Outcome:
    if was_stopped:
        return "stopped"
    return "failed" if has_failed else "finished"
