"""Who is called back after changes to runs that other processes make."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .protocol import RunKey, StoreError


def announce_follower(
    announce: Callable[[RunKey], object], run: RunKey, on_change: Callable[[], None], logger: logging.Logger
) -> None:
    """Tells a store that this process follows a run, and calls back, as something may have happened before."""
    try:
        announce(run)
    except StoreError:
        logger.debug("a run could not be announced as followed; reading it will do that", exc_info=True)
    on_change()


class Watchers:
    """Callbacks by the names that notifications have for runs or threads. Used on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[str, dict[object, Callable[[], None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, name: str, on_change: Callable[[], None]) -> Callable[[], None]:
        """Adds a callback. Returns a function that removes it."""
        watcher = object()
        with self._lock:
            self._callbacks.setdefault(name, {})[watcher] = on_change

        def remove() -> None:
            with self._lock:
                watchers = self._callbacks.get(name, {})
                watchers.pop(watcher, None)
                if not watchers:
                    self._callbacks.pop(name, None)

        return remove

    def notify(self, name: str) -> None:
        """Calls the callbacks of a name."""
        with self._lock:
            callbacks = list(self._callbacks.get(name, {}).values())
        for callback in callbacks:
            callback()

    def notify_all(self) -> None:
        """Calls all callbacks."""
        with self._lock:
            callbacks = [callback for watchers in self._callbacks.values() for callback in watchers.values()]
        for callback in callbacks:
            callback()
