"""What one process has of a Redis store."""

from __future__ import annotations

from collections.abc import Callable

from ..._events import CompactedFrames
from .. import protocol as p
from .._sql.shared_frames import SharedFrames, SharedList
from .client import Client
from .listener import Listener

_MAX_UNSURE = 10_000


class ProcessState:
    """What one process has of a store.

    Args:
        client: Its connections.
        channel: The channel on which the script reaches it.
        announce: As for `Listener`.
    """

    def __init__(self, client: Client, channel: str, announce: Callable[[p.RunKey], object]) -> None:
        self.client = client
        self.channel = channel
        self.listener = Listener(client, channel, announce)
        self.begun: dict[p.RunKey, float] = {}
        """When this process has begun its active runs, by the monotonic clock."""
        self.records: SharedFrames[CompactedFrames] = SharedFrames()
        self.raw: SharedFrames[SharedList[bytes]] = SharedFrames()
        self.next_sweep = 0.0
        """When to look for threads that have expired, by the monotonic clock."""
        self.unsure: set[int] = set()
        """The tokens of runs whose end may have been stored although the call failed."""

    def note_unsure(self, token: int) -> None:
        """Remembers that the end of a run may have been stored."""
        if len(self.unsure) >= _MAX_UNSURE:  # of runs that nobody tried to end again
            self.unsure.clear()
        self.unsure.add(token)
