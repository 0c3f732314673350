"""The beginnings and ends of runs on an event loop, handed to a store that blocks together."""

from __future__ import annotations

import asyncio
import copy
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, cast

from .._concurrency import driver, loops
from .._concurrency.outcome import Outcome
from ..stores.protocol import (
    GroupingStore,
    NewRun,
    RunCompletion,
    RunEnd,
    RunStarted,
    RunStore,
    StoreError,
    ThreadBusy,
)
from .optional_members import has_member
from .store_queue import StoreQueue

Change = NewRun | RunEnd
Result = RunStarted | ThreadBusy | None

MAX_CHANGES = 64
"""The most changes in one call of the store, so that none of them waits long for the others."""


def find_grouping(store: RunStore) -> GroupingStore | None:
    """Returns the store if it blocks and is one that writes changes together."""
    is_grouping = store.blocking and has_member(store, "write_runs", {"begin", "finish"})
    return cast(GroupingStore, store) if is_grouping else None


PATIENT_SECONDS = 2.0
"""The end of a run that lasted this long may wait for other changes: a shorter one would take much longer."""

PAUSE_SECONDS = 0.04
"""How long after a call of the store the next one begins if all that waits for it may wait."""

FEW_CHANGES = 8
"""Fewer of them wait. More of them at a time would hardly make each one cheaper."""

QUIET_TURNS = 2
"""After how many turns of the loop that bring nothing more a call begins where there are several runs. There are two
from a request to the run that it begins."""

GATHER_SECONDS = 0.005
"""How long a call waits for such turns."""


class StoreWrites:
    """Writes beginnings and ends of runs: all that come while the store writes the ones before go into its next call.

    One call then costs one hop to a pool thread, one hop back, and one transaction, however many runs it concerns.
    Where there are several runs, a call begins once the loop has nothing more to do that would bring another change:
    otherwise, clients that are answered together fall apart into groups that take turns, with a call for each.

    Where long runs end one after the other, the ends wait a little for each other, or for a run that begins: that waits
    for turns of the loop alone, since somebody waits for its first event.
    """

    def __init__(self, store: GroupingStore, waits: StoreQueue) -> None:
        self._store = store
        self._waits = waits
        self._queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopQueue] = weakref.WeakKeyDictionary()

    async def begin(self, run: NewRun) -> Result:
        """Begins a run, from an event loop. Returns and raises what the store does."""
        return await self._write(run, is_patient=False)

    async def end(self, end: RunEnd, lasted: float) -> None:
        """Does the same with the end of a run that was active for this many seconds."""
        await self._write(end, is_patient=lasted >= PATIENT_SECONDS)

    async def _write(self, change: Change, *, is_patient: bool) -> Result:
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = _LoopQueue(self._store, self._waits)
        write = queue.add(change, loop, is_patient=is_patient)
        try:
            await write.done
        except asyncio.CancelledError:
            queue.end_unused(write.outcome.result, loop)  # if it was cancelled just now
            queue.start_waiting(loop)  # which may be about to be closed
            raise
        return write.outcome.take()


class _Write(NamedTuple):
    """A change, what has become of it once it is ``done``, and since when it waits, by the monotonic clock."""

    change: Change
    done: asyncio.Future[None]
    outcome: Outcome[Result]
    since: float


class _LoopQueue:
    """The changes of one loop that wait for the store."""

    def __init__(self, store: GroupingStore, waits: StoreQueue) -> None:
        self._store = store
        self._waits = waits
        self._waiting: deque[_Write] = deque()
        self._has_urgent = False
        """Whether one of them may not wait."""
        self._is_writing = False
        self._is_gathering = False
        """Whether a later turn of the loop will look at what is waiting."""
        self._has_company = False
        """Whether the last call had several changes."""
        self._wrote_at = 0.0
        """When the last call began, by the monotonic clock."""
        self._is_pausing = False
        """Whether a timer will look at what is waiting. (Its handle would keep the loop alive.)"""

    def add(self, change: Change, loop: asyncio.AbstractEventLoop, *, is_patient: bool = False) -> _Write:
        write = _Write(change, loop.create_future(), Outcome(), time.monotonic())
        self._waiting.append(write)
        self._has_urgent = self._has_urgent or not is_patient
        if not (self._is_writing or self._is_gathering or self._pauses(loop, write.since)):
            self._is_gathering = True
            # In the next turn of the loop, with all that this one brings.
            loop.call_soon(self._gather, loop, write.since + GATHER_SECONDS)
        return write

    def _gather(self, loop: asyncio.AbstractEventLoop, until: float, seen: int = 0, turns: int = QUIET_TURNS) -> None:
        """Has the store called once ``turns`` turns of the loop have brought nothing more than ``seen`` changes."""
        self._is_gathering = False
        count = len(self._waiting)
        if count > seen:
            turns = QUIET_TURNS
        if turns and (self._has_company or count > 1) and count < MAX_CHANGES and time.monotonic() < until:
            self._is_gathering = True
            loop.call_soon(self._gather, loop, until, count, turns - 1)
        else:
            self.start_waiting(loop)

    def _pauses(self, loop: asyncio.AbstractEventLoop, now: float) -> bool:
        """Returns whether what is waiting waits for others, and has a timer end that."""
        pause = self._wrote_at + PAUSE_SECONDS - now
        if self._has_urgent or pause <= 0 or len(self._waiting) >= FEW_CHANGES:
            return False
        if not self._is_pausing:
            self._is_pausing = True
            loop.call_later(pause, self._end_pause, loop)
        return True

    def _end_pause(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_pausing = False
        self.start_waiting(loop)

    def start_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has the store called at once with what waits for others."""
        if self._waiting and not self._is_writing:
            self._start(loop)

    def end_unused(self, result: Result | BaseException, loop: asyncio.AbstractEventLoop) -> None:
        """Ends a run that has begun for a request that was cancelled: its thread would be busy."""
        if isinstance(result, RunStarted):
            self.add(RunEnd(result.lease, (), RunCompletion(persist=False)), loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_writing, self._wrote_at = True, time.monotonic()
        batch = self._take()
        try:
            driver.start_blocking(self._write, batch, loop)
        except RuntimeError as error:  # no thread can be started
            self._resolve(loop, batch, _for_each(batch, error))

    def _take(self) -> Sequence[_Write]:
        self._has_company = len(self._waiting) > 1
        self._has_urgent = len(self._waiting) > MAX_CHANGES
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_CHANGES))]

    def _write(self, batch: Sequence[_Write], loop: asyncio.AbstractEventLoop) -> None:
        """Writes changes, on a pool thread."""
        results: Sequence[Result | BaseException]
        while batch:
            batch = self._refuse_late(batch, loop)
            try:
                results = self._store.write_runs([write.change for write in batch]) if batch else ()
                if len(results) != len(batch):
                    raise RuntimeError(f"{self._store!r}.write_runs() returned {len(results)} of {len(batch)} results")
            except BaseException as error:
                results = _for_each(batch, error)
            self._record(results)
            if loops.call_soon_threadsafe(loop, self._resolve, loop, batch, results):
                batch = ()
            else:
                batch = self._take()  # nobody else would write the rest, now that the loop is closed
            results = ()  # an exception among them has this frame in its traceback

    def _record(self, results: Sequence[Result | BaseException]) -> None:
        failures = [result for result in results if isinstance(result, StoreError)]
        if len(failures) < len(results):
            self._waits.succeeded()
        elif failures:
            self._waits.failed(failures[0])

    def _refuse_late(self, batch: Sequence[_Write], loop: asyncio.AbstractEventLoop) -> Sequence[_Write]:
        """Returns the changes of a batch without the runs to begin that have waited for too long, which fail."""
        errors = [(write, self._waits.check(write.since)) for write in batch if isinstance(write.change, NewRun)]
        late = [(write, error) for write, error in errors if error is not None]
        if not late:
            return batch
        loops.call_soon_threadsafe(loop, self._set_results, loop, *zip(*late, strict=True))
        refused = {id(write) for write, _ in late}
        return [write for write in batch if id(write) not in refused]

    def _resolve(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Write],
        results: Sequence[Result | BaseException],
    ) -> None:
        self._set_results(loop, batch, results)
        # After those that have been waiting: runs that begin now may be over before the next call.
        loop.call_soon(self._go_on, loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_writing = False
        now = time.monotonic()
        if self._waiting and not self._pauses(loop, now):
            self._gather(loop, now + GATHER_SECONDS)

    def _set_results(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Write],
        results: Sequence[Result | BaseException],
    ) -> None:
        for (_, done, outcome, _), result in zip(batch, results, strict=True):
            if done.done():  # cancelled
                self.end_unused(result, loop)
                continue
            if isinstance(result, BaseException):
                outcome.error = result
            else:
                outcome.result = result
            done.set_result(None)


def _for_each(batch: Sequence[_Write], error: BaseException) -> Sequence[BaseException]:
    """Returns an exception for each of several coroutines: whoever raises one adds to its traceback."""
    return [_copy(error) for _ in batch]


def _copy(error: BaseException) -> BaseException:
    try:
        copied = copy.copy(error)
    except Exception:  # of a class that cannot be created from its arguments
        return error
    copied.__cause__ = error
    return copied
