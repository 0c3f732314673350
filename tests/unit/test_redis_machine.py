"""Any operations on a Redis store, in any order: what it counts is what it has."""

from __future__ import annotations

import re
from typing import Any

import redis
from hypothesis import settings

from copilot_runtime.stores import RedisStore
from copilot_runtime.stores._redis import store as redis_module
from copilot_runtime.stores._redis.scripts import script

from ..services.redis import new_prefix, shared_redis
from ..shared_stores import repetitions
from .test_store_machine import SETTINGS, Machine


def constants() -> dict[str, int]:
    """Returns what the script counts for things besides their texts."""
    names, numbers = re.findall(r"^local ((?:\w+_BYTES, )+\w+_BYTES) = ([\d, ]+)$", script(), re.MULTILINE)[0]
    return dict(zip(names.split(", "), map(int, numbers.split(", ")), strict=True))


class RedisStoreMachine(Machine):
    modules = (redis_module,)
    store: RedisStore

    def open(self, **limits: int) -> None:
        self.client: Any = redis.Redis(port=shared_redis().port)
        self.prefix = new_prefix()
        self.shard = f"{{{self.prefix}}}"
        self.sizes_of = constants()
        url = f"redis://127.0.0.1:{shared_redis().port}"
        self.store = RedisStore(url, prefix=self.prefix, lease_seconds=1e6, **limits)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "client"):
            if keys := self.client.keys(f"{self.shard}*"):
                self.client.delete(*keys)
            self.client.close()

    def keys(self, kind: str) -> list[str]:
        return [key.decode().rpartition(f":{kind}:")[2] for key in self.client.keys(f"{self.shard}:{kind}:*")]

    def frames_bytes(self, name: str) -> int:
        entries = [entry.partition(b" ")[2] for entry in self.client.lrange(name, 0, -1)]
        return sum(len(frames) + self.sizes_of["FRAMES_BYTES"] for frames in entries)

    def recompute(self, thread: str) -> int:
        """Returns the size of a thread, from its keys."""
        sizes = self.sizes_of
        fields = self.client.hgetall(f"{self.shard}:t:{thread}")
        size = sizes["THREAD_BYTES"] + 2 * (len(fields[b"owner_text"]) + len(fields[b"thread_text"]))
        for name, value in self.client.hgetall(f"{self.shard}:r:{thread}").items():
            size += len(value) + (sizes["RUN_BYTES"] if name.startswith(b"h") else 0)
        for message in self.client.lrange(f"{self.shard}:m:{thread}", 0, -1):
            size += len(message) + sizes["MESSAGE_BYTES"]
        for kind in "ei":
            for message_id in self.client.zrange(f"{self.shard}:{kind}:{thread}", 0, -1):
                size += len(message_id) + sizes["ID_BYTES"]
        for entry in fields.get(b"raw", b"").decode().split():
            ordinal, counted, _ = entry.split(":")
            assert int(counted) == self.frames_bytes(f"{self.shard}:f:{thread}:{ordinal}")
            size += int(counted)
        live = self.client.hgetall(f"{self.shard}:l:{thread}")
        if live:
            frames = self.frames_bytes(f"{self.shard}:f:{thread}:{live[b'ordinal'].decode()}")
            assert int(live[b"bytes"]) == frames + sizes["LIVE_BYTES"]
            size += int(live[b"bytes"])
        return size

    def check(self) -> None:
        by_owner: dict[bytes, list[int]] = {}
        threads = self.keys("t")
        active = self.keys("l")
        for thread in threads:
            fields = self.client.hgetall(f"{self.shard}:t:{thread}")
            assert int(fields[b"bytes"]) == self.recompute(thread)
            by_owner.setdefault(fields[b"owner"], []).append(int(fields[b"bytes"]))
            runs = self.client.hlen(f"{self.shard}:r:{thread}") / 2
            assert int(fields[b"runs"]) == runs
            assert not self.limits[1] or runs <= self.limits[1]
            assert runs or thread in active
        totals = self.client.hgetall(self.shard)
        assert int(totals.get(b"threads", 0)) == len(threads)
        assert int(totals.get(b"bytes", 0)) == sum(map(sum, by_owner.values()))
        for name, measure in (("threads", len), ("bytes", sum)):
            stored = self.client.zrange(f"{self.shard}:{name}", 0, -1, withscores=True)
            assert dict(stored) == {owner: measure(sizes) for owner, sizes in by_owner.items()}  # type: ignore[operator]
        assert sorted(active) == sorted(set(active) & set(threads))
        assert len(active) == len(self.valid)
        idle = {thread.encode() for thread in threads} - {thread.encode() for thread in active}
        assert set(self.client.zrange(f"{self.shard}:idle", 0, -1)) == idle
        assert sum(self.client.zcard(f"{self.shard}:idle:{owner.decode()}") for owner in by_owner) == len(idle)
        assert sum(self.client.zcard(f"{self.shard}:all:{owner.decode()}") for owner in by_owner) == len(threads)
        for kind in ("r", "m", "e", "i", "f"):
            assert {name.partition(":")[0] for name in self.keys(kind)} <= set(threads), kind
        assert {name.partition(b":")[0].decode() for name in self.client.zrange(f"{self.shard}:raw", 0, -1)} <= set(
            threads
        )
        if not active:
            assert not self.limits[0] or len(threads) <= self.limits[0]
            assert not self.limits[2] or len(threads) < 2 or int(totals[b"bytes"]) <= self.limits[2]


TestRedisStoreMachine = RedisStoreMachine.TestCase
TestRedisStoreMachine.settings = settings(SETTINGS, max_examples=repetitions(10, 200))
