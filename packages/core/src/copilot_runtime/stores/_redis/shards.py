"""Which keys a thread has. All keys of a shard have one hash tag, so that a script may use them in a cluster."""

from __future__ import annotations

import dataclasses
import re
from hashlib import blake2b

from ..protocol import ThreadKey

CLUSTER_SHARDS = 16
"""How many shards there are in a cluster: each is on one node. Processes of one store must agree on it."""

_SLOTS = 16384

_VALID_PREFIX = re.compile(r"[^\s{}]+")


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadPlace:
    """Where a thread is: its shard, and the digests by which that knows the thread and its owner."""

    shard: str
    thread: str
    owner: str


class Shards:
    """The shards of a store.

    A server has one. A cluster has several, and the threads of an owner are in one of them. Without identified users
    all threads belong to one owner, whose threads are spread.

    Args:
        prefix: What all keys begin with.
        count: How many shards there are.
    """

    def __init__(self, prefix: str, count: int) -> None:
        if not _VALID_PREFIX.fullmatch(prefix):
            raise ValueError(f"RedisStore(prefix={prefix!r}): must not be empty, nor have spaces or braces")
        self.names: tuple[str, ...] = (f"{{{prefix}}}",) if count == 1 else _spread(prefix, count)

    def place(self, key: ThreadKey) -> ThreadPlace:
        """Returns where a thread is."""
        owner, thread_id = _encode(key.owner), _encode(key.thread_id)
        thread = blake2b(b"%d %b%b" % (len(owner), owner, thread_id), digest_size=16).hexdigest()
        digest = owner_digest(key.owner)
        return ThreadPlace(self._shard(digest if key.owner else thread), thread, digest)

    def of_owner(self, owner: str) -> tuple[str, ...]:
        """Returns the shards that may have threads of an owner."""
        return (self._shard(owner_digest(owner)),) if owner else self.names

    def _shard(self, digest: str) -> str:
        return self.names[int(digest[:8], 16) % len(self.names)]


def owner_digest(owner: str) -> str:
    """Returns what keys have in place of an owner, whose name may be long."""
    return blake2b(_encode(owner), digest_size=16).hexdigest()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _spread(prefix: str, count: int) -> tuple[str, ...]:
    """Returns names of shards that are spread evenly over the slots, and so over the nodes, of a cluster."""
    from redis.crc import key_slot

    names: dict[int, str] = {}
    number = 0
    while len(names) < count:
        name = f"{{{prefix}.{number}}}"
        names.setdefault(key_slot(name.encode()) * count // _SLOTS, name)
        number += 1
    return tuple(names[part] for part in range(count))
