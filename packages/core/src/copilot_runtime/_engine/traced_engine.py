"""An engine whose runs are traced and measured."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING

from .._events import split_pieces
from .._telemetry.current import run_scope, scoped
from .._users import owner_hash
from ..stores.protocol import RunStore
from .async_store import AsyncStore
from .engine import Engine
from .run import Run
from .run_log import RunLog
from .run_report import RunReport
from .thread_names import NameSource
from .traced_store import TracedAsyncStore
from .types import EndedRun, EngineOptions, RunEndHook

if TYPE_CHECKING:
    from .._telemetry.spans import TracedOperation
    from .._telemetry.telemetry import Telemetry

logger = logging.getLogger("copilot_runtime.engine")

_run_span: ContextVar[_TracedRun | None] = ContextVar("copilot_run_span", default=None)
"""That of a run, in the run's own context."""


class TracedEngine(Engine):
    """An engine that reports its runs and its calls of the store.

    A class of its own, so that an engine without telemetry has nothing of it on any path.

    Args:
        store: as for `Engine`, like the others.
        options: how runs are run.
        on_run_end: called at the ends of runs.
        thread_names: how new threads get names.
        telemetry: where they are reported.
    """

    def __init__(
        self,
        store: RunStore,
        options: EngineOptions,
        on_run_end: RunEndHook | None = None,
        thread_names: NameSource | None = None,
        *,
        telemetry: Telemetry,
    ) -> None:
        self._telemetry = telemetry
        super().__init__(store, options, on_run_end, thread_names)
        telemetry.observe(self)

    def with_store(self, store: RunStore) -> Engine:
        return TracedEngine(store, self.options, self.on_run_end, self.thread_names, telemetry=self._telemetry)

    def count_live_runs(self) -> int:
        """Returns how many runs are active."""
        return self.status().live_runs

    def count_open_streams(self) -> int:
        """Returns how many streams are open."""
        return self.status().open_streams

    def _make_async_store(self, store: RunStore) -> AsyncStore:
        return TracedAsyncStore(store, self._telemetry)

    def _launch(self, run: Run) -> None:
        request = run.request
        operation = self._telemetry.begin_run(
            agent_id=request.agent_id,
            thread_id=request.thread_id,
            run_id=request.run_id,
            owner_hash=owner_hash(request.owner),
            is_suggestion=run.log.run is None,
        )
        traced = _TracedRun(operation, self._telemetry)
        try:
            with scoped(_run_span, traced), run_scope(self._telemetry, operation):
                run.take_context()
                super()._launch(run)
        except BaseException as error:
            operation.end(type(error).__name__)
            raise
        traced.watch(run.log)

    def _run_ended(self, run: Run) -> None:
        self._report(run)
        super()._run_ended(run)

    def _run_lost(self, run: Run) -> None:
        self._report(run, is_lost=True)
        super()._run_lost(run)

    async def _run_reaped(self, ended: EndedRun, owner: str) -> None:
        self._telemetry.end_run(None, RunReport.of_reaped(ended, owner))
        await super()._run_reaped(ended, owner)

    def _report(self, run: Run, *, is_lost: bool = False) -> None:
        # Whatever happens here, the run has to end for its readers.
        try:
            traced = run.context_value(_run_span)
            if traced is not None:
                traced.look(run.log)
            report = RunReport.of_run(run, is_lost=is_lost)
            self._telemetry.end_run(None if traced is None else traced.operation, report)
            if report.outcome == "lost":
                self._telemetry.count_lost_lease(report.agent_id)
        except Exception:
            logger.exception("run %r cannot be reported", run.request.run_id)


class _TracedRun:
    """The span of a run, which waits for its first event after RUN_STARTED."""

    def __init__(self, operation: TracedOperation, telemetry: Telemetry) -> None:
        self.operation = operation
        self._telemetry = telemetry
        self._has_event = False

    def watch(self, log: RunLog) -> None:
        """Looks at each change of the run until it has that event."""
        while not self.look(log) and not log.add_waiter(len(log.pieces), lambda: self.watch(log)):
            if log.ended:
                return

    def look(self, log: RunLog) -> bool:
        """Records that event if it is there, and returns whether it is."""
        frames = split_pieces(log.pieces[:2])
        if not self._has_event and (len(frames) > 1 or (frames and b'"RUN_STARTED"' not in frames[0][:100])):
            self._has_event = True
            self._telemetry.note_first_event(self.operation)
        return self._has_event
