"""What readers get of the runs of other processes from a SQLite store, again and again while the runs are active."""

from __future__ import annotations

import time
from collections.abc import Set

from .. import protocol as p
from .._sql.encoding import parse_duplicates
from . import rows
from .connections import ConnectionPair
from .room import StoreConnection

Db = StoreConnection

_ENDED = (p.RunUpdate((), frozenset(), True), 0.0, 0.0)
"""What is found of a run that does not exist."""


class RunFollower:
    """Follows runs, and reads nothing as long as nobody has written."""

    def __init__(self, connections: ConnectionPair) -> None:
        self._connections = connections
        self._seen: dict[p.RunKey, tuple[object, int, float, float, Set[int]]] = {}
        """By active run, what the last `follow` saw: the version of the file, the number of its last frame, when its
        lease expires, for how long it was renewed, and its duplicates."""

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        """As `RunStore.follow`."""
        version = self._connections.version()
        seen = self._seen.get(run)
        if seen is not None and seen[:2] == (version, after):
            _, _, expires_at, lease_seconds, duplicates = seen
            has_expired = rows.has_expired(expires_at, lease_seconds, time.time())
            return p.RunUpdate((), duplicates, False, expired=has_expired)
        update, expires_at, lease_seconds = self._connections.read(rows.checked(lambda db: _select(db, run, after)))
        if update.ended:
            self._seen.pop(run, None)
        else:
            after += len(update.frames)
            self._seen[run] = (version, after, expires_at, lease_seconds, update.duplicates)
        return update

    def after_fork(self) -> None:
        """Forgets what the parent process saw."""
        self._seen.clear()


def _select(db: Db, run: p.RunKey, after: int) -> tuple[p.RunUpdate, float, float]:
    """Returns what there is of a run after a frame, when its lease expires, and for how long it was renewed."""
    row_id = rows.select_row_id(db, run.thread)
    if row_id is None:
        return _ENDED
    row = db.execute(
        "SELECT expires_at, lease_seconds, duplicates, frames_id FROM live WHERE thread = ? AND ordinal = ?",
        (row_id, run.ordinal),
    ).fetchone()
    if row is not None:
        expires_at, lease_seconds, duplicates, frames_id = row
        frames = rows.select_frames(db, frames_id, after)
        has_expired = rows.has_expired(expires_at, lease_seconds, time.time())
        update = p.RunUpdate(frames, parse_duplicates(duplicates), False, has_expired)
        return update, expires_at, lease_seconds
    row = db.execute(
        "SELECT frames, duplicates, frames_id, raw_until FROM runs WHERE thread = ? AND ordinal = ?",
        (row_id, run.ordinal),
    ).fetchone()
    if row is None:
        return _ENDED
    count, duplicates, frames_id, raw_until = row
    # Without an expiry they are being deleted, and some of them may be left.
    frames = rows.select_frames(db, frames_id, count - 1 if after > count else after) if raw_until else []
    return p.RunUpdate(frames, parse_duplicates(duplicates), True), 0.0, 0.0
