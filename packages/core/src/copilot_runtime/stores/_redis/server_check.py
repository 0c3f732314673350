"""Checks what durability needs of a server, and logs what to set."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

logger = logging.getLogger("copilot_runtime.stores.redis")

_MIN_VERSION = (6, 2)

_WARNINGS: Sequence[tuple[Callable[[Mapping[str, Any], float], bool], str]] = (
    (
        lambda info, max_bytes: _version(info) < _MIN_VERSION,
        "Redis is too old: 6.2 or newer is required",
    ),
    (
        lambda info, max_bytes: not int(info.get("aof_enabled", 1)),
        "appendonly is off: acknowledged events are lost when Redis restarts. Set 'appendonly yes'",
    ),
    (
        lambda info, max_bytes: info.get("maxmemory_policy", "noeviction") != "noeviction",
        "maxmemory-policy is not noeviction: Redis may delete parts of threads. Set 'maxmemory-policy noeviction'",
    ),
    (
        lambda info, max_bytes: 0 < int(info.get("maxmemory", 0)) < (max_bytes or math.inf),
        "the store may take more than maxmemory, and then no run could begin. Set the store's max_bytes to less than "
        "maxmemory, with room for what else the server keeps",
    ),
)
"""What to look for in what INFO says, and what to log."""


def check_server(redis: Any, shown: str, max_bytes: int, *, is_cluster: bool) -> None:
    """Logs one warning for each setting that threatens what is stored.

    Args:
        redis: The client.
        shown: The address for the log.
        max_bytes: The limit of the store; 0 for none.
        is_cluster: Whether the client is one of a cluster, whose nodes are all looked at.
    """
    # Not CONFIG, which hosted servers do not allow.
    nodes = list(redis.get_primaries()) if is_cluster else [None]
    infos = [_info(redis, node) for node in nodes]
    for is_met, text in _WARNINGS:
        if any(is_met(info, max_bytes / len(infos)) for info in infos):
            logger.warning("%s: %s", shown, text)


def _version(info: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(info.get("redis_version", "6.2")).split(".")[:2] if part.isdecimal())


def _info(redis: Any, node: Any) -> Mapping[str, Any]:
    where = {} if node is None else {"target_nodes": node}
    return {
        name: value
        for section in ("server", "persistence", "memory")
        for name, value in redis.info(section, **where).items()
    }
