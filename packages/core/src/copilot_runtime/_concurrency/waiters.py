"""Callbacks that wait for the next change of something."""

from __future__ import annotations

from collections.abc import Callable

Notify = Callable[[], object]


class Waiters:
    """One-shot callbacks, added and called from any thread, without a lock.

    Code that changes something calls `notify` after the change; code that waits for it adds a callback and then looks
    again, since the change may have come in between: one of the two has then seen the other.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: set[Notify] = set()

    @property
    def has_waiters(self) -> bool:
        """Whether anything waits for the next change."""
        return bool(self._waiting)

    def add(self, notify: Notify) -> None:
        """Has ``notify`` called at the next change, once."""
        self._waiting.add(notify)

    def discard(self, notify: Notify) -> None:
        """Forgets a callback: nobody waits any more. It may be called all the same if the change comes meanwhile."""
        self._waiting.discard(notify)

    def notify(self) -> None:
        """Calls all callbacks that were added since the last change."""
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            # A copy, since a thread that loaded the old set may still add to it; its second look saves it.
            for notify in tuple(waiting):
                notify()
