"""What a stream is read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class StreamSource(Protocol):
    """What a stream is read from. Safe to use from any thread, by one reader at a time."""

    @property
    def is_at_end(self) -> bool:
        """Whether `read_available` has returned the last bytes; may be False although it has."""

    @property
    def is_starting(self) -> bool:
        """Whether it is about to be known if anything is ready at once. Waiters are notified when it is."""

    def read_available(self) -> bytes | None:
        """Returns bytes that are ready, joined; ``b""`` if none are, and None at the end."""

    def read_whole(self) -> bytes | None:
        """Reads all of a stream that is over and is one chunk. Returns None, having read nothing, if it may not be."""

    def add_waiter(self, notify: Callable[[], object], *, is_brief: bool = False, is_lasting: bool = False) -> bool:
        """Has ``notify`` called once there is something to read.

        Returns False if there is something already: then ``notify`` may never be called. ``is_brief`` is whether the
        wait has a limit of its own, so that nothing needs to look after the stream meanwhile. ``is_lasting`` is whether
        ``notify`` may be called at any later change, too: it is added once then, and is the same in all further calls.
        It is called with what has come, as one chunk, and with how many pieces have come in all, or without arguments
        if that is not all, or not to be sent as it is.
        """

    @property
    def is_pushed(self) -> bool:
        """Whether a lasting waiter may send what it is called with itself, on its event loop, until it has to wait."""

    def mark_pushed(self, count: int) -> None:
        """Says that it has done so until ``count`` pieces had come. To be called before the source is read again."""

    def read_more(self) -> bytes | None:
        """Returns what has come to a lasting waiter that need not be added again: it goes on waiting for what follows.

        None if it has to be added again after `read_available`. To be called only when the waiter has been notified.
        """

    def mark_sending(self) -> None:
        """Says that what `read_more` has returned, or was pushed, is still being sent: see `on_stalled`."""

    def mark_sent(self) -> None:
        """Says that it has been sent."""

    def on_stalled(self, abort: Callable[[], object]) -> None:
        """Has ``abort`` called, from any thread, if what is being sent from now on is not sent in time.

        The source has been closed already then. Sending is looked at regularly from now on, which has its cost.
        """

    def cut(self) -> None:
        """Ends the stream with an error as soon as nothing is ready: the server cannot send it any longer."""

    def close(self) -> None:
        """Called when the stream is no longer read; may be called more than once."""
