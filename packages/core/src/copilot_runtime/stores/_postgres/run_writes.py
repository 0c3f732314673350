"""Beginnings and ends of runs: those of several runs are written in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..._concurrency.process_local import ProcessLocal
from .. import protocol as p
from . import reading
from .calls import Calls
from .encoding import thread_digest
from .limits import Limits
from .process_state import ProcessState
from .retention import Retention
from .writes import BEGIN_TYPES, FINISH_TYPES, Begin, End, Written, begin_values, call, finish_values

if TYPE_CHECKING:
    from .connections import BoundedConnection


class RunWrites:
    """Writes beginnings and ends of runs.

    Args:
        calls: Calls the functions of the schema.
        states: What each process has of the store.
        limits: The limits of the store.
        retention: Makes room for what is written.
        lease_seconds: How long the leases of runs are.
    """

    def __init__(
        self,
        calls: Calls,
        states: ProcessLocal[ProcessState],
        limits: Limits,
        retention: Retention,
        lease_seconds: float,
    ) -> None:
        self._calls = calls
        self._states = states
        self._limits = limits
        self._retention = retention
        self._lease_seconds = lease_seconds
        self._begin = call(calls.schema, "begin_runs", BEGIN_TYPES)
        self._finish = call(calls.schema, "finish_runs", FINISH_TYPES)

    def write(self, changes: Sequence[p.NewRun | p.RunEnd]) -> Sequence[p.RunStarted | p.ThreadBusy | Exception | None]:
        """Writes beginnings and ends of runs, as `GroupingStore.write_runs` does."""
        state = self._states.get()
        outcomes: list[p.RunStarted | p.ThreadBusy | Exception | None] = [None] * len(changes)
        prepared: list[tuple[int, Begin | End]] = []
        for index, change in enumerate(changes):
            try:
                prepared.append((index, self._prepare(state, change)))
            except Exception as error:  # of this run alone
                outcomes[index] = _as_store_error(error)
        for part in _ordered_parts(prepared):
            try:
                self._write(state, part, outcomes)
            except p.ThreadUnreadable as error:
                # Nothing was done. The others are not concerned.
                for item in part:
                    try:
                        if len(part) == 1:
                            raise error
                        self._write(state, [item], outcomes)
                    except p.StoreError as own:
                        outcomes[item[0]] = own
            except p.StoreError as error:
                for index, _ in part:
                    # One of its own: whoever raises it adds to its traceback.
                    outcomes[index] = p.StoreError(str(error))
        return outcomes

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        """Ends a run, as `RunStore.finish` does."""
        [outcome] = self.write((p.RunEnd(lease, frames, completion),))
        if isinstance(outcome, Exception):
            raise outcome

    def _prepare(self, state: ProcessState, change: p.NewRun | p.RunEnd) -> Begin | End:
        if isinstance(change, p.NewRun):
            return Begin.from_run(change, state.last_known(thread_digest(change.thread)))
        return End.from_run(change)

    def _write(self, state: ProcessState, part: Sequence[tuple[int, Begin | End]], outcomes: list[Any]) -> None:
        """Writes beginnings and ends of runs in one transaction: first the ends."""
        ends = [(index, item) for index, item in part if isinstance(item, End)]
        begins = [(index, item) for index, item in part if isinstance(item, Begin)]
        queries: list[str] = []
        values: list[Any] = []
        if ends:
            lock = [begin.key for _, begin in begins]
            bodies = [end.bodies(*state.known_messages(end.run.lease)) for _, end in ends]
            queries.append(self._finish)
            values += [
                None,
                *finish_values([end for _, end in ends], lock, self._limits.max_runs_per_thread, bodies),
            ]
        if begins:
            queries.append(self._begin)
            values += [None, *begin_values(state.id, self._lease_seconds, [begin for _, begin in begins])]
        sql = " UNION ALL ".join(queries)  # of which the first is executed first
        at = [index for index, value in enumerate(values) if value is None]

        def work(db: BoundedConnection) -> list[Written]:
            for index in at:
                values[index] = db.not_after()
            return [Written._make(row) for row in db.execute(sql, values, binary=True).fetchall()]

        try:
            rows = self._calls.run(work)
        except p.StoreError as error:
            if _is_unknown(error):
                state.uncertain.update(end.run.lease.token for _, end in ends)
            raise
        by_item = {(row.item, row.outcome in ("begun", "busy")): row for row in rows}
        ended: list[End] = []
        new_threads = 0
        for number, (index, end) in enumerate(ends, 1):
            row = by_item[number, False]
            outcomes[index] = self._outcome_of_end(state, end, row)
            if row.outcome == "ended":
                ended.append(end)
                new_threads += row.runs == 1
        for number, (index, begin) in enumerate(begins, 1):
            row = by_item[number, True]
            if row.outcome == "busy":
                live = (row.ordinal, row.run_id, row.agent_id, row.stopping, row.expired, row.begin_id)
                outcomes[index] = p.ThreadBusy(reading.active_run(begin.run.thread, live))
            else:
                outcomes[index] = self._started(state, begin, row)
        self._retention.make_room(state, ended, new_threads, len(begins))
        self._retention.sweep_if_due(state)

    def _started(self, state: ProcessState, begin: Begin, row: Written) -> p.RunStarted | p.StoreError:
        """Returns a run that has begun. If the thread is damaged, it is ended again, and an error is returned."""
        try:
            return reading.detect_damage(lambda: state.started(begin, row, self.read_message_ids))
        except p.StoreError as error:
            lease = p.Lease(p.RunKey(begin.run.thread, row.ordinal), begin.run.run_id, row.token)
            with suppress(p.StoreError, p.LeaseLost):
                self.finish(lease, (), p.RunCompletion(persist=False))
            return error

    def _outcome_of_end(self, state: ProcessState, end: End, row: Written) -> Exception | None:
        """Returns what `finish` raises, or None; writes the end once more where something was missing."""
        run = end.run
        try:
            if row.outcome == "frames":
                frames = p.missing_frames(run.frames, run.completion.frame_count, row.after)
                self.finish(run.lease, frames, run.completion)
            elif row.outcome == "incomplete":
                state.held.pop(run.lease.run, None)  # so that all messages are sent
                self.finish(run.lease, run.frames, run.completion)
            elif row.outcome == "lost" and not self._has_ended(state, run):
                state.forget(run.lease)
                return p.LeaseLost()
        except (p.StoreError, p.LeaseLost) as error:
            return error
        state.forget(run.lease)
        return None

    def _has_ended(self, state: ProcessState, run: p.RunEnd) -> bool:
        """Returns whether an earlier call has ended a run, although it has failed."""
        if run.lease.token not in state.uncertain:
            return False
        rows = self._calls.fetch(
            "SELECT 1 FROM {s}.threads AS t JOIN {s}.runs AS o ON o.thread = t.id"
            " WHERE t.key = %b AND o.ordinal = %b AND o.token = %b",
            (thread_digest(run.lease.run.thread), run.lease.run.ordinal, run.lease.token),
        )
        return bool(rows) or not run.completion.persist

    def read_message_ids(self, thread: int) -> list[tuple[int, list[str], list[str]]]:
        """Returns the ids of the messages of a thread's runs, each with those of its events and of its input."""
        rows = self._calls.fetch(
            "SELECT ordinal, event_messages, input_messages FROM {s}.runs WHERE thread = %b ORDER BY ordinal",
            (thread,),
        )
        return reading.message_ids(rows)


def _is_unknown(error: p.StoreError) -> bool:
    from .connections import OutcomeUnknown

    return isinstance(error, OutcomeUnknown)


def _as_store_error(error: Exception) -> Exception:
    if isinstance(error, (p.StoreError, p.LeaseLost)) or not isinstance(error, reading.DAMAGE):
        return error
    return p.ThreadUnreadable(f"cannot be stored: {type(error).__name__}: {error}")


def _ordered_parts(items: Sequence[tuple[int, Begin | End]]) -> list[list[tuple[int, Begin | End]]]:
    """Returns the items in parts, of which each can be written with the ends of runs first."""
    parts: list[list[tuple[int, Begin | End]]] = []
    begun: set[bytes] = set()
    for index, item in items:
        if not parts or (isinstance(item, End) and item.key in begun):
            parts.append([])
            begun = set()
        parts[-1].append((index, item))
        if isinstance(item, Begin):
            begun.add(item.key)
    return parts
