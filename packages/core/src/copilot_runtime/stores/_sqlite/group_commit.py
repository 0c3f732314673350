"""Writes that share a transaction: a commit costs about as much for many of them as for one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ..._concurrency.outcome import Outcome
from ..protocol import StoreError
from .room import StoreConnection

T = TypeVar("T")

Work = Callable[[StoreConnection], T]
"""A part of a transaction. It may be run twice, and only the second time counts then."""

MAX_GROUP_COMMIT = 64
"""About the most works that share a transaction, so that none of them waits long for its end."""


class PendingWrite(Generic[T]):
    """The work of one caller, which waits for a transaction.

    Args:
        work: The work.
        split: Returns the same work in parts. Each returns a list, as does the whole. Should anything raise, the parts
            are run one by one, and for one that raises the list has the exception.
        size: How many parts there are.
    """

    __slots__ = ("is_done", "outcome", "size", "split", "work")

    def __init__(self, work: Work[T], split: Callable[[], Sequence[Work[T]]] | None = None, size: int = 1) -> None:
        self.work = work
        self.split = split
        self.size = size
        self.outcome: Outcome[T] = Outcome()
        """How the work has ended, or why the transaction has failed."""
        self.is_done = False
        """Whether the transaction has ended. Set last, so that other threads find the rest."""

    def complete(self, outcome: Outcome[T]) -> None:
        """Sets the outcome. To be called after the commit."""
        self.outcome = outcome
        self.is_done = True

    def fail(self, message: str) -> None:
        """Sets the reason for which nothing was written."""
        self.outcome.error = StoreError(message)
        self.is_done = True


class ReportedWrite(PendingWrite[Any]):
    """A work for which nobody waits, of which it is reported that it was committed."""

    __slots__ = ("_committed",)

    def __init__(self, work: Work[Any], committed: Callable[[], object]) -> None:
        super().__init__(work)
        self._committed = committed

    def complete(self, outcome: Outcome[Any]) -> None:
        super().complete(outcome)
        if outcome.error is None:
            self._committed()


class Group:
    """Writes that share a transaction, which their caller begins and commits.

    Args:
        waiting: The writes that are waiting. Those that take part are removed.
    """

    def __init__(self, waiting: deque[PendingWrite[Any]]) -> None:
        self._writes: list[PendingWrite[Any]] = []
        self._outcomes: list[Outcome[Any]] = []
        self._has_failed = False
        size = 0
        with contextlib.suppress(IndexError):
            while size < MAX_GROUP_COMMIT:
                pending = waiting.popleft()
                self._writes.append(pending)
                size += pending.size

    @property
    def has_several_writers(self) -> bool:
        """Whether the works are those of several callers."""
        return len(self._writes) > 1

    def run(self, db: StoreConnection) -> str:
        """Runs the works, and returns the statement that ends the transaction: COMMIT or ROLLBACK.

        Raises sqlite3.Error, which fails the whole transaction.
        """
        for pending in self._writes:
            self._outcomes.append(self._run(pending.work, db))
            if self._outcomes[-1].error is not None:
                break
        else:
            db.totals.write(db)
            return "COMMIT"
        db.remember_nothing()
        if len(self._writes) == self._writes[0].size == 1:
            if self._writes[0].split is not None:
                self._outcomes = [_of_parts(self._outcomes)]
            return "ROLLBACK"
        # Works rarely raise. A savepoint would have SQLite copy each page before it changes.
        db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        self._outcomes = [self._run_alone(pending, db) for pending in self._writes]
        return "COMMIT"

    def complete(self) -> bool:
        """Passes the outcomes to the callers, after the commit. Returns whether the store could not do some work."""
        outcomes, self._outcomes = self._outcomes, []  # whose errors have frames of this group in their tracebacks
        for pending, outcome in zip(self._writes, outcomes, strict=True):
            pending.complete(outcome)
        return self._has_failed

    def fail(self, message: str) -> None:
        """Passes an error to all callers, to each one of its own: whoever raises it adds to its traceback."""
        for pending in self._writes:
            pending.fail(message)

    def _run_alone(self, pending: PendingWrite[Any], db: StoreConnection) -> Outcome[Any]:
        if pending.split is None:
            return self._run_in_savepoint(pending.work, db)
        return _of_parts([self._run_in_savepoint(part, db) for part in pending.split()])

    def _run_in_savepoint(self, work: Work[T], db: StoreConnection) -> Outcome[T]:
        db.execute("SAVEPOINT work")
        outcome = self._run(work, db)
        if outcome.error is None:
            db.totals.write(db)
        else:
            db.execute("ROLLBACK TO work")
            db.remember_nothing()
        db.execute("RELEASE work")
        return outcome

    def _run(self, work: Work[T], db: StoreConnection) -> Outcome[T]:
        try:
            return Outcome(work(db))
        except sqlite3.Error:
            raise
        except Exception as error:
            self._has_failed = self._has_failed or isinstance(error, StoreError)
            return Outcome(None, error)


def _of_parts(outcomes: Sequence[Outcome[Any]]) -> Outcome[Any]:
    """Returns the outcome of a work from those of its parts."""
    results: list[Any] = []
    for outcome in outcomes:
        results += [outcome.error] if outcome.result is None else outcome.result
        outcome.error = None  # whose traceback has a frame with the outcome
    return Outcome(results)


def withdraw(pending: PendingWrite[Any], waiting: deque[PendingWrite[Any]]) -> bool:
    """Removes a write from those that are waiting. Returns False if a transaction has taken it."""
    try:
        waiting.remove(pending)
    except ValueError:
        return False
    return True
