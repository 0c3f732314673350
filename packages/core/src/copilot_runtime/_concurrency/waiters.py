"""Callbacks that wait for the next change of something."""

from __future__ import annotations

from collections.abc import Callable

from .process_local import process_rlock

Notify = Callable[[], object]

Listener = Callable[..., object]
"""Called without arguments, or with what a `Waiters` of its kind says of a change."""


_creating = process_rlock()
"""Held while what few things need is created or changed: a set takes 216 bytes, and thousands of streams may be idle.

Reentrant, for what a signal handler or the garbage collector runs meanwhile."""


class Waiters:
    """Callbacks that are called at changes, once or at each. Added and called from any thread, without a lock.

    Code that changes something calls `notify` after the change; code that waits for it adds a callback and then looks
    again, since the change may have come in between: one of the two has then seen the other.
    """

    __slots__ = ("_listening", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Notify] | None = None
        """Called once."""
        self._listening: tuple[Listener, ...] = ()
        """Called at each change. Never changed in place, so that nothing has to copy it at each."""

    @property
    def has_waiters(self) -> bool:
        """Whether there are any callbacks."""
        return bool(self._waiting or self._listening)

    def add(self, notify: Notify) -> None:
        """Has ``notify`` called at the next change, once."""
        while (waiting := self._waiting) is None:
            with _creating.get():
                if self._waiting is None:
                    self._waiting = set()
        waiting.add(notify)

    def listen(self, notify: Listener) -> None:
        """Has ``notify`` called at each change, until `discard`. It may be called once more by another thread."""
        with _creating.get():
            self._listening = (*self._listening, notify)

    def discard(self, notify: Notify) -> None:
        """Forgets a callback: nobody waits any more. It may be called all the same if the change comes meanwhile."""
        waiting = self._waiting  # once: a change on another thread leaves none
        if waiting is not None:
            waiting.discard(notify)
        if notify in self._listening:
            with _creating.get():
                self._listening = tuple([other for other in self._listening if other != notify])

    def notify(self) -> None:
        """Calls the callbacks that were added since the last change, and those that are called at each."""
        for notify in self._listening:
            notify()
        if self._waiting:
            self._notify_waiting()

    def _notify_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        # A copy, since a thread that loaded the old set may still add to it; its second look saves it.
        for notify in tuple(waiting or ()):
            notify()
