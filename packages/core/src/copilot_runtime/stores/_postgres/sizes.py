"""About how many bytes of the database rows take, before compression: what ``max_bytes`` counts."""

from __future__ import annotations

THREAD_BYTES = 400
"""Of a thread without its ids: a row, and its entries in five indexes."""

_RUN_BYTES = 250
_FRAMES_BYTES = 80
_MESSAGE_BYTES = 100


def thread_bytes(owner: str, thread_id: str) -> int:
    """Returns about how many bytes a thread takes without its runs and messages."""
    return THREAD_BYTES + len(owner) + len(thread_id)


def run_bytes(records: bytes, *texts: str) -> int:
    """Returns about how many bytes a run that has ended takes, without its frames."""
    return _RUN_BYTES + len(records) + sum(map(len, texts))


def frames_bytes(length: int) -> int:
    """Returns about how many bytes frames take that are appended together and have ``length`` bytes."""
    return _FRAMES_BYTES + length if length else 0


def message_bytes(message: str) -> int:
    """Returns about how many bytes a message takes."""
    return _MESSAGE_BYTES + len(message)
