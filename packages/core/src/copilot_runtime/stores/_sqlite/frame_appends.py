"""Frames of active runs, which are appended in batches."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from .. import protocol as p
from .._sql.encoding import merged
from . import rows
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
        joined = merged(batches)
        try:
            return self._append(joined)
        except _OtherFrames as found:  # those of a batch that was stored before
            return self._append_missing(joined, found.stored)

    def _append_missing(
        self, batches: Iterable[p.Batch], stored: Mapping[int, int]
    ) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        """Appends what is missing of batches. ``stored`` is how many frames there are of some runs, by their tokens."""
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        missing: list[p.Batch] = []
        for batch in batches:
            frames = batch.frames
            if batch.lease.token in stored:
                try:
                    frames = p.missing_frames(frames, batch.frame_count, stored[batch.lease.token])
                except p.LeaseLost as error:
                    refused[batch.lease] = error
                    continue
            missing.append(batch._replace(frames=frames))
        return {**self.append(missing), **refused}

    def _append(self, batches: Collection[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        """Appends batches of which no two are of the same run."""
        # Joined before the transaction, during which no other process can write.
        pieces = {batch.lease.token: rows.Piece.from_frames(batch.frames, batch.duplicates) for batch in batches}
        counts = {batch.lease.token: batch.frame_count for batch in batches}
        length = sum([len(piece.data) for piece in pieces.values()])
        added = sum([piece.stored_bytes for piece in pieces.values()])
        self._writer.make_room_for(length)

        def work(db: Db) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
            self._retention.make_room(db, length)
            sizes = rows.append_frames(db, pieces)
            others = {
                token: size.frames - pieces[token].frames
                for token, size in sizes.items()
                if counts[token] not in (None, size.frames)
            }
            if others:
                raise _OtherFrames(others)
            max_uncounted = 0 if self._retention.must_count(db, added) else self.max_uncounted
            for token, size in sizes.items():
                if size.uncounted_bytes > max_uncounted:
                    self._count_bytes(db, token, size)
            refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
            max_bytes = self._retention.max_bytes or math.inf
            for batch in batches:
                found = sizes.get(batch.lease.token)
                if found is None:
                    refused[batch.lease] = p.LeaseLost()
                elif found.size > max_bytes:
                    refused[batch.lease] = p.RunTooLarge()
            return refused

        return self._writer.write(work)

    def _count_bytes(self, db: Db, token: int, size: rows.LiveSize) -> None:
        """Counts the bytes that an active run has added among those of its thread."""
        db.execute("UPDATE live SET counted_bytes = frames_bytes WHERE token = ?", (token,))
        grown = db.execute(
            f"UPDATE threads SET bytes = bytes + ? WHERE id = ? RETURNING {rows.RUNS}",
            (size.uncounted_bytes, size.thread),
        ).fetchall()
        # Of a damaged row there may be none.
        self._writer.warn_evicted(
            self._retention.evict(db, size.thread, grown[0][0] if grown else 0, size.uncounted_bytes)
        )


class _OtherFrames(Exception):
    """The file has other frames than a batch continues. ``stored`` is how many it has, by token."""

    def __init__(self, stored: Mapping[int, int]) -> None:
        super().__init__(stored)
        self.stored = stored


def _max_uncounted(max_bytes: int) -> int:
    """Returns how many bytes of an active run need not be counted among its thread's yet.

    Counting them changes four rows and two indexes.
    """
    return min(_MAX_UNCOUNTED_BYTES, max_bytes // 1000) if max_bytes else _MAX_UNCOUNTED_BYTES
