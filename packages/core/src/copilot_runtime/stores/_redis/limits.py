"""The limits of a Redis store. In a cluster each shard learns from its callers what the others hold."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence
from typing import ClassVar

from .._limits import StoreLimits
from ..protocol import StoreError
from .background import start_in_background
from .client import Client

REFRESH_SECONDS = 1.0
"""How old what a process knows of other shards may be."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits(StoreLimits):
    """The limits of a Redis store."""

    store: ClassVar[str] = "RedisStore"

    def __str__(self) -> str:
        """Returns the limits as the script parses them."""
        max_age = round(self.max_age_seconds * 1_000_000)
        return f"{self.max_threads} {self.max_runs_per_thread} {self.max_bytes} {max_age}"


class ShardTotals:
    """What a process knows of how much each shard holds, since the limits are those of all shards together.

    Args:
        shards: The names of the shards.
        limits: The limits of the store.
    """

    def __init__(self, shards: Sequence[str], limits: Limits) -> None:
        self._limits = limits
        self._limits_text = str(limits)
        self._shards = shards
        self._totals: dict[str, tuple[int, int, int]] = dict.fromkeys(shards, (0, 0, 0))
        self._refresh_at = 0.0

    def parameters(self, shard: str) -> str:
        """Returns what the script needs to know on a shard."""
        others = [total for name, total in self._totals.items() if name != shard]
        threads, size, owners = map(sum, zip(*others, strict=True)) if others else (0, 0, 0)
        return f"{self._limits_text} {threads} {size} {owners}"

    def refresh_soon(self, client: Client) -> None:
        """Asks all shards of a cluster from time to time what they hold. Does not wait for the answers."""
        if (
            len(self._shards) < 2
            or not (self._limits.max_threads or self._limits.max_bytes)
            or time.monotonic() < self._refresh_at
        ):
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
        return 0 < self._limits.max_threads < threads or 0 < self._limits.max_bytes < size

    def _part_of_limits(self, shard: str) -> float:
        threads, size, _ = self._totals[shard]
        return max(threads / (self._limits.max_threads or math.inf), size / (self._limits.max_bytes or math.inf))
