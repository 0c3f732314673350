"""How long calls of a store wait for their turn: hundreds of them must not wait for a store that does not answer."""

from __future__ import annotations

import time

from ..stores.protocol import StoreError, ThreadUnreadable

MAX_WAIT_SECONDS = 5.0
"""How long a call may wait for a thread, or for the call before it."""

MAX_WAIT_WHILE_FAILING_SECONDS = 0.5
"""The same while no call succeeds. The first ones then wait until the store gives up, and all others with them: each of
them would otherwise wait for that itself, one after the other."""


class TurnMissed(StoreError):
    """The store was not called at all: the calls before have taken too long."""


class StoreQueue:
    """Refuses calls that have waited for too long. Used on any thread."""

    __slots__ = ("_is_failing",)

    def __init__(self) -> None:
        self._is_failing = False
        """Whether the last call that has ended has failed."""

    def succeeded(self) -> None:
        """Records that a call has succeeded."""
        self._is_failing = False

    def failed(self, error: BaseException) -> None:
        """Records that a call has raised an exception."""
        self._is_failing = isinstance(error, StoreError) and not isinstance(error, ThreadUnreadable)

    def check(self, waiting_since: float) -> TurnMissed | None:
        """Returns the error of a call that has waited for too long since then, by the monotonic clock; None if not."""
        limit = MAX_WAIT_WHILE_FAILING_SECONDS if self._is_failing else MAX_WAIT_SECONDS
        if time.monotonic() - waiting_since <= limit:
            return None
        return TurnMissed(f"the calls before this one have kept the store busy for more than {limit:g} seconds")
