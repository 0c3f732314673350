"""What a thread has, as `RunStore.read` returns it."""

from __future__ import annotations

from functools import partial

from ..._events import CompactedFrames
from .. import protocol as p
from .._sql.encoding import integer, text
from .._sql.shared_frames import SharedFrames, SharedList
from . import rows
from .rows import Db


class Snapshots:
    """Reads threads. What is read of a run is kept for as long as somebody uses it, and shared."""

    def __init__(self) -> None:
        self._records: SharedFrames[CompactedFrames] = SharedFrames()
        self._raw: SharedFrames[SharedList[bytes]] = SharedFrames()

    def select(self, db: Db, thread: p.ThreadKey, raw_ordinal: int | None, now: float) -> p.ThreadSnapshot:
        """Returns a thread, with the raw frames of the run ``raw_ordinal`` if they are there."""

        def raw_frames(frames_id: int) -> SharedList[bytes]:
            return SharedList(rows.select_frames(db, frames_id, 0))

        row = db.execute("SELECT id, ordinal FROM threads WHERE owner = ? AND thread_id = ?", tuple(thread)).fetchone()
        if row is None:
            return p.ThreadSnapshot()
        row_id, last_ordinal = row
        runs = []
        for ordinal, run_id, agent_id, crc, frames_id, raw_until, has_run_error, recorded_by in db.execute(
            "SELECT ordinal, run_id, agent_id, checksum, frames_id, raw_until, has_run_error, recorded_by"
            " FROM runs WHERE thread = ? ORDER BY ordinal",
            (row_id,),
        ).fetchall():
            key = (thread, ordinal, frames_id, crc)
            has_raw = ordinal == raw_ordinal and now < raw_until <= now + 2 * p.RAW_RETENTION_SECONDS
            runs.append(
                p.StoredRun(
                    ordinal,
                    text(run_id),
                    text(agent_id),
                    self._records.get(key, partial(rows.select_records, db, row_id, ordinal)),
                    self._raw.get(key, partial(raw_frames, frames_id)) if has_raw else None,
                    bool(has_run_error),
                    text(recorded_by),
                    rows.select_duplicates(db, row_id, ordinal) if has_raw else frozenset(),
                )
            )
        return p.ThreadSnapshot(runs, rows.select_active_run(db, thread, now), integer(last_ordinal))

    def after_fork(self) -> None:
        """Forgets what threads of the parent may have been reading."""
        self._records.after_fork()
        self._raw.after_fork()
