"""Lists of the threads of an owner."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .. import protocol as p
from .._pagination import next_cursor, parse_cursor
from . import values
from .shards import owner_digest

logger = logging.getLogger("copilot_runtime.stores.redis")

BATCH = 500
"""How many threads to look at with one call, during which nobody else is served."""


def list_threads(call: Callable[..., Any], shards: Sequence[str], owner: str, query: p.ThreadQuery) -> p.ThreadPage:
    """Returns a page of a list.

    Args:
        call: Calls an operation of the script on a shard.
        shards: Those that may have threads of the owner.
        owner: The owner.
        query: What to list.
    """
    before: int | None = None
    if query.cursor is not None:
        # No two threads of an owner in a shard have the same time.
        before = round(parse_cursor(query.cursor)[0] * values.MICROSECONDS)
    # In a cluster, another shard may have a thread with the time of the cursor.
    start = "+inf" if before is None else f"{'' if len(shards) > 1 else '('}{before}"
    # The last thread of the page before is found again in its shard.
    again = int(query.cursor is not None and len(shards) > 1)
    wanted = None if query.limit is None else query.limit + 1 + again
    found: list[p.ThreadInfo] = []
    for shard in shards:
        found += _select(call, shard, owner, query, start, wanted)
    if len(shards) > 1:
        found.sort(key=lambda info: (-info.updated_at, info.thread_id))
        if query.cursor is not None:
            last = parse_cursor(query.cursor)
            found = [info for info in found if (-info.updated_at, info.thread_id) > (-last[0], last[1])]
    if query.limit is None or len(found) <= query.limit:
        return p.ThreadPage(found)
    page = found[: query.limit]
    return p.ThreadPage(page, next_cursor(page[-1]) if page else None)


def _select(
    call: Callable[..., Any], shard: str, owner: str, query: p.ThreadQuery, start: str, wanted: int | None
) -> list[p.ThreadInfo]:
    """Returns the first threads of a shard's part of a list, from ``start`` on."""
    found: list[p.ThreadInfo] = []
    damaged = 0
    count = BATCH if wanted is None else min(BATCH, wanted)
    while wanted is None or len(found) < wanted:
        rows, last = call(
            shard,
            "list",
            owner_digest(owner),
            int(query.agent_id is not None),
            values.encode(query.agent_id or ""),
            int(query.include_archived),
            start,
            count,
        )
        for row in rows:
            try:
                info = values.thread_info(row)
            except (ValueError, TypeError, AttributeError):
                damaged += 1
                continue
            if query.agent_id in (None, info.agent_id):  # or it was damaged when it got another agent
                found.append(info)
        if len(rows) < count:
            break
        start = f"({int(last)}"
    if damaged:
        logger.error("%d threads are not listed, since what is stored of them is damaged", damaged)
    return found if wanted is None else found[:wanted]
