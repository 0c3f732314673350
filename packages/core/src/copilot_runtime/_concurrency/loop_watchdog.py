"""Logs where an event loop is stuck: a loop that is blocked can log nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Hashable

from . import loops
from .process_local import ProcessLocal
from .wake import wake_relay

logger = logging.getLogger("copilot_runtime.loops")

CHECK_SECONDS = 1.0
"""How often a loop is checked."""

STUCK_CHECKS = 5
"""How many checks in a row a loop may miss until it counts as stuck."""

STACK_FRAMES = 15
"""How many of the innermost frames are logged."""


class LoopWatchdog:
    """Checks event loops on a thread of its own, as long as they have members, such as active runs."""

    def __init__(self) -> None:
        # Weak, since a loop that stops just after its last run has ended may be dropped before it forgets its members.
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _WatchedLoop] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._has_loops = threading.Event()

    def start(self) -> None:
        """Starts the thread. To be called once."""
        loops.start_thread(self._run, name="copilot-runtime-watchdog")

    def add(self, member: Hashable, loop: asyncio.AbstractEventLoop) -> None:
        """Watches a loop until `discard`."""
        with self._lock:
            watched = self._loops.get(loop)
            if watched is None:
                watched = self._loops[loop] = _WatchedLoop()
                watched.check(loop)
                self._has_loops.set()
            watched.members.add(member)

    def discard(self, member: Hashable, loop: asyncio.AbstractEventLoop) -> None:
        """Forgets a member, if it is one."""
        with self._lock:
            if (watched := self._loops.get(loop)) is not None:
                watched.members.discard(member)

    def _run(self) -> None:
        while True:
            self._has_loops.wait()
            self._has_loops.clear()
            while self._loops:
                time.sleep(CHECK_SECONDS)
                self.check()

    def check(self) -> None:
        """Checks all open loops that have members, and forgets the others."""
        # What the background loop has for threads would wait for as long as something blocks it.
        wake_relay.get().pass_on()
        with self._lock:
            for loop, watched in list(self._loops.items()):
                if not watched.members or loop.is_closed():
                    del self._loops[loop]
            remaining = list(self._loops.items())
        for loop, watched in remaining:
            watched.check(loop)


class _WatchedLoop:
    """Counts checks and not seconds: while the process or its machine stands still, there are none."""

    def __init__(self) -> None:
        self.members: set[Hashable] = set()
        self._thread: int | None = None
        self._has_answered = True
        self._missed = 0

    def check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reports the loop once if it has missed `STUCK_CHECKS`, and otherwise has it answer until the next check."""
        if self._has_answered:
            self._has_answered, self._missed = False, 0
            loops.call_soon_threadsafe(loop, self._answer)
        elif loop.is_running():  # one that is not running may be run again, and blocks nobody
            self._missed += 1
            if self._missed == STUCK_CHECKS:
                self._report()

    def _answer(self) -> None:
        self._thread = threading.get_ident()
        self._has_answered = True
        if self._missed >= STUCK_CHECKS:
            logger.warning("an event loop runs again that was stuck for at least %.0f s", self._missed * CHECK_SECONDS)

    def _report(self) -> None:
        # None under gevent, whose greenlets have no stack here, and for a loop that has never answered.
        frame = None if self._thread is None else sys._current_frames().get(self._thread)
        stack = [] if frame is None else traceback.extract_stack(frame, STACK_FRAMES)
        place = f" in {stack[-1].name} ({stack[-1].filename}:{stack[-1].lineno})" if stack else ""
        if logger.isEnabledFor(logging.WARNING):
            # With the stack of the loop's thread in place of this one's.
            lines = (
                f"Stack (most recent call last):\n{''.join(traceback.format_list(stack)).rstrip()}" if stack else None
            )
            arguments = (self._missed * CHECK_SECONDS, place)
            logger.handle(
                logger.makeRecord(logger.name, logging.WARNING, __file__, 0, _STUCK, arguments, None, sinfo=lines)
            )


_STUCK = (
    "an event loop has been stuck for %.0f s%s, and with it all its requests and runs: call what blocks with "
    "await asyncio.to_thread(...), or make the agent a synchronous generator (def instead of async def), which runs "
    "on its own thread"
)

_watchdog = ProcessLocal(LoopWatchdog, LoopWatchdog.start)


def watch_loop(member: Hashable, loop: asyncio.AbstractEventLoop) -> None:
    """Has the process's watchdog, which is started on first use, watch a loop until `unwatch_loop`."""
    with contextlib.suppress(RuntimeError):  # no thread can be started, but whatever runs on the loop can do without
        _watchdog.get().add(member, loop)


def unwatch_loop(member: Hashable, loop: asyncio.AbstractEventLoop) -> None:
    """Forgets a member, if it is one."""
    if (watchdog := _watchdog.get_existing()) is not None:
        watchdog.discard(member, loop)
