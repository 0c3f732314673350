"""Notifications: one connection per process, on which the functions of the schema tell it of changes to runs."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

import psycopg

from ..._concurrency.loops import start_thread
from .._watchers import Watchers, announce_follower
from ..protocol import RunKey, StoreError
from .connections import BoundedConnection, Connections, TimedOut

logger = logging.getLogger("copilot_runtime.stores.postgres")

IDLE_SECONDS = 30.0
"""After this long without anything to watch, the connection is closed and the thread ends."""

CHECK_SECONDS = 10.0
"""How often the server is asked whether it is still there."""

MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 1.0
"""Pauses between attempts to connect."""

POLL_SECONDS = 0.1
"""How often those who watch are called back where there are no notifications."""


class Listener:
    """Calls back those who watch runs. It starts its thread when it is first needed.

    Args:
        connections: The connections of the process.
        process: The number by which the functions know this process.
        announce: Tells the store that this process follows a run, so that it is notified. May wait, and raise
            StoreError.
        is_enabled: Whether to listen. If not, or if PgBouncer or the like is in between, those who watch are called
            back all the time.
        polls: Whether they are, in that case; otherwise nobody is called back.
    """

    def __init__(
        self,
        connections: Connections,
        process: int,
        announce: Callable[[RunKey], object],
        *,
        is_enabled: bool,
        polls: bool,
    ) -> None:
        self._connections = connections
        self._process = process
        self._announce = announce
        self._is_enabled = is_enabled
        self._polls = polls
        self._lock = threading.Lock()
        self._watchers = Watchers()
        """By the keys of threads, as notifications name them."""
        self._to_announce: deque[tuple[RunKey, Callable[[], None]]] = deque()
        self._is_running = False
        self._listening_since: float | None = None
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._was_reported = False
        self._is_closed = False

    def close(self) -> None:
        """Calls nobody back any more, and ends the thread soon."""
        self._is_closed = True
        self._wake()

    def __del__(self) -> None:
        for descriptor in (self._wake_reader, self._wake_writer):
            os.close(descriptor)

    def watch(
        self, run: RunKey, key: bytes, on_change: Callable[[], None], begun_at: float | None
    ) -> Callable[[], None]:
        """Calls ``on_change`` after changes to a run, until the returned function is called.

        Args:
            run: The run.
            key: The key of its thread.
            on_change: What to call.
            begun_at: When this process has begun the run, by the monotonic clock; None if it has not.
        """
        stop = self._watchers.add(key.hex(), on_change)
        with self._lock:
            must_start, self._is_running = not self._is_running, True
            listening_since = self._listening_since
            if begun_at is None:
                self._to_announce.append((run, on_change))
        if must_start:
            try:
                start_thread(self._run, name="copilot-runtime-postgres-listener")
            except RuntimeError:  # none can be started now; the next one who watches tries again
                self._is_running = False
        elif begun_at is None:
            self._wake()
        elif listening_since is not None and begun_at < listening_since:
            on_change()  # something may have happened before
        return stop

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"\0")
        except BlockingIOError:
            pass  # it is about to wake

    def _run(self) -> None:
        pause = MIN_PAUSE_SECONDS
        while True:
            try:
                if self._listen():
                    return
                pause = MIN_PAUSE_SECONDS
            except (StoreError, TimedOut, psycopg.Error, OSError) as error:
                if self._is_closed:
                    return
                if not self._was_reported:
                    self._was_reported = True
                    logger.warning(
                        "listening for changes failed, retrying: %s", " ".join(str(error).split()) or "no answer"
                    )
                pause = MIN_PAUSE_SECONDS if self._listening_since is not None else min(2 * pause, MAX_PAUSE_SECONDS)
            except Exception:
                logger.exception("listening for changes failed, retrying")
            self._listening_since = None
            if self._end():  # nobody needs the server, which may be away for long
                return
            time.sleep(pause)

    def _listen(self) -> bool:
        """Calls back until there is nothing to watch for a while (True)."""
        db: BoundedConnection | None = None
        try:
            db = self._connections.connect()
            if not self._is_enabled or db.is_pooled:
                if self._is_enabled:
                    logger.warning(
                        "%s is behind a pooler such as PgBouncer, which passes on no notifications: what other "
                        "processes do is seen by polling",
                        self._connections.where,
                    )
                db.close()
                db = None
            else:
                db.execute(f"LISTEN copilot_runtime_{self._process}")
            with self._lock:
                self._listening_since = time.monotonic()
            self._was_reported = False
            self._watchers.notify_all()
            return self._serve(db)
        finally:
            if db is not None:
                db.close()

    def _serve(self, db: BoundedConnection | None) -> bool:
        idle_since = checked_at = time.monotonic()
        while True:
            self._announce_runs()
            now = time.monotonic()
            if self._is_closed:
                return True
            if self._watchers:
                idle_since = now
            elif now - idle_since > IDLE_SECONDS and self._end():
                return True
            if db is None:
                self._wait([], POLL_SECONDS if self._polls else 1.0)
                if self._polls:
                    self._watchers.notify_all()
                continue
            self._wait([db.pgconn.socket], 1.0)
            db.pgconn.consume_input()
            while (notification := db.pgconn.notifies()) is not None:
                for key in notification.extra.decode().split(","):
                    self._watchers.notify(key)
            if now - checked_at > CHECK_SECONDS:
                checked_at = now
                db.deadline = now + self._connections.timeout_seconds
                db.execute("SELECT 1")

    def _wait(self, sockets: list[int], seconds: float) -> None:
        """Waits until one of the sockets has something, or a run is to be announced."""
        poll = select.poll()  # unlike `select.select`, also for a server with more than 1,024 files and connections
        for file in (*sockets, self._wake_reader):
            poll.register(file, select.POLLIN)
        if any(file == self._wake_reader for file, _ in poll.poll(1000 * seconds)):
            os.read(self._wake_reader, 4096)

    def _announce_runs(self) -> None:
        while self._to_announce:
            run, on_change = self._to_announce.popleft()
            announce_follower(self._announce, run, on_change, logger)

    def _end(self) -> bool:
        """Ends listening unless somebody watches meanwhile. Returns whether it has."""
        with self._lock:
            if self._watchers:
                return False
            self._to_announce.clear()  # what is left of those who watch no more
            self._is_running = False
            self._listening_since = None
            return True
