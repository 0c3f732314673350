"""The limits of a Redis store. In a cluster each shard knows by its callers what the others hold."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence

from ..._validation import check_number
from ..protocol import StoreError
from .background import start_in_background
from .client import Client

REFRESH_SECONDS = 1.0
"""How old what a process knows of other shards may be."""


class Limits:
    """The limits of a store; 0 means no limit. Raises ValueError for one that is invalid.

    Args:
        shards: The names of the shards.
        max_threads: How many threads to keep.
        max_runs_per_thread: How many runs of each thread to keep.
        max_age_seconds: How long to keep threads that are not used.
        max_bytes: How much memory of the servers threads may take.
    """

    def __init__(
        self,
        shards: Sequence[str],
        *,
        max_threads: int,
        max_runs_per_thread: int,
        max_age_seconds: float,
        max_bytes: int,
    ) -> None:
        check_number("RedisStore: max_threads", max_threads, integer=True)
        check_number("RedisStore: max_runs_per_thread", max_runs_per_thread, integer=True)
        check_number("RedisStore: max_bytes", max_bytes, integer=True)
        check_number("RedisStore: max_age_seconds", max_age_seconds)
        self.max_threads = max_threads
        self.max_bytes = max_bytes
        self.max_runs_per_thread = max_runs_per_thread
        self._own = f"{max_threads} {max_runs_per_thread} {max_bytes} {round(max_age_seconds * 1_000_000)}"
        self._shards = shards
        self._totals: dict[str, tuple[int, int, int]] = dict.fromkeys(shards, (0, 0, 0))
        self._refresh_at = 0.0

    def parameters(self, shard: str) -> str:
        """Returns what the script needs to know on a shard."""
        others = [total for name, total in self._totals.items() if name != shard]
        threads, size, owners = map(sum, zip(*others, strict=True)) if others else (0, 0, 0)
        return f"{self._own} {threads} {size} {owners}"

    def refresh_soon(self, client: Client) -> None:
        """Asks all shards of a cluster from time to time what they hold. Does not wait for the answers."""
        if len(self._shards) < 2 or not (self.max_threads or self.max_bytes) or time.monotonic() < self._refresh_at:
            return
        self._refresh_at = math.inf  # until this one is done
        if not start_in_background(self._refresh, client, name="copilot-runtime-redis-totals"):
            self._refresh_at = 0.0

    def _refresh(self, client: Client) -> None:
        calls = [(shard, "totals", ()) for shard in self._shards]
        try:
            for shard, result in zip(self._shards, client.call_many(calls), strict=True):
                if not isinstance(result, Exception):
                    self._totals[shard] = (int(result[0]), int(result[1]), int(result[2]))
        finally:
            self._refresh_at = time.monotonic() + REFRESH_SECONDS

    def after_fork(self) -> None:
        """Asks again soon: the thread that did exists only in the parent."""
        self._refresh_at = 0.0

    def evict(self, client: Client, thread: str) -> int:
        """Deletes threads other than ``thread`` in all shards, first of owners above their share. Returns how many."""
        evicted = 0
        for is_strict in (1, 0):
            left = set(self._shards)
            while left:
                self._refresh(client)
                if not self._is_exceeded():
                    return evicted
                # Most likely the one that has the most.
                shard = max(left, key=self._part_of_limits)
                left.remove(shard)
                with contextlib.suppress(StoreError):
                    evicted += int(client.call(shard, "evict", is_strict, thread))
        return evicted

    def _is_exceeded(self) -> bool:
        threads, size, _ = map(sum, zip(*self._totals.values(), strict=True))
        return 0 < self.max_threads < threads or 0 < self.max_bytes < size

    def _part_of_limits(self, shard: str) -> float:
        threads, size, _ = self._totals[shard]
        return max(threads / (self.max_threads or math.inf), size / (self.max_bytes or math.inf))
