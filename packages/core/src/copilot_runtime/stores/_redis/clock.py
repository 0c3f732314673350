"""The clocks of servers, so that a server which was suspended changes nothing for which nobody waits any more."""

from __future__ import annotations

import time

from .values import MICROSECONDS


class ServerClock:
    """What a process knows of the clocks of the servers that have the shards."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}

    def note(self, shard: str, now: int) -> None:
        """Notes the time of a server, in microseconds, which has just arrived."""
        self._offsets[shard] = now - round(time.monotonic() * MICROSECONDS)

    def after(self, shard: str, seconds: float) -> int:
        """Returns the time of a shard's server after so many seconds, in microseconds; 0 if it is not known."""
        offset = self._offsets.get(shard)
        return 0 if offset is None else offset + round((time.monotonic() + seconds) * MICROSECONDS)
