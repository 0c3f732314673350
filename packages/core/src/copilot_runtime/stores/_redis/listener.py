"""Notifications: one connection per process, on which the script reports changes to runs."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from .._watchers import Watchers, announce_follower
from ..protocol import RunKey
from .background import start_in_background
from .client import Client

logger = logging.getLogger("copilot_runtime.stores.redis")

PING_SECONDS = 5.0
"""After this long without a notification, the server is asked whether it is still there."""

IDLE_SECONDS = 60.0
"""After this long without anything to watch, the connection is closed."""

_MIN_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 1.0


class Listener:
    """Calls back those who watch runs. To be created once per process; it starts its thread when it is first needed.

    Args:
        client: The connections of the process.
        channel: The name of the channel on which the script reaches this process.
        announce: Tells the store that this process follows a run, so that it is notified. May wait, and raise
            StoreError.
    """

    def __init__(self, client: Client, channel: str, announce: Callable[[RunKey], object]) -> None:
        self._client = client
        self._channel = channel
        self._announce = announce
        self._to_announce: queue.Queue[tuple[RunKey, Callable[[], None]]] = queue.Queue()
        self._is_announcing = False
        self._lock = threading.Lock()
        self._watchers = Watchers()
        """By run, as notifications name it."""
        self._is_running = False
        self._listening_since: float | None = None
        self._is_failing = False

    def watch(
        self, run: RunKey, name: str, on_change: Callable[[], None], begun_at: float | None
    ) -> Callable[[], None]:
        """Calls ``on_change`` after changes to a run, until the returned function is called.

        Args:
            run: The run.
            name: The run, as notifications name it.
            on_change: What to call.
            begun_at: When this process has begun the run, by the monotonic clock; None if it has not.
        """
        stop = self._watchers.add(name, on_change)
        with self._lock:
            must_start, self._is_running = not self._is_running, True
            listening_since = self._listening_since
            must_announce = begun_at is None
            if must_announce:
                self._to_announce.put((run, on_change))
            must_start_announcing = must_announce and not self._is_announcing
            self._is_announcing = self._is_announcing or must_announce
        if must_start and not start_in_background(self._run, name="copilot-runtime-redis-listener"):
            self._is_running = False
        if must_start_announcing and not start_in_background(
            self._announce_runs, name="copilot-runtime-redis-followers"
        ):
            self._is_announcing = False
        if begun_at is not None and listening_since is not None and begun_at < listening_since:
            on_change()  # something may have happened before
        return stop

    def _announce_runs(self) -> None:
        """Announces runs until there are none for a while."""
        while True:
            try:
                run, on_change = self._to_announce.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._to_announce.empty():
                        self._is_announcing = False
                        return
                continue
            announce_follower(self._announce, run, on_change, logger)

    def _run(self) -> None:
        pause = _MIN_PAUSE_SECONDS
        while True:
            try:
                if self._listen():
                    return
                pause = _MIN_PAUSE_SECONDS
            except Exception as error:
                if not self._is_failing:
                    self._is_failing = True
                    logger.warning("listening for changes failed, retrying: %s", error)
                pause = _MIN_PAUSE_SECONDS if self._listening_since is not None else min(2 * pause, _MAX_PAUSE_SECONDS)
            self._listening_since = None
            if self._end():  # nobody needs the server, which may be away for long
                return
            time.sleep(pause)

    def _listen(self) -> bool:
        """Calls back until there is nothing to watch for a while (True). Raises what `redis` raises."""
        pubsub = self._client.pubsub()
        try:
            pubsub.subscribe(self._channel)
            idle_since = time.monotonic()
            is_awaited = True
            while True:
                message = pubsub.get_message(timeout=PING_SECONDS)
                if message is None:
                    if is_awaited:
                        raise ConnectionError("the server does not answer")
                    pubsub.ping()
                    is_awaited = True
                elif message["type"] == "subscribe":
                    is_awaited = False
                    self._start_of_listening()
                else:
                    is_awaited = False
                    if message["type"] == "message":
                        self._watchers.notify(message["data"].decode())
                if self._watchers:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > IDLE_SECONDS and self._end():
                    return True
        finally:
            pubsub.close()

    def _start_of_listening(self) -> None:
        with self._lock:
            self._listening_since = time.monotonic()
        if self._is_failing:
            self._is_failing = False
            logger.warning("listening for changes works again")
        self._watchers.notify_all()

    def _end(self) -> bool:
        """Ends listening unless somebody watches meanwhile. Returns whether it has."""
        with self._lock:
            if self._watchers:
                return False
            self._is_running = False
            self._listening_since = None
            return True


def run_name(thread: str, ordinal: int) -> str:
    """Returns how notifications name a run."""
    return f"{thread}:{ordinal}"
