"""How many runs may be active in this process: in all, and of one user."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from .._concurrency.process_local import process_rlock


class TooManyRuns(Exception):
    """As many runs are active as `max_runs` allows."""


class TooManyRunsOfUser(Exception):
    """A user has as many active runs as `max_runs_per_user` allows."""


class RunSlot:
    """The place of one active run, counted until it is released."""

    __slots__ = ("_release", "user")

    def __init__(self, user: str | None, release: Callable[[RunSlot], None]) -> None:
        self.user = user
        self._release: Callable[[RunSlot], None] | None = release

    def release(self) -> None:
        """Counts the run no longer; may be called more than once."""
        release, self._release = self._release, None
        if release is not None:
            release(self)

    def take_over(self) -> RunSlot | None:
        """Returns the same place for another run; None if it was released or taken over already."""
        release, self._release = self._release, None
        return None if release is None else RunSlot(self.user, release)


class RunLimiter:
    """Counts active runs, from any thread. A limit of None is no limit.

    Args:
        max_runs: how many runs there may be.
        max_runs_per_user: how many runs one user may have; runs without a user are not limited by it.
    """

    def __init__(self, max_runs: int | None, max_runs_per_user: int | None) -> None:
        self._max_runs = math.inf if max_runs is None else max_runs
        self._max_runs_per_user = math.inf if max_runs_per_user is None else max_runs_per_user
        self._count = 0
        self._of_users: Counter[str] = Counter()
        # Reentrant: an abandoned stream is closed wherever the garbage collector happens to run.
        self._lock = process_rlock()

    def acquire(self, user: str | None) -> RunSlot:
        """Counts one more run.

        Args:
            user: the key of the user; None if users are not identified.

        Raises:
            TooManyRunsOfUser: the user has as many as allowed.
            TooManyRuns: there are as many as allowed.
        """
        with self._lock.get():
            # The user first: to such a user, it makes no difference how busy the others keep the process.
            if user is not None and self._of_users[user] >= self._max_runs_per_user:
                raise TooManyRunsOfUser
            if self._count >= self._max_runs:
                raise TooManyRuns
            self._count += 1
            if user is not None:
                self._of_users[user] += 1
        return RunSlot(user, self._release)

    def _release(self, slot: RunSlot) -> None:
        with self._lock.get():
            self._count -= 1
            if slot.user is not None:
                self._of_users[slot.user] -= 1
                if not self._of_users[slot.user]:
                    del self._of_users[slot.user]

    def after_fork(self) -> None:
        """Starts at zero in a child process."""
        self._count, self._lock = 0, process_rlock()
        self._of_users.clear()
