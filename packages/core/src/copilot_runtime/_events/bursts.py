"""Encodes the deltas of a burst in one step, and keeps them packed once they have been sent.

Nine tenths of a burst are the same in each of its frames. Packed, it is the strings alone: a store keeps the frames of
a run that has ended for a while, for the few readers that resume within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from json.encoder import encode_basestring

from pydantic_core import from_json, to_json

from .frames import Burst, Frames, Piece, split_frames

_SEPARATOR = "\x7f"
"""Hardly any text has it, and JSON has it as it is."""

_END = "}\n\n"
"""The end of a delta's object, and of its frame."""

_DIGITS = [f"{number}" for number in range(1000)]
_PADDED_DIGITS = [f"{number:03}" for number in range(1000)]
"""How the last three digits of a number are written, which takes longer to format than to look up."""

_PACKED_START = b"["
"""How a packed burst starts, and no frame does. It ends as frames do."""

_MIN_PACKED = 32
"""How many frames are packed at least."""

_MIN_RATIO = 4
"""How many times as large as their strings frames are at least, if they are packed: an active run keeps both."""


def encode_burst(before: str, after: str, deltas: Sequence[str], first: int) -> Burst:
    """Returns the frames of several deltas. Raises UnicodeEncodeError for half a character.

    Args:
        before: what comes before the number of each.
        after: what comes between that number and the string.
        deltas: the strings.
        first: the number of the first one.
    """
    # Strings are written as `sse.encode` writes them. A call for each of them would be half of what they cost.
    text = _SEPARATOR.join(deltas)
    size, text_data, count = len(text.encode()), to_json(text), len(deltas)
    strings = deltas if len(text_data) == size + 2 else _escaped(deltas, text_data)
    if first + count <= 1000:
        data = _join(before, _DIGITS[first : first + count], after, strings).encode()
    else:
        data = "".join(_join_thousands(before, after, strings, first)).encode()
    if count < _MIN_PACKED or len(data) < _MIN_RATIO * len(text_data) or text.count(_SEPARATOR) >= count:
        return Burst(data, count)
    return Burst(data, count, b"%b\n%b\n\n" % (to_json((before, after, first)), text_data))


def _escaped(deltas: Sequence[str], text_data: bytes) -> Sequence[str]:
    """Returns strings as JSON, without their quotes. ``text_data`` is what all of them are together."""
    strings = text_data[1:-1].decode().split(_SEPARATOR)
    return strings if len(strings) == len(deltas) else [encode_basestring(delta)[1:-1] for delta in deltas]


def _join_thousands(before: str, after: str, strings: Sequence[str], first: int) -> Iterator[str]:
    """Yields the frames of deltas, those of each thousand of numbers joined."""
    done, rest = 0, iter(strings)
    while done < len(strings):
        thousands, start = divmod(first + done, 1000)
        digits = (_PADDED_DIGITS if thousands else _DIGITS)[start : start + len(strings) - done]
        done += len(digits)
        yield _join(f"{before}{thousands or ''}", digits, after, islice(rest, len(digits)))


def _join(before: str, numbers: Sequence[str], after: str, strings: Iterable[str]) -> str:
    """Returns the frames of deltas, joined. ``numbers`` are what comes after ``before``."""
    # No step of the interpreter per delta.
    parts = ["", f'{after}"', "", f'"{_END}{before}'] * len(numbers)
    parts[0::4] = numbers
    parts[2::4] = strings
    parts[-1] = f'"{_END}'
    return f"{before}{''.join(parts)}"


def pack_pieces(pieces: Sequence[Piece]) -> bytes:
    """Returns the frames of pieces, joined, with bursts packed. `split_packed` reads it."""
    return b"".join([(piece.packed or piece.data) if type(piece) is Burst else piece for piece in pieces])


def pack_frames(frames: Sequence[bytes]) -> bytes:
    """Does the same for frames."""
    if type(frames) is not Frames:
        return b"".join(frames)
    pieces = frames.pieces
    if len(pieces) == 1 and type(piece := pieces[0]) is Burst:
        return piece.packed or piece.data
    return pack_pieces(pieces)


def split_packed(data: bytes) -> list[bytes]:
    """Returns the frames of what `pack_pieces` has returned, each by itself."""
    parts = split_frames(data)
    if not data.startswith(_PACKED_START) and b"\n\n" + _PACKED_START not in data:
        return parts
    frames: list[bytes] = []
    for part in parts:
        if part.startswith(_PACKED_START):
            frames += _unpack(part)
        else:
            frames.append(part)
    return frames


def _unpack(packed: bytes) -> list[bytes]:
    head, text_data = packed[:-2].split(b"\n")
    before, after, first = from_json(head)
    start, middle = before.encode(), after.encode()
    # The strings are escaped still.
    strings = text_data[1:-1].split(_SEPARATOR.encode())
    return [b'%b%d%b"%b"}\n\n' % (start, number, middle, string) for number, string in enumerate(strings, first)]
