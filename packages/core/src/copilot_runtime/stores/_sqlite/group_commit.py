"""Writes that share a transaction: a commit costs about as much for many of them as for one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
    """The works of one caller, which wait for a transaction.

    Args:
        works: To be run in this order, in the same transaction.
    """

    __slots__ = ("is_done", "outcome", "works")

    def __init__(self, works: Sequence[Work[T]]) -> None:
        self.works = works
        self.outcome: Outcome[Sequence[Outcome[T]]] = Outcome()
        """How each work has ended, or why the transaction has failed."""
        self.is_done = False
        """Whether the transaction has ended. Set last, so that other threads find the rest."""

    def complete(self, outcomes: Sequence[Outcome[T]]) -> None:
        """Sets the outcomes. To be called after the commit."""
        self.outcome.result = outcomes
        self.is_done = True

    def fail(self, message: str) -> None:
        """Sets the reason for which nothing was written."""
        self.outcome.error = StoreError(message)
        self.is_done = True


class Group:
    """Writes that share a transaction, which their caller begins and commits.

    Args:
        waiting: The writes that are waiting. Those that take part are removed.
    """

    def __init__(self, waiting: deque[PendingWrite[Any]]) -> None:
        self._writes: list[PendingWrite[Any]] = []
        self._works: list[Work[Any]] = []
        self._outcomes: list[Outcome[Any]] = []
        with contextlib.suppress(IndexError):
            while len(self._works) < MAX_GROUP_COMMIT:
                pending = waiting.popleft()
                self._writes.append(pending)
                self._works += pending.works

    @property
    def has_several_writers(self) -> bool:
        """Whether the works are those of several callers."""
        return len(self._writes) > 1

    def run(self, db: StoreConnection) -> str:
        """Runs the works, and returns the statement that ends the transaction: COMMIT or ROLLBACK.

        Raises sqlite3.Error, which fails the whole transaction.
        """
        if len(self._works) == 1:
            self._outcomes = [_run(self._works[0], db)]
            # The only work of a transaction needs no savepoint: all of it is rolled back.
            if self._outcomes[0].error is None:
                db.totals.write(db)
                return "COMMIT"
            db.remember_nothing()
            return "ROLLBACK"
        # Works rarely raise. One savepoint for all of them costs much less than one for each.
        with _savepoint(db):
            for work in self._works:
                outcome = _run(work, db)
                self._outcomes.append(outcome)
                if outcome.error is not None:
                    break
            else:
                db.totals.write(db)
                return "COMMIT"
            _roll_back(db)
            self._outcomes = [_run_in_savepoint(work, db) for work in self._works]
        return "COMMIT"

    def complete(self) -> bool:
        """Passes the outcomes to the callers, after the commit. Returns whether the store could not do some work."""
        has_failed = any(isinstance(outcome.error, StoreError) for outcome in self._outcomes)
        position = 0
        for pending in self._writes:
            end = position + len(pending.works)
            pending.complete(self._outcomes[position:end])
            position = end
        return has_failed

    def fail(self, message: str) -> None:
        """Passes an error to all callers, to each one of its own: whoever raises it adds to its traceback."""
        for pending in self._writes:
            pending.fail(message)


def withdraw(pending: PendingWrite[Any], waiting: deque[PendingWrite[Any]]) -> bool:
    """Removes a write from those that are waiting. Returns False if a transaction has taken it."""
    try:
        waiting.remove(pending)
    except ValueError:
        return False
    return True


def _run(work: Work[T], db: StoreConnection) -> Outcome[T]:
    try:
        return Outcome(work(db))
    except sqlite3.Error:
        raise
    except Exception as error:
        return Outcome(None, error)


def _run_in_savepoint(work: Work[T], db: StoreConnection) -> Outcome[T]:
    with _savepoint(db):
        outcome = _run(work, db)
        if outcome.error is None:
            db.totals.write(db)
        else:
            _roll_back(db)
        return outcome


def _roll_back(db: StoreConnection) -> None:
    db.execute("ROLLBACK TO works")
    db.remember_nothing()


@contextlib.contextmanager
def _savepoint(db: sqlite3.Connection) -> Iterator[None]:
    # Savepoints may have the same name: the innermost one is meant.
    db.execute("SAVEPOINT works")
    yield
    db.execute("RELEASE works")
