"""The values of many rows for one statement, padded to a few sizes, so that SQLite compiles each statement once.

After each statement, and each row that one returns, the thread waits for an event loop that is busy, which costs more
than most statements: so there is one for many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""The numbers of rows for which there are statements."""


def parts(values: Sequence[T], padding: tuple[T, ...]) -> Iterator[tuple[int, Sequence[T]]]:
    """Yields the values of rows in parts of the `SIZES`, of which the last one is padded with rows that are none."""
    width = len(padding)
    for start in range(0, len(values), SIZES[0] * width):
        part = values[start : start + SIZES[0] * width]
        count = len(part) // width
        size = 1 << (count - 1).bit_length()
        yield size, [*part, *padding * (size - count)]
