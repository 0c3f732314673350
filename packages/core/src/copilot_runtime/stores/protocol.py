"""What the engine needs of a store: the only state that processes share.

A thread belongs to an owner; it has runs, one of which may be going on. Whoever begins a
run gets a lease with a fencing token, and every later write names it: a write with a
token that is no longer the thread's is refused, so that an owner that was paused beyond
its lease cannot write into a thread that another has taken over. A lease that is not
renewed in time runs out; then anybody may `claim` the run, to end it.

All methods are synchronous and may be called from any thread. A store whose methods may
wait for a disk or a network says so (``blocking``), and the engine calls it off the loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from typing import Any, NamedTuple, Protocol

from .._events import CompactedFrame


class StoreError(Exception):
    """The store cannot do its work now: the server's fault, answered with 503."""


class LeaseLost(Exception):
    """The lease is no longer the thread's: somebody else has ended or taken over the run."""


class RunTooLarge(Exception):
    """A run has outgrown the store."""


class ThreadKey(NamedTuple):
    """A thread: its owner (empty for the nameless one) and its id."""

    owner: str
    thread_id: str


class RunKey(NamedTuple):
    """A run: its thread, and its place on it, counted from 1."""

    thread: ThreadKey
    ordinal: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that is about to begin. ``size`` is that of its input, in bytes."""

    thread: ThreadKey
    run_id: str
    agent_id: str
    size: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a run. ``token`` grows with every lease of the thread."""

    run: RunKey
    run_id: str
    token: int


@dataclasses.dataclass(frozen=True, slots=True)
class RunStarted:
    """The run has begun. The ids of messages that the thread already knows, as of now:
    ``event_messages`` from its events, ``input_messages`` from what its runs were given."""

    lease: Lease
    event_messages: Set[str]
    input_messages: Set[str]


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that is going on somewhere, as anybody may see it."""

    run: RunKey
    run_id: str
    agent_id: str
    stopping: bool
    expired: bool = False
    """Whether its lease has run out: its owner is gone, or late, and anybody may `claim` it."""


class LeaseSignal(Enum):
    """What an owner has to know of a lease of its own."""

    STOP = "a stop was asked for"
    LOST = "it is somebody else's, or nobody's, now"


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Frames to add to a run. ``repeats`` are all numbers so far that the join filter leaves out."""

    lease: Lease
    frames: Sequence[bytes]
    duplicates: Set[int] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that was taken from its owner, to be ended.

    ``messages`` and ``event_messages`` (ids) are the thread's from before it.
    """

    lease: Lease
    agent_id: str
    frames: Sequence[bytes]
    messages: Sequence[Mapping[str, Any]]
    event_messages: Set[str]


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadBusy:
    """The run has not begun: another one is going on."""

    live: ActiveRun


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunCompletion:
    """How a run ended.

    ``records`` is the run, compacted. ``messages`` are the input's, in wire form; with the
    events up to number ``own_events``, which the agent itself emitted, they make the
    thread's messages. ``keep`` is false for a run of which nothing is to be stored.
    """

    persist: bool
    records: Sequence[CompactedFrame] = ()
    messages: Sequence[Mapping[str, Any]] = ()
    last_agent_event: int = 0
    event_messages: Set[str] = frozenset()
    input_messages: Set[str] = frozenset()
    duplicates: Set[int] = frozenset()
    """All numbers that the join filter leaves out."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRun:
    """A run that has ended. ``raw`` are its frames as they were sent, where they were asked for and are kept."""

    ordinal: int
    run_id: str
    agent_id: str
    records: Sequence[CompactedFrame]
    raw: Sequence[bytes] | None


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadSnapshot:
    """What a reader of a thread gets: what is stored, oldest first, and what is going on."""

    runs: Sequence[StoredRun] = ()
    live: ActiveRun | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RunUpdate:
    """News of a live run: its frames after the asked number, and whether it has ended.

    Where it ended before that number (a crash took what came after), just its last frame.
    """

    frames: Sequence[bytes]
    duplicates: Set[int]
    ended: bool
    expired: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThreadInfo:
    """A thread in a list. Times are seconds since the epoch."""

    thread_id: str
    agent_id: str
    name: str | None
    archived: bool
    created_at: float
    updated_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadPage:
    """Threads, most recently finished run first, and where the next page begins."""

    threads: Sequence[ThreadInfo]
    next_cursor: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """Which threads to list. ``cursor`` is a page's ``next_cursor``."""

    agent_id: str | None = None
    limit: int | None = None
    cursor: str | None = None
    include_archived: bool = False


class RunStore(Protocol):
    """Where threads, runs and frames live."""

    blocking: bool
    """Whether a method may wait for something outside this process."""
    poll_seconds: float | None
    """How often other processes' doings have to be looked for; None where there are no others."""
    lease_seconds: float | None
    """How long a lease holds without being renewed; None for as long as the process lives."""

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        """Takes the thread for a run, unless another is going on (a live lease)."""

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        """Adds frames to runs, all in one go. Gives why for those whose frames were not taken, or were the last."""

    def finish(self, lease: Lease, frames: Sequence[bytes], finished: RunCompletion) -> None:
        """Adds the last frames and ends the run; the thread is free. Raises LeaseLost."""

    def renew(self, leases: Sequence[Lease]) -> None:
        """Renews those of the leases that still hold."""

    def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        """What there is to know of leases; nothing of those that simply go on. Cheap: it is asked often."""

    def claim(self, run: RunKey, *, force: bool = False) -> ClaimedRun | None:
        """Takes a live run whose lease has run out, or any with ``by_force``; None where there is nothing to take."""

    def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        """A thread; an unknown one is empty.

        ``touch`` counts as use; ``raw_of`` is the ordinal of the run to give with its raw frames.
        """

    def follow(self, run: RunKey, after: int) -> RunUpdate:
        """The frames of a run after number ``after``. A run that is gone has ended."""

    def request_stop(self, thread: ThreadKey, run_id: str | None) -> ActiveRun | None:
        """Marks the thread's run to be stopped and gives it as it was before; None where none is going on.

        With ``run_id`` a run of another id is given back unmarked.
        """

    def messages(self, thread: ThreadKey) -> list[dict[str, Any]]:
        """The thread's messages in wire form, as of its last run that ended."""

    def threads(self, owner: str, query: ThreadQuery) -> ThreadPage:
        """An owner's threads. Raises ValueError for a cursor that is none."""

    def update(self, thread: ThreadKey, *, name: str | None = None, archived: bool | None = None) -> bool:
        """Changes what is given. False where there is no such thread."""

    def delete(self, thread: ThreadKey) -> bool:
        """Forgets a thread and everything about it, the lease of a live run included. False where there is none."""

    def clear(self, owner: str) -> None:
        """Forgets an owner's threads; a live run goes on, its thread as if new."""

    def after_fork(self) -> None:
        """This is a new child process: what ran in the parent does not run here."""
