"""Frames of active runs, which are appended in batches."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from .. import protocol as p
from .._sql.encoding import merge_batches
from . import rows
from .live_appends import LargeRun, LiveAppends
from .retention import Retention
from .rows import Db
from .writer import Writer

_MAX_UNCOUNTED_BYTES = 64 * 1024


class FrameAppends:
    """Appends frames to active runs.

    Args:
        writer: Writes to the file.
        retention: Keeps the limits of the store.
    """

    def __init__(self, writer: Writer, retention: Retention) -> None:
        self._writer = writer
        self._retention = retention
        self.max_uncounted: int = _max_uncounted(retention.max_bytes)

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        """Appends batches, as `RunStore.append` does."""
        if not batches:
            return {}
        joined = merge_batches(batches)
        appends = LiveAppends(joined)
        try:
            return self._append(joined, appends)
        except _OtherFrames:
            return self._append_missing(joined, self._writer.write(appends.select_counts))

    def _append_missing(
        self, batches: Iterable[p.Batch], stored: Mapping[int, int]
    ) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        """Appends what is missing of batches. ``stored`` is how many frames the active runs have, by their tokens."""
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        missing: list[p.Batch] = []
        for batch in batches:
            count = stored.get(batch.lease.token)
            try:
                if count is None:
                    raise p.LeaseLost
                frames = p.missing_frames(batch.frames, batch.frame_count, count)
            except p.LeaseLost as error:
                refused[batch.lease] = error
            else:
                missing.append(batch._replace(frames=frames, frame_count=count + len(frames)))
        return {**self.append(missing), **refused}

    def _append(
        self, batches: Collection[p.Batch], appends: LiveAppends
    ) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        """Appends batches of which no two are of the same run. Raises _OtherFrames."""
        self._writer.make_room_for(appends.size)

        def work(db: Db) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
            self._retention.make_room(db, appends.size)
            if not appends.append(db):
                raise _OtherFrames
            max_uncounted = 0 if self._retention.must_count(db, appends.stored_bytes) else self.max_uncounted
            max_bytes = self._retention.max_bytes or math.inf
            large = appends.select_large(db, max_uncounted, max_bytes)
            for run in large:
                if run.uncounted_bytes > max_uncounted:
                    self._count_bytes(db, run)
            too_large = {run.token for run in large if run.size > max_bytes}
            if not too_large:
                return {}
            return {batch.lease: p.RunTooLarge() for batch in batches if batch.lease.token in too_large}

        return self._writer.write(work)

    def _count_bytes(self, db: Db, run: LargeRun) -> None:
        """Counts the bytes that an active run has added among those of its thread."""
        db.execute("UPDATE live SET counted_bytes = frames_bytes WHERE token = ?", (run.token,))
        db.totals.add_to_thread(db, run.thread, run.uncounted_bytes)
        grown = db.execute(f"SELECT {rows.RUNS} FROM threads WHERE id = ?", (run.thread,)).fetchall()
        # Of a damaged row there may be none.
        runs = grown[0][0] if grown else 0
        if self._retention.evict(db, run.thread, runs, run.uncounted_bytes):
            self._writer.warn_evicted()


class _OtherFrames(Exception):
    """A run has other frames than its batch continues, such as those of a call that seemed to fail, or has ended."""


def _max_uncounted(max_bytes: int) -> int:
    """Returns how many bytes of an active run need not be counted among its thread's yet.

    Counting them changes four rows and two indexes.
    """
    return min(_MAX_UNCOUNTED_BYTES, max_bytes // 1000) if max_bytes else _MAX_UNCOUNTED_BYTES
