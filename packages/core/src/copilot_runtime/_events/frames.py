"""Frames that come together stay together: a burst of deltas is one `bytes`, from the recorder to the store.

It is encoded, sent, stored and freed as one, since an object for each of its frames would cost more than its text.
All that keep the frames of a run have a list of pieces, most of which are frames. Only who needs a single frame, such
as a reader that resumes within a burst, splits it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast, final, overload


@final
class Burst:
    """Several frames, joined. Its length is that of ``data``, as the length of a frame is.

    ``packed`` is the same as `bursts` packs it; empty if that is not possible, or would not save much.
    """

    __slots__ = ("count", "data", "packed")

    def __init__(self, data: bytes, count: int, packed: bytes = b"") -> None:
        self.data: bytes = data
        self.count: int = count
        self.packed: bytes = packed

    def __len__(self) -> int:
        return len(self.data)


Piece: TypeAlias = bytes | Burst
"""A frame, or several."""


@final
class Frames(Sequence[bytes]):
    """The frames of pieces, for stores: each by itself, or all of them joined by `join_frames`."""

    __slots__ = ("_frames", "frame_count", "pieces")

    def __init__(self, pieces: Sequence[Piece], count: int) -> None:
        self.pieces = pieces
        self.frame_count = count
        self._frames: list[bytes] | None = None

    def __len__(self) -> int:
        return self.frame_count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._split())

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        return self._split()[index]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (Frames, list, tuple)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._split()!r})"

    def _split(self) -> list[bytes]:
        if self._frames is None:
            self._frames = split_pieces(self.pieces)
        return self._frames


def count_frames(pieces: Sequence[Piece]) -> int:
    """Returns how many frames there are in pieces."""
    return sum([piece.count if type(piece) is Burst else 1 for piece in pieces])


def as_frames(pieces: Sequence[Piece], count: int) -> Sequence[bytes]:
    """Returns the ``count`` frames of pieces, which are not split before someone needs that."""
    # Quoted: to make the type would take much longer than all the rest.
    return cast("Sequence[bytes]", pieces) if count == len(pieces) else Frames(pieces, count)


def frames_after(pieces: Sequence[Piece], seen: int, count: int) -> Sequence[bytes]:
    """Returns the frames after the first ``seen`` of ``count`` that pieces have."""
    if count == len(pieces):
        return cast("Sequence[bytes]", pieces)[seen:]
    rest, index = find_frame(pieces, seen)
    return [*rest, *split_pieces(pieces[index:])]


def pieces_of_frames(frames: Sequence[bytes]) -> Sequence[Piece]:
    """Returns the pieces in which frames are."""
    return frames.pieces if type(frames) is Frames else frames


def with_bursts(joined: Sequence[bytes], bursts: Mapping[int, Burst]) -> list[Piece]:
    """Returns pieces of frames and of joined frames: ``bursts`` has the latter, and where they are."""
    pieces: list[Piece] = [*joined]
    for index, burst in bursts.items():
        pieces[index] = burst
    return pieces


def join_pieces(pieces: Sequence[Piece]) -> bytes:
    """Returns the frames of pieces, joined, without a copy of a single piece."""
    if len(pieces) == 1:
        piece = pieces[0]
        return piece.data if type(piece) is Burst else piece
    return b"".join([piece.data if type(piece) is Burst else piece for piece in pieces])


def join_frames(frames: Sequence[bytes]) -> bytes:
    """Returns frames, joined, which those that came together are already."""
    return join_pieces(frames.pieces) if type(frames) is Frames else b"".join(frames)


def split_frames(data: bytes) -> list[bytes]:
    """Returns frames that were joined."""
    # JSON contains no raw line feeds, so an empty line is always the end of a frame.
    return [frame + b"\n\n" for frame in data.split(b"\n\n")[:-1]]


def split_pieces(pieces: Sequence[Piece]) -> list[bytes]:
    """Returns the frames of pieces, each by itself."""
    frames: list[bytes] = []
    for piece in pieces:
        if type(piece) is Burst:
            frames += split_frames(piece.data)
        else:
            frames.append(piece)
    return frames


def last_frame(pieces: Sequence[Piece]) -> bytes:
    """Returns the last frame, or ``b""`` if there is none."""
    if not pieces:
        return b""
    piece = pieces[-1]
    if type(piece) is Burst:
        return piece.data[piece.data.rindex(b"\n\n", 0, -2) + 2 :]
    return piece


def find_frame(pieces: Sequence[Piece], seen: int) -> tuple[Sequence[bytes], int]:
    """Returns where the frames after the first ``seen`` are: the rest of a burst, and the index of the next piece."""
    count = 0
    for index, piece in enumerate(pieces):
        if count == seen:
            return (), index
        count += piece.count if type(piece) is Burst else 1
        if count > seen:
            return split_pieces([piece])[seen - count :], index + 1
    return (), len(pieces)
