"""The store protocol: what the engine requires of a store, which is the only state that processes share.

A thread belongs to an owner and has runs, at most one of which is active. The process that begins a run gets a
lease with a fencing token, and every later write names that lease. A write whose token is no longer the thread's
is refused, so a process that was suspended beyond its lease cannot write to a thread that another process has
taken over. A lease that is not renewed in time expires; then any process may `RunStore.claim` the run, to end it.

A run's events are stored as frames, which are opaque to a store except that an event's number is the position of
its frame in the run, from 1 on. (`CompactedFrame` has the number in the frame's id, which is another one for the
events with which a reaper ends a run; `CompactedFrame.from_frame` parses it.) Frames are kept twice once a run has
ended: compacted, for replays, and for `RAW_RETENTION_SECONDS` also as they were sent, so that a reader can resume
exactly where its connection broke.

A store of your own is correct if it passes `copilot_runtime.testing.RunStoreSuite`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set
from enum import Enum
from typing import Any, NamedTuple, Protocol, Self

from .._events import CompactedFrame, RunRecorder, frames_of, messages_after_run
from .._version import __version__

__all__ = [
    "FOLLOWED_SECONDS",
    "RAW_RETENTION_SECONDS",
    "ActiveRun",
    "Batch",
    "ClaimedRun",
    "CombiningStore",
    "CompactedFrame",
    "GroupingStore",
    "LazyStore",
    "Lease",
    "LeaseLost",
    "LeaseSignal",
    "NewRun",
    "RunCompletion",
    "RunEnd",
    "RunKey",
    "RunStarted",
    "RunStore",
    "RunTooLarge",
    "RunUpdate",
    "StoreError",
    "StoredRun",
    "ThreadBusy",
    "ThreadInfo",
    "ThreadKey",
    "ThreadPage",
    "ThreadQuery",
    "ThreadSnapshot",
    "ThreadUnreadable",
    "WatchingStore",
    "messages_after_run",
    "missing_frames",
]

RAW_RETENTION_SECONDS: float = 60.0
"""How long the frames of a run that has ended are kept as they were sent."""

FOLLOWED_SECONDS: float = 10.0
"""How long a run counts as followed by another process after `LeaseSignal.FOLLOWED`."""


class StoreError(Exception):
    """The store is not working at the moment. Requests are answered with 503."""

    is_logged_without_traceback = True
    """Its text says all, and an outage, in which every request has one, must not fill the log."""


class ThreadUnreadable(StoreError):
    """What is stored of a thread is damaged. Requests that need it are answered with 503; it can be deleted."""


class LeaseLost(Exception):
    """The lease no longer holds: another process has ended or taken over the run, or its thread was deleted."""


class RunTooLarge(Exception):
    """A run has become larger than the store allows."""


class ThreadKey(NamedTuple):
    """Identifies a thread. ``owner`` is empty if users are not identified."""

    owner: str
    thread_id: str


class RunKey(NamedTuple):
    """Identifies a run by its thread and its ordinal: random for a thread's first run, and then the next one."""

    thread: ThreadKey
    ordinal: int


class NewRun(NamedTuple):
    """A run that is about to begin. ``size`` is the size of its input in bytes."""

    thread: ThreadKey
    run_id: str
    agent_id: str
    size: int = 0
    begin_id: str = ""
    """Identifies this call of `RunStore.begin`, so that a run can be found that has begun although the call failed."""


class Lease(NamedTuple):
    """The right to write to a run. ``token`` is the fencing token: it increases with every lease of the thread."""

    run: RunKey
    run_id: str
    token: int


class RunStarted(NamedTuple):
    """The run has begun.

    The ids of the thread's messages at this moment, which do not change afterwards: ``event_messages`` are those
    that occur in the events of its runs, ``input_messages`` those that occur in their inputs.
    """

    lease: Lease
    event_messages: Set[str]
    input_messages: Set[str]


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that has not ended, in whichever process it runs."""

    run: RunKey
    run_id: str
    agent_id: str
    stopping: bool
    """Whether a stop was requested."""
    expired: bool = False
    """Whether its lease has expired: its process has died, or is late, and any process may `RunStore.claim` it."""
    begin_id: str = ""
    """That of its `NewRun`. May be left empty by a store in which no run has begun when `RunStore.begin` raises."""


class LeaseSignal(Enum):
    """What the holder of a lease has to react to."""

    STOP = "a stop was requested"
    LOST = "the lease no longer holds"
    FOLLOWED = "another process follows the run"
    """Optional: frames are then appended as they come, and not every 0.1 seconds. Where a lease has another signal as
    well, that one is returned."""


class Batch(NamedTuple):
    """Frames to append to a run.

    ``duplicates`` are the numbers of all events of the run so far, those of earlier batches included, that repeat
    messages of the thread's history. ``frame_count`` is how many frames the run has with these, for `missing_frames`;
    None if unknown.
    """

    lease: Lease
    frames: Sequence[bytes]
    duplicates: Set[int] = frozenset()
    frame_count: int | None = None


def missing_frames(frames: Sequence[bytes], frame_count: int | None, stored_count: int) -> Sequence[bytes]:
    """Returns those frames to append that a store does not have yet.

    It may have some: a call that failed, such as when its connection broke, may have stored them all the same.

    Args:
        frames: The frames to append.
        frame_count: How many frames the run has with these; None to append all.
        stored_count: How many frames of the run the store has.

    Raises:
        LeaseLost: The store has lost frames that were stored before, so that these do not continue the run.
    """
    if frame_count is None or frame_count == stored_count + len(frames):
        return frames
    first = stored_count - (frame_count - len(frames))
    if first < 0:
        raise LeaseLost
    return frames[first:]


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that was taken from its process, to be ended.

    ``frames`` are those that were stored, ``messages`` and ``event_messages`` (ids) those of the thread before it;
    ``started_at`` is when the run began, in seconds since the epoch. If some of them are damaged, ``damage`` says so,
    and all of them are left out: such a run can still be ended, but nothing is kept of it.
    """

    lease: Lease
    agent_id: str
    started_at: float
    frames: Sequence[bytes] = ()
    messages: Sequence[Mapping[str, Any]] = ()
    event_messages: Set[str] = frozenset()
    damage: ThreadUnreadable | None = None

    @classmethod
    def from_stored(
        cls,
        lease: Lease,
        agent_id: str,
        started_at: float,
        read: Callable[[], tuple[Sequence[bytes], Sequence[Mapping[str, Any]], Set[str]]],
    ) -> Self:
        """Returns a run of which ``read`` returns frames, messages and their ids, or raises ThreadUnreadable."""
        try:
            return cls(lease, agent_id, started_at, *read())
        except ThreadUnreadable as error:
            return cls(lease, agent_id, started_at, damage=error)


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadBusy:
    """The run has not begun, because the thread has an active run already."""

    live: ActiveRun


class RunCompletion(NamedTuple):
    """The final state of a run."""

    persist: bool
    """False for a run of which nothing is to be stored; all other members but the next are irrelevant then."""
    keep_ordinal: bool = False
    """Whether readers may have received more than was stored: then the thread is kept, even without any runs, so that
    `ThreadSnapshot.last_ordinal` tells that the run has been there."""
    records: Sequence[CompactedFrame] = ()
    """The run, compacted."""
    messages: Sequence[Mapping[str, Any]] = ()
    """The messages of the run's input, in wire form. No list: each look at them may parse them again."""
    last_agent_event: int = 0
    """The number of the last event that the agent itself emitted. The thread's messages are
    ``messages_after_run(messages, records, last_agent_event)``."""
    event_messages: Set[str] = frozenset()
    """The ids of the messages in the run's events."""
    input_messages: Set[str] = frozenset()
    """The ids of the messages in the run's input."""
    duplicates: Set[int] = frozenset()
    """The numbers of all events that repeat messages of the thread's history."""
    has_run_error: bool = False
    """Whether a RUN_ERROR is among its events."""
    recorded_by: str = ""
    """The version of this package that has recorded all of its frames; empty if unknown."""
    frame_count: int | None = None
    """As in `Batch`, for the frames that `RunStore.finish` gets."""
    was_stopped: bool = False
    """Whether it was ended because it was stopped: its RUN_FINISHED is not the agent's."""

    def has_messages(self, *, in_input: bool) -> bool:
        """Returns whether the run ends with any messages. One without leaves those that its thread has.

        Args:
            in_input: Whether the run's input has messages, which only a snapshot without any removes.
        """
        # The first frame is no snapshot, and may repeat a long input.
        if in_input and b"MESSAGES_SNAPSHOT" not in b"".join(frames_of(self.records)[1:]):
            return True
        return bool(messages_after_run(self.messages, self.records, self.last_agent_event))

    @classmethod
    def from_recorder(
        cls,
        recorder: RunRecorder,
        messages: Sequence[Mapping[str, Any]],
        last_agent_event: int,
        *,
        persist: bool = True,
        keep_ordinal: bool = False,
        recorded_by: str = __version__,
        frame_count: int | None = None,
    ) -> Self:
        """Returns the final state of a recorded run. To be called once, when the run is complete.

        Args:
            recorder: The recorder of the run.
            messages: The messages of the run's input, in wire form.
            last_agent_event: The number of the last event that the agent itself emitted.
            persist: Whether the run is to be stored.
            keep_ordinal: Whether readers may have received more than was stored.
            recorded_by: The version of this package that has recorded all of its frames; empty if unknown.
            frame_count: How many frames the run has; None if unknown.
        """
        number = recorder.number if frame_count is None else frame_count
        has_run_error = recorder.has_run_error
        # Without its constructor, which takes twice as long.
        return tuple.__new__(
            cls,
            (
                persist,
                keep_ordinal,
                recorder.records(),
                messages,
                last_agent_event,
                recorder.message_ids,
                recorder.input_ids,
                recorder.duplicates,
                has_run_error,
                recorded_by,
                frame_count,
                # All other runs that an agent does not end itself end with RUN_ERROR.
                number > last_agent_event and not has_run_error,
            ),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run: the arguments of `RunStore.finish`."""

    lease: Lease
    frames: Sequence[bytes]
    completion: RunCompletion


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRun:
    """A run that has ended.

    ``raw`` are its frames as they were sent, or None if not requested or no longer kept; ``has_run_error``,
    ``recorded_by`` and ``duplicates`` are those of its `RunCompletion`, the latter only if there are ``raw`` frames.
    """

    ordinal: int
    run_id: str
    agent_id: str
    records: Sequence[CompactedFrame]
    raw: Sequence[bytes] | None
    has_run_error: bool = False
    recorded_by: str = ""
    duplicates: Set[int] = frozenset()

    @property
    def is_checked(self) -> bool:
        """Whether clients accept its frames as they are: this version has recorded them."""
        return self.recorded_by == __version__


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadSnapshot:
    """A thread at one moment: its runs that have ended, oldest first, and its active run."""

    runs: Sequence[StoredRun] = ()
    live: ActiveRun | None = None
    last_ordinal: int = 0
    """The ordinal of the last run that has begun, whether or not anything is stored of it; 0 if unknown."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunUpdate:
    """The progress of a run since an event that the caller knows.

    If the run ended before that event, because a crash lost what came after, ``frames`` is just its last frame.
    """

    frames: Sequence[bytes]
    duplicates: Set[int]
    """As in `Batch`."""
    ended: bool
    """Whether the run has ended, or does not exist."""
    expired: bool = False
    """As in `ActiveRun`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThreadInfo:
    """An entry of a list of threads. Times are in seconds since the epoch."""

    thread_id: str
    agent_id: str
    """The agent of the run that ended last."""
    name: str | None
    archived: bool
    created_at: float
    """When the first run ended."""
    updated_at: float
    """When the last run ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadPage:
    """A page of a list of threads, the most recently updated thread first."""

    threads: Sequence[ThreadInfo]
    next_cursor: str | None = None
    """The cursor of the next page, or None if this is the last one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """Which threads to list. ``cursor`` is the ``next_cursor`` of a page; None for no filter or no limit."""

    agent_id: str | None = None
    limit: int | None = None
    cursor: str | None = None
    include_archived: bool = False


class RunStore(Protocol):
    """Stores threads, runs and frames.

    Methods are synchronous, and may be called from several OS threads at a time. Each method except `after_fork`
    may raise `StoreError`, in which case it may or may not have done its work: the engine calls `append` and `finish`
    again.
    """

    blocking: bool
    """Whether methods may wait for something outside of this process, such as a disk or a network. If so, the
    engine never calls them on an event loop."""
    poll_seconds: float | None
    """How often to look for changes made by other processes, in seconds. None if the store has no others."""
    lease_seconds: float | None
    """How long a lease holds without being renewed, in seconds. None if it holds as long as the process lives."""

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        """Begins a run, unless the thread has an active run, whether or not that one's lease has expired."""

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        """Appends frames to several runs in one transaction.

        Of each batch, only the `missing_frames` are appended. Returns, per lease, why its frames were refused
        (`LeaseLost`) or are the last that are accepted (`RunTooLarge`).
        """

    def finish(self, lease: Lease, frames: Sequence[bytes], completion: RunCompletion) -> None:
        """Appends the last frames of a run, as `append` does, and ends it, which frees the thread. Raises LeaseLost."""

    def renew(self, leases: Sequence[Lease]) -> None:
        """Renews those of the leases that still hold."""

    def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        """Returns the signals of those leases that have one. Called often, so it should be cheap.

        A signal may be left out when it was returned before for the same leases, `LeaseSignal.FOLLOWED` only if that
        was less than half of `FOLLOWED_SECONDS` ago.
        """

    def claim(self, run: RunKey, *, force: bool = False) -> ClaimedRun | None:
        """Takes an active run over from its process, which loses its lease.

        Returns None if there is no such active run, or if its lease has not expired and ``force`` is false. With
        ``force``, its process may be alive: raises ThreadUnreadable, and changes nothing, if something is damaged.
        """

    def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        """Returns a thread, which is empty if it does not exist.

        Args:
            thread: The thread.
            touch: Whether this counts as use of the thread.
            raw_ordinal: The ordinal of the run whose raw frames to include.
        """

    def follow(self, run: RunKey, after: int) -> RunUpdate:
        """Returns the frames of a run after event number ``after``. A run that does not exist has ended."""

    def request_stop(self, thread: ThreadKey, run_id: str | None) -> ActiveRun | None:
        """Requests that the thread's active run stop; with ``run_id``, only if it has that id.

        Returns the active run as it was before, whether or not it has that id, or None if there is none.
        """

    def messages(self, thread: ThreadKey) -> list[dict[str, Any]]:
        """Returns the thread's messages in wire form, as of the last run that ended with any."""

    def threads(self, owner: str, query: ThreadQuery) -> ThreadPage:
        """Returns a page of an owner's threads. A thread is listed once a run of it has ended.

        Raises ValueError for an invalid cursor.
        """

    def update(
        self, thread: ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        """Sets those members of a thread that are not None. Returns False if the thread is not listed.

        With ``if_unnamed``, does nothing and returns False if the thread has a name already.
        """

    def delete(self, thread: ThreadKey) -> bool:
        """Deletes a thread with everything that belongs to it, the lease of an active run included.

        Also if what is stored of it cannot be read. What takes long is left to `sweep`.

        Returns whether the thread was listed.
        """

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        """Deletes an owner's threads. An active run keeps its lease, on a thread that is otherwise new.

        Each call takes a short time only, so that other requests get their turn: it may leave threads for the next
        one. A caller that dies in between has deleted some of the threads, and may begin again.

        Args:
            owner: The owner.
            cursor: What the previous call has returned. Threads that were created since the first call are kept.

        Returns:
            The cursor of the next call, or None once all threads are deleted.
        """

    def sweep(self) -> bool:
        """Deletes for good some of what has expired or was deleted, as far as that takes a short time only.

        Called after threads were deleted, until it returns False. A store must not depend on that.

        Returns:
            Whether there is more.
        """

    def after_fork(self) -> None:
        """Called in a child process after a fork: the parent's runs do not run here.

        Must not wait for a lock, which an OS thread that exists only in the parent may have held.
        """


class LazyStore(RunStore, Protocol):
    """A store that keeps nothing beyond the life of the process, so that active runs need not be appended in time.

    The attribute is optional: without it, the engine appends what a run has emitted every 0.1 seconds.
    """

    @property
    def flush_bytes(self) -> int:
        """How many bytes of each active run may be missing in the store.

        The engine appends them when there are more, and at the end of the run.
        """


class GroupingStore(RunStore, Protocol):
    """A store that blocks, and begins and ends many runs for about the cost of one.

    The method is optional: without it, the engine calls `begin` and `finish` for each run.
    """

    def write_runs(self, changes: Sequence[NewRun | RunEnd]) -> Sequence[RunStarted | ThreadBusy | Exception | None]:
        """Begins and ends runs in the given order, in one transaction if possible.

        Returns, for each, what `begin` or `finish` returns or raises. One that raises leaves the others alone.
        """


class CombiningStore(RunStore, Protocol):
    """A store that reads a thread and its messages for about the cost of one, such as one round trip.

    The method is optional: without it, the engine calls `messages` and `read`.
    """

    def read_with_messages(self, thread: ThreadKey) -> tuple[ThreadSnapshot, list[dict[str, Any]]]:
        """Returns what `read` and `messages` return."""


class WatchingStore(RunStore, Protocol):
    """A store that notices what other processes do, so that nobody has to poll it for that.

    The method is optional: without it, the engine looks every `poll_seconds`. With it, it looks whenever it is called
    back; `poll_seconds`, of a second or two, is then only the net for notifications that were lost.
    """

    def watch(self, run: RunKey, on_change: Callable[[], None]) -> Callable[[], None]:
        """Calls ``on_change`` soon after other processes have changed a run, until the returned function is called.

        That is after one has appended frames to it, ended it, requested its stop, taken its lease, deleted it, or begun
        to follow it; and, since some of that may have been missed, once the store listens and after each time that a
        lost connection has come back. Additional calls are harmless, but each costs a look at the store. What was done
        through this very store object needs none: a run that only its own process looks at should cost nothing.

        Where there turn out to be no notifications, as behind some proxies, it calls nobody back, and `poll_seconds` is
        as short as without this method.

        ``on_change`` may be called on any OS thread; it returns at once and raises nothing. Neither this method nor the
        returned function waits for anything or raises `StoreError`, as both are called on event loops: a thread of the
        store's own does the work. The returned function may be called more than once.

        A run may be watched several times, by the process that holds its lease and by those that `follow` it. Processes
        that do not hold the lease report, when they `follow` the run and at most every few seconds, that they do: that
        is the holder's `LeaseSignal.FOLLOWED`.
        """
