"""Copies threads from one store to another."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import cast

from .portable import ImportOutcome, PortableStore
from .protocol import RunStore, ThreadKey, ThreadUnreadable

PAGE_SIZE = 500
"""How many keys of threads to read at once. The threads themselves are read one by one."""


@dataclasses.dataclass(frozen=True, slots=True)
class CopiedThread:
    """What became of one thread of the source."""

    key: ThreadKey | None
    """None if not even its name could be read."""
    outcome: ImportOutcome | None
    """None if nothing of it could be copied."""
    runs: int = 0
    """How many runs were copied."""
    messages: int = 0
    """How many messages the thread has."""
    active_run: str | None = None
    """The id of its active run, which is not copied."""
    is_unreadable: bool = False
    """Whether what is stored of it, in the source or in the target, is damaged."""


@dataclasses.dataclass
class CopyReport:
    """What `copy_threads` has done, in numbers."""

    outcomes: Counter[ImportOutcome] = dataclasses.field(default_factory=Counter)
    """How many threads had each outcome."""
    runs: int = 0
    """How many runs were copied."""
    messages: int = 0
    """How many messages the copied threads have."""
    active_runs: int = 0
    """How many active runs were left out."""
    unreadable: int = 0
    """How many threads are damaged."""

    def add(self, thread: CopiedThread) -> None:
        """Counts a thread."""
        if thread.outcome is not None:
            self.outcomes[thread.outcome] += 1
        self.runs += thread.runs
        self.messages += thread.messages
        self.active_runs += thread.active_run is not None
        self.unreadable += thread.is_unreadable

    @property
    def is_complete(self) -> bool:
        """Whether the target has everything that the source has."""
        left_out = self.outcomes[ImportOutcome.BUSY] + self.outcomes[ImportOutcome.DIVERGED]
        return not (left_out or self.active_runs or self.unreadable)


def copy_threads(source: RunStore, target: RunStore) -> CopyReport:
    """Copies the threads of all users from one store to another, with their runs and messages.

    It can be repeated: threads that the target has are left alone, unless they were continued in the source after they
    had been copied. Active runs are left out, and the runs of their threads before them are copied.

    Args:
        source: Where the threads are. Nothing in it is changed.
        target: Where to copy them to.

    Returns:
        How many threads, runs and messages were copied, and how many were not.

    Raises:
        ValueError: One of the stores does not support it (`copilot_runtime.stores.portable`).
        NoRoomError: A limit of the target is too low for all threads.
        StoreError: One of the stores is not working. What was copied so far is complete.
    """
    report = CopyReport()
    for thread in copy_each(source, target):
        report.add(thread)
    return report


def copy_each(source: RunStore, target: RunStore) -> Iterator[CopiedThread]:
    """Copies threads as `copy_threads` does, and yields each once that is done."""
    reading = _portable(source, "source", ("thread_keys", "export_thread"))
    writing = _portable(target, "target", ("import_thread",))
    cursor = None
    while True:
        page = reading.thread_keys(cursor, PAGE_SIZE)
        for _ in range(page.unreadable):
            yield CopiedThread(None, None, is_unreadable=True)
        for key in page.keys:
            copied = _copy(reading, writing, key)
            if copied is not None:
                yield copied
        cursor = page.next_cursor
        if cursor is None:
            return


def _copy(source: PortableStore, target: PortableStore, key: ThreadKey) -> CopiedThread | None:
    """Copies a thread. Returns None if it has been deleted in the meantime, or nothing was stored of it."""
    active_run = None
    try:
        thread = source.export_thread(key)
        if thread is None or not (thread.runs or thread.active):
            return None
        active_run = None if thread.active is None else thread.active.run_id
        if not thread.runs:
            return CopiedThread(key, None, active_run=active_run)
        outcome = target.import_thread(thread)
    except ThreadUnreadable:  # in either of them; the others can be copied
        return CopiedThread(key, None, active_run=active_run, is_unreadable=True)
    if not outcome.is_written:
        return CopiedThread(key, outcome, active_run=active_run)
    return CopiedThread(key, outcome, len(thread.runs), len(thread.messages), active_run)


def _portable(store: RunStore, name: str, methods: tuple[str, ...]) -> PortableStore:
    missing = [method for method in methods if not callable(getattr(store, method, None))]
    if missing:
        raise ValueError(
            f"{name}={store!r}: its threads cannot be copied without the method {missing[0]}(), "
            "see copilot_runtime.stores.portable"
        )
    return cast(PortableStore, store)
