"""How ids and texts are written to PostgreSQL, which has no text with a NUL character and no long keys of indexes."""

from __future__ import annotations

from hashlib import blake2b

from .. import protocol as p

_ESCAPE = "\x1a"


def encode_text(text: str) -> str:
    """Returns a text in the form in which it is stored: as it is, unless it contains one of two control characters."""
    if "\x00" in text or _ESCAPE in text:
        return text.replace(_ESCAPE, _ESCAPE + "1").replace("\x00", _ESCAPE + "0")
    return text


def decode_text(text: str) -> str:
    """Returns a text that was stored."""
    if _ESCAPE in text:
        return text.replace(_ESCAPE + "0", "\x00").replace(_ESCAPE + "1", _ESCAPE)
    return text


def digest(*texts: str) -> bytes:
    """Returns the key of ids."""
    hashed = blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        hashed.update(b"%d:" % len(data))
        hashed.update(data)
    return hashed.digest()


def thread_digest(thread: p.ThreadKey) -> bytes:
    """Returns the key of a thread."""
    return digest(thread.owner, thread.thread_id)


def owner_digest(owner: str) -> bytes:
    """Returns the key of an owner."""
    return digest(owner)
