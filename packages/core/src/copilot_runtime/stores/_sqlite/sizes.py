"""How many bytes of the file a row takes, which is more than its columns have."""

from __future__ import annotations

import functools

PAGE_BYTES = 4096
"""The size of a page, which is SQLite's default."""

# How much of a row, or of an entry of an index, its page holds (sqlite.org/fileformat2, 1.6).
_MAX_LOCAL_OF_ROW = 4061
_MAX_LOCAL_OF_ENTRY = 1002
_MIN_LOCAL = 489
_OVERFLOW_BYTES = PAGE_BYTES - 4

_CELL_BYTES = 24
"""About what a row takes besides its texts and blobs: its header, its numbers and its place in the page."""

_FILL = 0.9
"""How full pages are, on average, with rows that share them."""


def row_bytes(*columns: str | bytes | int) -> int:
    """Returns about how many bytes of the file a row of a table takes, without the indexes.

    Args:
        *columns: Its texts and blobs, or how many bytes they have.
    """
    return _cell_bytes(sum(map(_length, columns)), _MAX_LOCAL_OF_ROW)


def entry_bytes(*columns: str | bytes | int) -> int:
    """Returns about how many bytes of the file an entry of an index takes.

    Args:
        *columns: Its texts, or how many bytes they have.
    """
    return _cell_bytes(sum(map(_length, columns)), _MAX_LOCAL_OF_ENTRY)


@functools.lru_cache(maxsize=4096)  # for every batch of a flush, and for every row of a run; most are alike
def _cell_bytes(payload: int, max_local: int) -> int:
    pages = 0
    if payload > max_local:
        # A long row has pages of its own, the last of which is rarely full.
        remainder = _MIN_LOCAL + (payload - _MIN_LOCAL) % _OVERFLOW_BYTES
        local = remainder if remainder <= max_local else _MIN_LOCAL
        pages = -(-(payload - local) // _OVERFLOW_BYTES)
        payload = local
    share = int((payload + _CELL_BYTES) / _FILL)
    if payload > _MIN_LOCAL:
        # What no other row fits behind is lost.
        share = max(share, PAGE_BYTES // max(1, PAGE_BYTES // (payload + _CELL_BYTES)))
    return share + pages * PAGE_BYTES


_SHORT_ENTRY = _cell_bytes(0, _MAX_LOCAL_OF_ENTRY)
"""About how many bytes an entry of an index over numbers takes."""


def thread_bytes(owner: str | bytes, thread_id: str | bytes) -> int:
    """Returns about how many bytes of the file a thread takes without its runs and messages."""
    # A row, four indexes, and a part of what the owner's row and its three indexes take.
    return entry_bytes(5 * text_bytes(owner) + 3 * text_bytes(thread_id) + 6 * _CELL_BYTES)


def run_bytes(*columns: str | bytes | int) -> int:
    """Returns about how many bytes of the file a run that has ended takes, without its frames."""
    return row_bytes(*columns) + 2 * _SHORT_ENTRY


def ids_bytes(length: int) -> int:
    """Returns about how many bytes of the file a row of message ids takes, whose texts have ``length`` bytes."""
    return _cell_bytes(length, _MAX_LOCAL_OF_ROW) + _SHORT_ENTRY


def message_bytes(message_id: str | int, message: str | int) -> int:
    """Returns about how many bytes of the file a message takes."""
    id_length = _length(message_id)
    return _cell_bytes(id_length + _length(message), _MAX_LOCAL_OF_ROW) + _cell_bytes(id_length, _MAX_LOCAL_OF_ENTRY)


def frames_bytes(length: int) -> int:
    """Returns about how many bytes of the file frames take that are appended together and have ``length`` bytes."""
    return _cell_bytes(length, _MAX_LOCAL_OF_ROW) + _SHORT_ENTRY if length else 0


def text_bytes(text: str | bytes) -> int:
    """Returns how many bytes a text or a blob has: as many as in UTF-8, SQLite's default."""
    return _length(text)


def _length(column: str | bytes | int) -> int:
    if isinstance(column, int):
        return column
    # Most are ASCII, such as the JSON of messages, and need not be copied.
    return len(column) if isinstance(column, bytes) or column.isascii() else len(column.encode())
