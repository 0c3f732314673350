"""The lists of threads of a SQLite store."""

from __future__ import annotations

import heapq
from contextlib import ExitStack, closing
from typing import Any

from .. import protocol as p
from .._pagination import parse_cursor
from . import rows
from .room import StoreConnection


def select_infos(db: StoreConnection, owner: str, query: p.ThreadQuery) -> tuple[list[p.ThreadInfo], list[ValueError]]:
    """Returns the threads of a page, and one more if there is another page; and what is wrong with damaged rows."""
    conditions: list[str] = ["owner = ?", "runs > 0", "(archived <> 0) = ?"]
    values: list[Any] = []
    if query.agent_id is not None:
        conditions.append("agent_id = ?")
        values.append(query.agent_id)
    if query.cursor is not None:
        updated_at, thread_id = parse_cursor(query.cursor)
        # The first condition alone would do for an index.
        conditions.append("updated_at <= ? AND (updated_at < ? OR thread_id > ?)")
        values += [updated_at, updated_at, thread_id]
    sql = (
        f"SELECT {rows.THREAD_INFO_COLUMNS} FROM threads WHERE "
        + " AND ".join(conditions)
        + " ORDER BY updated_at DESC, thread_id"
    )
    infos: list[p.ThreadInfo] = []
    damage: list[ValueError] = []
    with ExitStack() as stack:
        # Closed, or they would keep the snapshot. Without a limit, since the page goes on after damaged rows.
        cursors = [
            stack.enter_context(closing(db.execute(sql, (owner, is_archived, *values))))
            for is_archived in ((False, True) if query.include_archived else (False,))
        ]
        for row in heapq.merge(*cursors, key=rows.list_order):
            try:
                infos.append(rows.thread_info(row))
            except ValueError as error:
                damage.append(error)
            if query.limit is not None and len(infos) > query.limit:
                break
    return infos, damage
