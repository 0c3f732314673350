"""A run's frames in this process, and the readers that read them from where they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import cast

from .._concurrency.process_local import process_rlock
from .._concurrency.waiters import Notify, Waiters
from .._events import (
    Piece,
    as_frames,
    count_frames,
    find_frame,
    is_terminal,
    join_pieces,
    last_frame,
    split_pieces,
)
from ..stores.protocol import RunKey

MAX_CHUNK_PIECES = 512
MAX_CHUNK_BYTES = 64 * 1024
"""Limits of one chunk that a reader sends. A larger piece is sent in slices: whatever a server is still to write for a
client that does not read, it holds a copy of."""

_NO_DUPLICATES: Set[int] = frozenset()
"""One for all logs, since most have none, and CPython makes a new set of 216 bytes for each ``frozenset()``."""

_joining = process_rlock()
"""Held while the readers of a log change. Reentrant: an abandoned one is closed wherever the garbage collector runs."""


class RunLog(Waiters):
    """Grows at its end and is read from any piece on, on any thread, without a lock. Its waiters wait for changes."""

    __slots__ = (
        "_joined",
        "agent_id",
        "duplicates",
        "ended",
        "first_reader",
        "has_bursts",
        "is_foreign",
        "is_starting",
        "pieces",
        "run",
        "run_id",
    )

    def __init__(self, run: RunKey | None, run_id: str, agent_id: str, *, is_starting: bool = False) -> None:
        self._waiting = self._listener = None
        self.run = run
        """None for a run on no thread."""
        self.run_id = run_id
        self.agent_id = agent_id
        self.pieces: list[Piece] = []
        """Its frames, those of a burst in one piece."""
        self.has_bursts = False
        """Whether there may be bursts among them: otherwise, the frames and the pieces are the same."""
        self.duplicates = _NO_DUPLICATES
        """Numbers of events that a late joiner must not receive, because they repeat messages of the history."""
        self.is_foreign = False
        """Whether frames may come from another process, which may run another version."""
        self.is_starting = is_starting
        """Whether it is about to be known if the run has frames at once: before it waits for the first time, or if only
        its end is to be stored. Readers are notified when it is known."""
        self.ended = False
        self.first_reader: object | None = None
        """The reader of the request that has begun the run, for as long as it reads: most logs have no other."""
        self._joined: tuple[object, ...] = ()
        """All others. No set, which takes 216 bytes, and thousands of streams may be idle."""

    @property
    def readers(self) -> Sequence[object]:
        """Those that read it."""
        first = self.first_reader
        return self._joined if first is None else (first, *self._joined)

    def add_reader(self, reader: object) -> None:
        """Adds the reader of another request than that which has begun the run, from any thread."""
        self._change_joined(lambda joined: (*joined, reader))

    def discard_reader(self, reader: object) -> None:
        """Forgets any reader, from any thread."""
        if self.first_reader is reader:
            self.first_reader = None
        else:
            self._change_joined(lambda joined: tuple([other for other in joined if other is not reader]))

    def _change_joined(self, change: Callable[[tuple[object, ...]], tuple[object, ...]]) -> None:
        with _joining.get():
            while True:
                before = self._joined
                after = change(before)
                if self._joined is before:  # and not changed by what the garbage collector has closed meanwhile
                    self._joined = after
                    return

    def add_frame(self, frame: bytes) -> None:
        """Adds one frame of a run of this process: `extend` for the single events of which a paced run consists."""
        pieces = self.pieces
        pieces.append(frame)
        listener = self._listener  # after that, for those who look at the pieces once they listen
        if listener is not None:
            listener(frame if len(frame) <= MAX_CHUNK_BYTES else None, len(pieces))
        if self._waiting:
            self._notify_waiting()

    def extend(self, pieces: Sequence[Piece], *, has_bursts: bool = False) -> None:
        """Adds frames, and notifies waiting readers. ``has_bursts``: whether there may be bursts among them."""
        if has_bursts:
            self.has_bursts = True  # first, for those who look at the pieces before
        self.pieces += pieces
        listener = self._listener
        if listener is not None:
            listener(self._chunk_of(pieces), len(self.pieces))
        if self._waiting:
            self._notify_waiting()

    def _chunk_of(self, pieces: Sequence[Piece]) -> bytes | None:
        """Returns pieces as one chunk if a reader may send them as one."""
        if self.is_foreign or not 0 < len(pieces) <= MAX_CHUNK_PIECES or sum(map(len, pieces)) > MAX_CHUNK_BYTES:
            return None
        return join_pieces(pieces)

    @property
    def frames(self) -> Sequence[bytes]:
        """All frames, each by itself. For those who do not need them often."""
        return split_pieces(self.pieces[:])

    def frames_of(self, pieces: Sequence[Piece]) -> Sequence[bytes]:
        """Returns the frames of some of its pieces."""
        return as_frames(pieces, count_frames(pieces)) if self.has_bursts else cast("Sequence[bytes]", pieces)

    def pieces_after(self, seen: int) -> Sequence[Piece]:
        """Returns the frames after the first ``seen``."""
        rest, index = self.find_frame(seen)
        pieces = self.pieces[index:]
        return [*rest, *pieces] if rest else pieces

    def find_frame(self, seen: int) -> tuple[Sequence[bytes], int]:
        """Returns where the frames after the first ``seen`` are: the rest of a burst, and the next piece's index."""
        return find_frame(self.pieces[:], seen) if self.has_bursts else ((), min(seen, len(self.pieces)))

    @property
    def frame_count(self) -> int:
        """How many frames there are."""
        return count_frames(self.pieces[:]) if self.has_bursts else len(self.pieces)

    @property
    def has_last_frame(self) -> bool:
        """Whether nothing is added any more, though the log may not have ended yet. Decodes a frame."""
        last = last_frame(self.pieces[-1:])
        return b"data: " in last and is_terminal(last)

    def mark_started(self) -> None:
        """Notifies waiting readers that whatever comes next may take its time."""
        if self.is_starting:
            self.is_starting = False
            self.notify()

    def end(self) -> None:
        """Marks the log as complete and notifies waiting readers."""
        self.ended = True
        self.is_starting = False
        if self._waiting or self._listener is not None:
            self.notify()

    def add_waiter(self, seen: int, notify: Notify) -> bool:
        """Has ``notify`` called at the next change.

        Returns False if there are more than ``seen`` pieces already, or the log has ended: then it may never be called.
        """
        if len(self.pieces) > seen or self.ended:
            return False
        self.add(notify)
        return not (len(self.pieces) > seen or self.ended)

    def add_end_waiter(self, notify: Notify) -> bool:
        """Has ``notify`` called at the next change. Returns False if the log has ended."""
        if self.ended:
            return False
        self.add(notify)
        return not self.ended
