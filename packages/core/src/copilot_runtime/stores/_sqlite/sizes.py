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


def thread_bytes(owner_length: int, id_length: int) -> int:
    """Returns about how many bytes of the file a thread takes without its runs and messages.

    Args:
        owner_length: How many bytes its owner has.
        id_length: How many bytes its id has.
    """
    # A row, four indexes, and a part of what the owner's row and its three indexes take.
    return _cell_bytes(5 * owner_length + 3 * id_length + 6 * _CELL_BYTES, _MAX_LOCAL_OF_ENTRY)


def run_bytes(length: int) -> int:
    """Returns about how many bytes of the file a run that has ended takes, without its frames.

    Args:
        length: How many bytes its texts and blobs have.
    """
    return _cell_bytes(length, _MAX_LOCAL_OF_ROW) + 2 * _SHORT_ENTRY


def ids_bytes(length: int) -> int:
    """Returns about how many bytes of the file a row of message ids takes, whose texts have ``length`` bytes."""
    return _cell_bytes(length, _MAX_LOCAL_OF_ROW) + _SHORT_ENTRY


def message_bytes(message_id: str, message: str) -> int:
    """Returns about how many bytes of the file a message takes."""
    id_length = text_bytes(message_id)
    return _cell_bytes(id_length + text_bytes(message), _MAX_LOCAL_OF_ROW) + _cell_bytes(id_length, _MAX_LOCAL_OF_ENTRY)


def frames_bytes(length: int) -> int:
    """Returns about how many bytes of the file frames take that are appended together and have ``length`` bytes."""
    return _cell_bytes(length, _MAX_LOCAL_OF_ROW) + _SHORT_ENTRY if length else 0


def text_bytes(text: str) -> int:
    """Returns how many bytes a text has in UTF-8, SQLite's default."""
    # Most are ASCII, such as the JSON of messages, and need not be copied.
    return len(text) if text.isascii() else len(text.encode())
