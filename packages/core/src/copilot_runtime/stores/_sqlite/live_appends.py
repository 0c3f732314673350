"""Frames that are appended to many active runs, with few statements, of which none returns a row for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from ..._events import join_frames
from .. import protocol as p
from .._sql.encoding import checksum, format_list
from .row_values import SIZES, parts
from .rows import Db, blob_value
from .sizes import frames_bytes


class LargeRun(NamedTuple):
    """An active run that has become large. ``thread`` is a row id, ``size`` the bytes of its input and its frames."""

    token: int
    thread: int
    size: int
    uncounted_bytes: int


class LiveAppends:
    """The frames of batches, serialised: to be done before the transaction, during which no other process can write.

    Args:
        batches: At least one, and no two of the same run.
    """

    def __init__(self, batches: Iterable[p.Batch]) -> None:
        self._runs: list[int | str] = []
        self._frames: list[int | bytearray] = []
        for (_, _, token), frames, duplicates, frame_count in batches:
            data, count = join_frames(frames), len(frames)
            # No run has so few as none in particular are expected: `append` finds that out.
            length, before = len(data), -1 if frame_count is None else frame_count - count
            self._runs += (token, before, count, frames_bytes(length), length, format_list(duplicates))
            if count:
                self._frames += (token, before + 1, checksum(data, before + 1), blob_value(data))
        width = len(_NO_RUN)
        self._tokens = frozenset(cast("list[int]", self._runs[::width]))
        self.stored_bytes = sum(cast("list[int]", self._runs[3::width]))
        """About how many bytes of the file the frames take."""
        self.size = sum(cast("list[int]", self._runs[4::width]))
        """How many bytes they have."""

    def append(self, db: Db) -> bool:
        """Appends them. Returns False if not all of the runs are active and have the frames that are expected."""
        found = sum([db.execute(_UPDATE_RUNS[size], values).rowcount for size, values in parts(self._runs, _NO_RUN)])
        if found < len(self._tokens):
            return False
        for size, values in parts(self._frames, _NO_FRAMES):
            db.execute(_INSERT_FRAMES[size], values)
        return True

    def select_counts(self, db: Db) -> dict[int, int]:
        """Returns how many frames the file has of those runs that are active and not damaged, by their tokens."""
        found = db.execute("SELECT token, frames FROM live WHERE token BETWEEN ? AND ?", self._range).fetchall()
        return {token: frames for token, frames in found if token in self._tokens and isinstance(frames, int)}

    def select_large(self, db: Db, max_uncounted: int, max_size: float) -> list[LargeRun]:
        """Returns those of the runs that are larger than this."""
        found = db.execute(
            "SELECT token, thread, size, frames_bytes - counted_bytes FROM live WHERE token BETWEEN ? AND ?"
            " AND (frames_bytes - counted_bytes > ? OR size > ?)",
            (*self._range, max_uncounted, max_size),
        ).fetchall()
        return [LargeRun._make(row) for row in found if row[0] in self._tokens]

    @property
    def _range(self) -> tuple[int, int]:
        # Runs that are active at the same time have tokens that are close to each other: to look at those in between
        # costs less than to name them all.
        return min(self._tokens), max(self._tokens)


_NO_RUN: tuple[int | str, ...] = (-1, 0, 0, 0, 0, "")
_NO_FRAMES: tuple[int | bytearray, ...] = (-1, 0, 0, blob_value())
"""Rows that belong to no run. With NULL in place of -1, `sqlite3` would take longer."""

_UPDATE_RUNS = {
    size: "UPDATE live SET frames = frames + new.column3, frames_bytes = frames_bytes + new.column4,"
    " size = size + new.column5, duplicates = new.column6"
    f" FROM (VALUES {', '.join(['(?, ?, ?, ?, ?, ?)'] * size)}) AS new"
    " WHERE token = new.column1 AND frames = new.column2"
    for size in SIZES
}
_INSERT_FRAMES = {
    size: "INSERT INTO frames (frames_id, first, checksum, frames)"
    " SELECT frames_id, new.column2, new.column3, new.column4"
    f" FROM (VALUES {', '.join(['(?, ?, ?, ?)'] * size)}) AS new CROSS JOIN live ON token = new.column1"
    for size in SIZES
}
