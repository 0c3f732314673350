"""The limits of a PostgreSQL store, and what a process knows of how much room they leave."""

from __future__ import annotations

import dataclasses
import time
from typing import ClassVar

from .._limits import StoreLimits

SHARE = 16
"""A process uses up to this part of the room that it has seen before it looks again: others write as well."""

MAX_AGE_SECONDS = 10.0
"""How long what was seen counts."""

MAX_UNCOUNTED_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits(StoreLimits):
    """The limits of a PostgreSQL store."""

    store: ClassVar[str] = "PostgresStore"

    @property
    def max_uncounted(self) -> int:
        """How many bytes of an active run need not be counted among its thread's yet."""
        return min(MAX_UNCOUNTED_BYTES, self.max_bytes // 1000) if self.max_bytes else MAX_UNCOUNTED_BYTES


class Room:
    """How much a process may write before it has to look at the limits again. Not exact: threads do not wait for it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = self._threads = 0.0
        self._seen_at = float("-inf")

    def found(self, threads_left: int, bytes_left: int) -> None:
        """Notes how many threads and bytes there is room for."""
        self._threads, self._bytes = threads_left / SHARE, bytes_left / SHARE
        self._seen_at = time.monotonic()

    def take(self, *, size: int = 0, threads: int = 0) -> bool:
        """Notes that bytes and threads were added. Returns whether the limits need not be looked at."""
        self._bytes -= size
        self._threads -= threads
        if not self._limits.max_threads and not self._limits.max_bytes:
            return True
        return (
            (not self._limits.max_threads or self._threads >= 0)
            and (not self._limits.max_bytes or self._bytes >= 0)
            and time.monotonic() < self._seen_at + MAX_AGE_SECONDS
        )
