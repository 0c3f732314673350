"""What a store may have beyond the protocol so that its threads can be moved to another store, whichever it is.

`copilot_runtime.stores.copy_threads` and ``copilot-runtime copy-threads`` need it of both stores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from .protocol import ActiveRun, RunStore, ThreadKey

__all__ = [
    "ImportOutcome",
    "KeyPage",
    "NoRoomError",
    "PortableRun",
    "PortableStore",
    "PortableThread",
    "ThreadState",
    "check_room",
    "import_outcome",
]


_TIME_ERROR_SECONDS = 0.001
"""How far apart equal times may be, since not every store keeps all digits."""


MAX_IMPORT_ATTEMPTS = 10
"""How often to look at a thread of the store that is changed before it can be replaced."""


class NoRoomError(Exception):
    """A limit of the store does not leave room for a thread. The text says which one."""


class KeyPage(NamedTuple):
    """A page of the threads of all owners. ``next_cursor`` is None on the last one."""

    keys: Sequence[ThreadKey]
    next_cursor: str | None
    unreadable: int = 0
    """How many threads are missing in ``keys`` because their own names are damaged."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortableRun:
    """A run that has ended, without its raw frames, which are kept for a minute only."""

    ordinal: int
    run_id: str
    agent_id: str
    records: Sequence[bytes]
    """Its compacted frames."""
    event_messages: Collection[str]
    input_messages: Collection[str]
    """As in `RunCompletion`. A store may leave out an id that a later run of the thread has as well."""
    has_run_error: bool
    recorded_by: str
    started_at: float = 0.0
    ended_at: float = 0.0
    """When it began and ended; 0 if the store does not know."""
    was_stopped: bool = False
    """As in `RunCompletion`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortableThread:
    """A thread with everything that a store keeps of it. Times are in seconds since the epoch."""

    key: ThreadKey
    last_ordinal: int
    agent_id: str
    name: str | None
    archived: bool
    created_at: float
    updated_at: float
    used_at: float
    messages: Sequence[Mapping[str, Any]]
    runs: Sequence[PortableRun]
    """Its runs that have ended, oldest first."""
    active: ActiveRun | None = None
    """Its active run, which is not imported."""

    @property
    def state(self) -> ThreadState:
        """What a later import of the thread is compared with."""
        last_run = _identity(self.runs[-1]) if self.runs else None
        return ThreadState(self.last_ordinal, last_run, self.updated_at, self.name, self.archived)


class ThreadState(NamedTuple):
    """What tells whether a thread was continued."""

    last_ordinal: int
    last_run: tuple[int, str] | None
    """The ordinal and the id of the last run that has ended."""
    updated_at: float
    name: str | None
    archived: bool
    is_active: bool = False


class ImportOutcome(Enum):
    """What an import has done with a thread."""

    CREATED = "copied"
    REPLACED = "copied again, since it was continued or changed after it had been copied"
    UNCHANGED = "already there"
    BUSY = "not copied: it has an active run in the target"
    DIVERGED = "not copied: the target has another thread of that name, or has continued it"

    @property
    def is_written(self) -> bool:
        """Whether the thread is to be stored."""
        return self in (ImportOutcome.CREATED, ImportOutcome.REPLACED)


def import_outcome(existing: ThreadState | None, thread: PortableThread) -> ImportOutcome:
    """Decides what an import does with a thread. To be called in the transaction that stores it.

    An older copy is replaced, so that threads can be copied while they are in use, and what has changed since then once
    more. A thread that was continued in the store is never replaced.

    Args:
        existing: The thread of that key in the store; None if there is none.
        thread: The thread to import.
    """
    if existing is None:
        return ImportOutcome.CREATED
    if existing.is_active:
        return ImportOutcome.BUSY
    state = thread.state
    if existing.last_run is None or existing.last_run not in map(_identity, thread.runs):
        return ImportOutcome.DIVERGED
    newer_by = existing.updated_at - state.updated_at
    if existing.last_run != state.last_run:
        was_continued = existing.last_ordinal > state.last_ordinal or newer_by > _TIME_ERROR_SECONDS
        return ImportOutcome.DIVERGED if was_continued else ImportOutcome.REPLACED
    if abs(newer_by) > _TIME_ERROR_SECONDS:  # another run with the same id
        return ImportOutcome.DIVERGED
    is_current = (existing.name, existing.archived) == (state.name, state.archived)
    if existing.last_ordinal > state.last_ordinal or (existing.last_ordinal == state.last_ordinal and is_current):
        return ImportOutcome.UNCHANGED
    return ImportOutcome.REPLACED


def _identity(run: PortableRun) -> tuple[int, str]:
    return run.ordinal, run.run_id


def check_room(name: str, limit: float, needed: int) -> None:
    """Raises NoRoomError if a limit is not enough.

    Args:
        name: The name of the limit.
        limit: Its value; 0 or infinity means no limit.
        needed: What it has to be at least.
    """
    if 0 < limit < needed:
        raise NoRoomError(f"{name}={limit} is not enough, at least {needed} is required")


class PortableStore(RunStore, Protocol):
    """A store whose threads can be moved from and to others. The methods are optional."""

    def thread_keys(self, cursor: str | None, limit: int) -> KeyPage:
        """Returns a page of the threads of all owners.

        All pages together have each thread that exists all the time, at least once.

        Args:
            cursor: The ``next_cursor`` of the page before; None for the first page.
            limit: The most threads to return.
        """

    def export_thread(self, thread: ThreadKey) -> PortableThread | None:
        """Returns a thread as of one moment; None if it does not exist. Does not count as use."""

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        """Stores a thread, which has at least one run, as `import_outcome` decides, in one transaction.

        Raises NoRoomError if the store would exceed a limit; nothing is deleted to make room.
        """
