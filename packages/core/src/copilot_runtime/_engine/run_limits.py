"""How many runs may be active in this process, in all and of one user, and how much memory they may take together."""

from __future__ import annotations

import math
from collections import Counter, deque

from .._concurrency.process_local import process_rlock

RUN_BYTES = 16 * 1024
"""What an active run and its reader take in addition to the run's input and events."""

EVENT_FACTOR = 2
"""How many times the size of its frames the events of a run take: as frames, and compacted."""

MAX_EXCESS = 1.25
"""Beyond how many times the memory that all may take every run ends that grows."""

USER_SHARE = 0.5
"""How much of the memory that all may take several runs of one user may take."""

MAX_UNCOUNTED_BYTES = 64 * 1024
"""How much a run may emit until that is counted."""

UNCOUNTED_SHARE = 16
"""And of the memory that is counted for it, which part: or many small runs would take several times what is counted."""


class RunLimitReached(Exception):
    """There may be no further run, by an option that is named ``setting``."""

    def __init__(self, setting: str) -> None:
        super().__init__(setting)
        self.setting = setting


class TooManyRuns(RunLimitReached):
    """All active runs are as many, or take as much memory, as the option allows."""


class TooManyRunsOfUser(RunLimitReached):
    """The active runs of a user are as many, or take as much memory, as the option allows."""


class InputTooLarge(Exception):
    """The input of a run takes more memory than all active runs may, which is ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class RunSlot:
    """The place of one active run, counted until it is released. Of one run, so not safe to use from several threads.

    Attributes:
        user: the key of the run's user; None if users are not identified.
        size: how many bytes of memory are counted for the run.
    """

    __slots__ = ("_limiter", "_replaced", "size", "user")

    def __init__(self, limiter: RunLimiter, user: str | None, size: int, replaced: RunSlot | None = None) -> None:
        self._limiter: RunLimiter | None = limiter
        self._replaced = replaced
        self.user = user
        self.size = size

    @property
    def allowance(self) -> int:
        """How many bytes the run may emit until these are counted."""
        return min(self.size // UNCOUNTED_SHARE, MAX_UNCOUNTED_BYTES)

    def grow(self, frame_bytes: int) -> bool:
        """Counts what the run has emitted. Returns False if the run is to end, since there is too much in memory.

        To be called when that is `allowance` or more, since each call has its cost.
        """
        if self._limiter is None:
            return True
        return self._limiter.grow(self, EVENT_FACTOR * frame_bytes)

    def add(self, size: int) -> None:
        """Counts a larger input, of a run that has not begun. Raises what `RunLimiter.acquire` raises."""
        if size and self._limiter is not None:
            self._limiter.add(self, size)

    def release(self) -> None:
        """Counts the run no longer; may be called more than once."""
        limiter = self._limiter
        if limiter is not None:
            self._limiter = self._replaced = None
            limiter.released.append(self)

    def take_over(self, size: int) -> RunSlot | None:
        """Returns the same place for another run.

        Returns None if it was released or taken over already, or if there is no memory for the other run.
        """
        return None if self._limiter is None else self._limiter.replace(self, size)

    def give_back(self) -> None:
        """Releases the place of a run that has not begun. A run from which it was taken over has it again."""
        limiter, replaced = self._limiter, self._replaced
        if limiter is not None and replaced is not None:
            limiter.restore(replaced, self)
        self.release()

    @property
    def is_released(self) -> bool:
        """Whether the run has ended, whether or not its place was taken over before."""
        return self._limiter is None


class RunLimiter:
    """Counts active runs and their memory, from any thread. A limit of None is no limit.

    Args:
        max_runs: how many runs there may be.
        max_runs_per_user: how many runs one user may have; runs without a user are not limited by it.
        max_runs_bytes: how much memory they may take, together and estimated.
    """

    def __init__(self, max_runs: int | None, max_runs_per_user: int | None, max_runs_bytes: int | None) -> None:
        self._max_runs = math.inf if max_runs is None else max_runs
        self._max_runs_per_user = math.inf if max_runs_per_user is None else max_runs_per_user
        self._max_bytes = math.inf if max_runs_bytes is None else max_runs_bytes
        self._slots: set[RunSlot] = set()
        self.released: deque[RunSlot] = deque()
        """Those that count no longer. They leave the other members with the next call that looks at these: the end of a
        run takes no lock."""
        self._size = 0
        self._of_users: Counter[str] = Counter()
        self._sizes_of_users: Counter[str] = Counter()
        # Reentrant: an abandoned stream is closed wherever the garbage collector happens to run.
        self._lock = process_rlock()

    def acquire(self, user: str | None, input_size: int) -> RunSlot:
        """Counts one more run.

        Args:
            user: the key of the user; None if users are not identified.
            input_size: how much memory the input of the run takes.

        Raises:
            InputTooLarge: the input is larger than all runs may be.
            TooManyRunsOfUser: the user has as many runs as allowed, or there is no memory for another one of that user.
            TooManyRuns: there are as many runs as allowed, or there is no memory for another one.
        """
        with self._lock.get():
            slot = self.find(user, input_size)
            if slot is None:
                raise self._limit_reached(user, RUN_BYTES + input_size)
            return slot

    def find(self, user: str | None, input_size: int) -> RunSlot | None:
        """Does the same, but returns None where `acquire` says which limit has been reached."""
        size = RUN_BYTES + input_size
        if size > self._max_bytes:
            raise InputTooLarge(int(self._max_bytes))
        with self._lock.get():
            while self.released:
                self._remove(self.released.popleft())
            slots, total = self._slots, self._size + size
            if len(slots) >= self._max_runs or total > self._max_bytes:
                return None
            if user is not None:
                if self._user_limit(user, size):
                    return None
                self._count_user(user, size)
            slot = RunSlot(self, user, size)
            slots.add(slot)
            self._size = total
            return slot

    def _limit_reached(self, user: str | None, size: int) -> RunLimitReached:
        # The user first: to such a user, it makes no difference how busy the others keep the process.
        if user is not None and (setting := self._user_limit(user, size)):
            return TooManyRunsOfUser(setting)
        return TooManyRuns("max_runs" if len(self._slots) >= self._max_runs else "max_runs_bytes")

    def _user_limit(self, user: str, size: int) -> str:
        """Returns which limit a user has reached; empty for none, as for the first run of each."""
        if user not in self._of_users:
            return ""
        if self._of_users[user] >= self._max_runs_per_user:
            return "max_runs_per_user"
        is_too_much = self._sizes_of_users[user] + size > USER_SHARE * self._max_bytes
        return "max_runs_bytes" if is_too_much else ""

    def add(self, slot: RunSlot, size: int) -> None:
        """Counts that a run takes more memory which has not begun. Raises what `acquire` raises."""
        if slot.size + size > self._max_bytes:
            raise InputTooLarge(int(self._max_bytes))
        with self._lock.get():
            self._remove_released()
            user = slot.user
            # As for a run that begins: one run alone may take more than a user's share.
            is_alone = user is None or self._of_users[user] == 1
            if user is not None and not is_alone and self._sizes_of_users[user] + size > USER_SHARE * self._max_bytes:
                raise TooManyRunsOfUser("max_runs_bytes")
            if self._size + size > self._max_bytes:
                raise TooManyRuns("max_runs_bytes")
            self.grow(slot, size)

    def replace(self, slot: RunSlot, input_size: int) -> RunSlot | None:
        """Counts a run in place of that which has ``slot``; None if there is no memory for it."""
        size = RUN_BYTES + input_size
        with self._lock.get():
            self._remove_released()
            if slot not in self._slots or self._size - slot.size + size > self._max_bytes:
                return None
            self._remove(slot)
            return self._add(RunSlot(self, slot.user, size, slot))

    def restore(self, slot: RunSlot, successor: RunSlot) -> None:
        """Counts the run that has ``slot`` again, unless it has ended, and that which was to replace it no longer."""
        with self._lock.get():
            self._remove_released()
            self._remove(successor)
            if not slot.is_released:
                self._add(slot)

    def grow(self, slot: RunSlot, size: int) -> bool:
        """Counts that a run takes more memory. Returns False if it is to end.

        That is the largest one while there is too much in memory, whoever has the others; and any one that grows once
        there is `MAX_EXCESS` as much, since the largest may grow no more, or not heed its stop.
        """
        with self._lock.get():
            self._remove_released()
            slot.size += size
            if slot not in self._slots:
                return True
            self._size += size
            if slot.user is not None:
                self._sizes_of_users[slot.user] += size
            if self._size <= self._max_bytes:
                return True
            is_largest = slot.size >= max(other.size for other in self._slots)
            return not is_largest and self._size <= MAX_EXCESS * self._max_bytes

    def _remove_released(self) -> None:
        while self.released:
            self._remove(self.released.popleft())

    def _remove(self, slot: RunSlot) -> None:
        if slot not in self._slots:  # it was taken over
            return
        self._slots.discard(slot)
        self._size -= slot.size
        if slot.user is not None:
            self._of_users[slot.user] -= 1
            self._sizes_of_users[slot.user] -= slot.size
            if not self._of_users[slot.user]:
                del self._of_users[slot.user], self._sizes_of_users[slot.user]

    def _add(self, slot: RunSlot) -> RunSlot:
        self._slots.add(slot)
        self._size += slot.size
        if slot.user is not None:
            self._count_user(slot.user, slot.size)
        return slot

    def _count_user(self, user: str, size: int) -> None:
        self._of_users[user] += 1
        self._sizes_of_users[user] += size

    def after_fork(self) -> None:
        """Starts at zero in a child process."""
        self._slots.clear()
        self.released.clear()
        self._size, self._lock = 0, process_rlock()
        self._of_users.clear()
        self._sizes_of_users.clear()
