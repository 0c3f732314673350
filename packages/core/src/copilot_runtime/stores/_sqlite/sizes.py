"""How many bytes of the file a row takes, which is more than its columns have."""

from __future__ import annotations

from collections.abc import Iterable

PAGE_BYTES = 4096
"""The size of a page, which is SQLite's default."""

_MAX_LOCAL = 1002
_MIN_LOCAL = 489
_OVERFLOW_BYTES = PAGE_BYTES - 4
_CELL_BYTES = 24
"""About what a row takes besides its texts and blobs: its header, its numbers and its place in the page."""

_FILL = 0.9
"""How full pages are, on average, with rows that share them."""


def row_bytes(*columns: str | bytes | int) -> int:
    """Returns about how many bytes of the file a row of a table without row ids takes.

    A long row has pages of its own, the last of which is rarely full (sqlite.org/fileformat2, 1.6).

    Args:
        *columns: Its texts and blobs, or how many bytes they have.
    """
    payload = sum(column if isinstance(column, int) else text_bytes(column) for column in columns)
    if payload <= _MAX_LOCAL:
        return round((payload + _CELL_BYTES) / _FILL)
    remainder = _MIN_LOCAL + (payload - _MIN_LOCAL) % _OVERFLOW_BYTES
    local = remainder if remainder <= _MAX_LOCAL else _MIN_LOCAL
    pages = -(-(payload - local) // _OVERFLOW_BYTES)
    return round((local + _CELL_BYTES) / _FILL) + pages * PAGE_BYTES


def thread_bytes(owner: str | bytes, thread_id: str | bytes) -> int:
    """Returns about how many bytes of the file a thread takes without its runs and messages."""
    # A row, four indexes, and a part of what the owner's row and its three indexes take.
    return row_bytes(5 * text_bytes(owner) + 3 * text_bytes(thread_id) + 6 * _CELL_BYTES)


def text_bytes(text: str | bytes) -> int:
    """Returns how many bytes a text or a blob has: as many as in UTF-8, SQLite's default."""
    # Most are ASCII, such as the JSON of messages, and need not be copied.
    return len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode())


def frames_bytes(frames: Iterable[bytes]) -> int:
    """Returns about how many bytes of the file frames take that are appended together."""
    length = sum(map(len, frames))
    return row_bytes(length) if length else 0
