"""Reads a thread from elsewhere than the begin of a run: first stored runs, or after what its client has received."""

from __future__ import annotations

from collections.abc import Sequence

from .._concurrency.waiters import Notify
from .._events import (
    Burst,
    Piece,
    count_frames,
    is_reapers,
    join_pieces,
    joined_id,
    last_frame,
    repair_frames,
    split_pieces,
)
from .base_reader import ReaderCallbacks
from .endings import lost_ending
from .run_log import MAX_CHUNK_BYTES, RunLog
from .run_reader import RunReader, next_chunk


class ReplayReader(RunReader):
    """Reads first the frames of stored runs, and then an active run.

    Args:
        log: the log of the active run, if any.
        seen: how many of its frames to skip, because the reader has received them.
        history: frames of stored runs.
        skip_duplicates: whether to leave out events of the active run that repeat the history.
        repair_history: whether clients may reject some of ``history``.
        joined: how many frames of ``history``, the first ones, are those of a run without its duplicates.
        callbacks: called when the reader is opened and closed.
    """

    __slots__ = (
        "_history",
        "_history_count",
        "_history_seen",
        "_joined",
        "_left",
        "_repair_history",
        "_seen",
        "_skip_duplicates",
    )

    reads_from_begin = False

    def __init__(
        self,
        *,
        log: RunLog | None,
        seen: int = 0,
        history: Sequence[bytes] = (),
        skip_duplicates: bool = False,
        repair_history: bool = False,
        joined: int = 0,
        callbacks: ReaderCallbacks,
    ) -> None:
        self._history = history
        self._history_count = len(history)
        self._history_seen = 0
        self._seen = seen
        """How many of the log's frames it has received, as far as that matters: before it goes on, and to know
        duplicates."""
        self._left = seen
        """How many of these are still to be found in the log, before it goes on there."""
        self._skip_duplicates = skip_duplicates
        self._repair_history = repair_history
        self._joined = joined
        super().__init__(log, callbacks)
        self._is_following = not (seen or history or skip_duplicates)

    def _read(self) -> bytes | None:
        # An evicted one may have lost the rest of a frame, which nothing else may follow, and not yet its history.
        chunk = self._read_history() if self._history and not self._is_evicted else None
        return chunk or super()._read()

    def _read_history(self) -> bytes | None:
        while history := self._history:
            if self._history_seen >= len(history):  # and its last chunk has been sent
                self._history = ()
                if self._callbacks is not None:
                    self._callbacks.history_read(self)
                break
            frames = next_chunk(history, self._history_seen)
            is_joined = self._history_seen < self._joined
            if is_joined:
                frames = frames[: self._joined - self._history_seen]
            self._history_seen += len(frames)
            if self._repair_history:
                frames = repair_frames(frames)
            if frames:
                return self._with_joined_ids(frames) if is_joined else b"".join(frames)
        return None

    def _read_log(self) -> bytes | None:
        log = self._log
        while log is not None and not self._is_following:
            ended = log.ended  # before the frames: what was added earlier is then seen
            pieces: Sequence[Piece] = ()
            if self._left:
                found = self._find_place(log, ended=ended)
                if found is None:
                    # A crash took what the reader has received, and another process has ended the run.
                    return self._end_with(lost_ending(last_frame(log.pieces)))
                pieces = found
            if not pieces:
                pieces = () if self._left else next_chunk(log.pieces, self._at)
                if not pieces:
                    return self._read_nothing(ended=ended)
                self._at += len(pieces)
            self._is_following = not self._skip_duplicates
            if self._is_following and not log.is_foreign:
                return join_pieces(pieces)
            frames = split_pieces(pieces)
            first, self._seen = self._seen + 1, self._seen + len(frames)
            is_joined = self._skip_duplicates and bool(log.duplicates)
            if is_joined:
                frames = [frame for number, frame in enumerate(frames, first) if number not in log.duplicates]
            if log.is_foreign:
                frames = repair_frames(frames)
            if frames:
                return self._with_joined_ids(frames) if is_joined else join_pieces(frames)
        return super()._read_log()

    def _find_place(self, log: RunLog, *, ended: bool) -> Sequence[bytes] | None:
        """Finds the place from which a reader goes on that has received some of the frames, once the log has them.

        Returns the frames in the middle of a burst that come next, if any. None if there is no such place.
        """
        at, left = self._at, self._left
        rest: Sequence[bytes] | None = ()
        for piece in log.pieces[at:]:
            at += 1
            count = piece.count if type(piece) is Burst else 1
            if count >= left:
                frames = split_pieces([piece])
                rest = None if is_reapers(frames[left - 1]) else frames[left:]
                left = 0
                break
            left -= count
        if left and ended:
            rest, left = None, 0
        self._left = left  # first: another thread that evicts the reader must not take it for one that has read all
        self._at = at
        return rest

    def _with_joined_ids(self, frames: Sequence[bytes]) -> bytes:
        """Returns frames with ids from which a reader resumes without duplicates."""
        identity, rest = joined_id(frames[0])
        if identity and len(frames) == 1 and len(frames[0]) > MAX_CHUNK_BYTES:
            self._keep_rest(frames[0], rest)  # which all readers share
            return identity
        return b"".join(identity + frame[rest:] for frame in frames for identity, rest in [joined_id(frame)])

    @property
    def is_at_end(self) -> bool:
        return not self._left and super().is_at_end

    def _wait(self, notify: Notify, *, is_lasting: bool) -> bool:
        return not self._history and super()._wait(notify, is_lasting=is_lasting)

    def _end_of(self, log: RunLog) -> float:
        if log.ended:
            at, left = self._at, self._left  # in this order, since the thread that reads sets the second one first
            if left and left == count_frames(log.pieces[at:]):
                return 0  # it has received all of it before
        return super()._end_of(log)

    def _has_read_all(self) -> bool:
        return self._history_seen >= self._history_count and super()._has_read_all()

    def _drop(self) -> None:
        super()._drop()
        self._history = ()
