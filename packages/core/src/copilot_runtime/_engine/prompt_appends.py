"""Appends the events of runs that another process follows as they come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from .._concurrency import loops
from .run_writer import RunWriter


class PromptAppends:
    """Appends on a thread of its own, one call of the store at a time: what comes meanwhile goes into the next.

    Args:
        append: Stores what runs have emitted so far. Called on the thread.
    """

    def __init__(self, append: Callable[[Sequence[RunWriter]], None]) -> None:
        self._append = append
        self._waiting: deque[RunWriter] = deque()
        self._has_waiting = threading.Event()

    def start(self) -> None:
        """Starts the thread. To be called once."""
        loops.start_thread(self._run, name="copilot-runtime-appends")

    def add(self, writer: RunWriter) -> None:
        """Stores soon what a run has emitted, from any thread."""
        self._waiting.append(writer)
        if not self._has_waiting.is_set():
            self._has_waiting.set()

    def _run(self) -> None:
        while True:
            self._has_waiting.wait()
            self._has_waiting.clear()
            self._append_waiting()

    def _append_waiting(self) -> None:
        waiting = list(dict.fromkeys([self._waiting.popleft() for _ in range(len(self._waiting))]))
        for writer in waiting:
            writer.begin_flush()
        self._append(waiting)
