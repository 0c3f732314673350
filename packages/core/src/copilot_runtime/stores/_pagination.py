"""Lists of threads in pages, for stores that have the whole list at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .protocol import ThreadInfo, ThreadPage, ThreadQuery


def paginate(infos: Iterable[ThreadInfo], query: ThreadQuery) -> ThreadPage:
    """The page that ``query`` asks for. Raises ValueError for a cursor that is none."""
    wanted = sorted(
        (
            info
            for info in infos
            if query.agent_id in (None, info.agent_id) and (query.include_archived or not info.archived)
        ),
        key=_sort_key,
    )
    if query.cursor is not None:
        updated_at, thread_id = parse_cursor(query.cursor)
        after = (-updated_at, thread_id)
        wanted = [info for info in wanted if _sort_key(info) > after]
    if query.limit is None or len(wanted) <= query.limit:
        return ThreadPage(wanted)
    page = wanted[: query.limit]
    return ThreadPage(page, next_cursor(page[-1]) if page else None)


def next_cursor(last: ThreadInfo) -> str:
    """Where the page after the one that ends with ``last`` begins."""
    return json.dumps([last.updated_at, last.thread_id], separators=(",", ":"))


def _sort_key(info: ThreadInfo) -> tuple[float, str]:
    return (-info.updated_at, info.thread_id)


def parse_cursor(cursor: str) -> tuple[float, str]:
    """When the last thread of a page was updated, and its id. Raises ValueError for what `next_cursor` has not made."""
    try:
        when, thread_id = json.loads(cursor)
        return float(when), str(thread_id)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError("cursor is not one that a page of threads gave") from error
