"""Callbacks that wait for the next change of something."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .process_local import process_rlock

Notify = Callable[[], object]

Listener = Callable[..., object]
"""Called without arguments, or with what a `Waiters` of its kind says of a change."""


_creating = process_rlock()
"""Held while what few things need is created or changed: a set takes 216 bytes, and thousands of streams may be idle.

Reentrant, for what a signal handler or the garbage collector runs meanwhile."""


class _Listeners:
    """Several listeners in place of one. Never changed, so that nothing has to copy them at each change."""

    __slots__ = ("all",)

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.all = listeners

    def __call__(self, *_change: object) -> None:
        """Says only that there was a change: a later one, which one of them causes, may reach the others first."""
        for notify in self.all:
            notify()


def _split(listener: Listener | None) -> Sequence[Listener]:
    if listener is None:
        return ()
    return listener.all if type(listener) is _Listeners else (listener,)


def _join(listeners: Sequence[Listener]) -> Listener | None:
    if len(listeners) > 1:
        return _Listeners(listeners)
    return listeners[0] if listeners else None


class Waiters:
    """Callbacks that are called at changes, once or at each. Added and called from any thread, without a lock.

    Code that changes something calls `notify` after the change; code that waits for it adds a callback and then looks
    again, since the change may have come in between: one of the two has then seen the other.
    """

    __slots__ = ("_listener", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Notify] | None = None
        """Called once."""
        self._listener: Listener | None = None
        """Called at each change: `_Listeners` if they are several."""

    @property
    def has_waiters(self) -> bool:
        """Whether there are any callbacks."""
        return bool(self._waiting) or self._listener is not None

    def add(self, notify: Notify) -> None:
        """Has ``notify`` called at the next change, once."""
        while (waiting := self._waiting) is None:
            with _creating.get():
                if self._waiting is None:
                    self._waiting = set()
        waiting.add(notify)

    def listen(self, notify: Listener) -> None:
        """Has ``notify`` called at each change, until `discard`. It may be called once more by another thread."""
        self._change_listeners(lambda listeners: (*listeners, notify))

    def discard(self, notify: Notify) -> None:
        """Forgets a callback: nobody waits any more. It may be called all the same if the change comes meanwhile."""
        waiting = self._waiting  # once: a change on another thread leaves none
        if waiting is not None:
            waiting.discard(notify)
        if self._listener is not None:
            self._change_listeners(lambda listeners: [other for other in listeners if other != notify])

    def _change_listeners(self, change: Callable[[Sequence[Listener]], Sequence[Listener]]) -> None:
        with _creating.get():
            while True:
                before = self._listener
                after = _join(change(_split(before)))
                if self._listener is before:  # and not changed by what the garbage collector has closed meanwhile
                    self._listener = after
                    return

    def notify(self) -> None:
        """Calls the callbacks that were added since the last change, and those that are called at each."""
        listener = self._listener
        if listener is not None:
            listener()
        if self._waiting:
            self._notify_waiting()

    def _notify_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        # A copy, since a thread that loaded the old set may still add to it; its second look saves it.
        for notify in tuple(waiting or ()):
            notify()
