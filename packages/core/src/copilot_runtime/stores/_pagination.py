"""Pages of a list of threads, and the cursors between them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from .protocol import ThreadInfo, ThreadPage, ThreadQuery


def paginate(infos: Iterable[ThreadInfo], query: ThreadQuery) -> ThreadPage:
    """Returns the page of ``infos`` that ``query`` selects. Raises ValueError for an invalid cursor."""
    selected = sorted(
        (
            info
            for info in infos
            if query.agent_id in (None, info.agent_id) and (query.include_archived or not info.archived)
        ),
        key=_sort_key,
    )
    if query.cursor is not None:
        updated_at, thread_id = parse_cursor(query.cursor)
        last = (-updated_at, thread_id)
        selected = [info for info in selected if _sort_key(info) > last]
    if query.limit is None or len(selected) <= query.limit:
        return ThreadPage(selected)
    page = selected[: query.limit]
    return ThreadPage(page, next_cursor(page[-1]) if page else None)


def next_cursor(last: ThreadInfo) -> str:
    """Returns the cursor of the page after the one that ends with ``last``."""
    return json.dumps([last.updated_at, last.thread_id], separators=(",", ":"))


def _sort_key(info: ThreadInfo) -> tuple[float, str]:
    return (-info.updated_at, info.thread_id)


def parse_cursor(cursor: str) -> tuple[float, str]:
    """Returns the update time and the id of the thread before the page.

    Raises ValueError for anything but a result of `next_cursor`.
    """
    try:
        updated_at, thread_id = json.loads(cursor)
        if type(updated_at) in (int, float) and isinstance(thread_id, str) and math.isfinite(updated_at):
            thread_id.encode()  # SQLite, for one, takes no halves of characters
            return float(updated_at), thread_id
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass  # refused like any other
    raise ValueError("cursor must be the next_cursor of a page of threads")
