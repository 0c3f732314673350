"""Reading bodies, for adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .types import FormPart

_CHUNK_BYTES = 64 * 1024


def read_body(read: Callable[[int], bytes], limit: int) -> bytes:
    """Returns at most ``limit`` bytes from ``read``, which returns at most as many as it is called with.

    The rest of a body that is longer is still read for a while, up to ``limit`` bytes more: a client that is
    still sending when the connection closes never sees the response.
    """
    body = read(limit)
    left = limit
    while len(body) == limit and left > 0 and (chunk := read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
    return body


def make_form_parts(
    fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str | None, Any]]
) -> tuple[FormPart, ...] | None:
    """Returns the parts of a form that a framework has parsed; None if it has none.

    Args:
        fields: names and values.
        files: names, file names and files; a file has ``seek``, ``read`` and ``content_type``, as werkzeug's and
            Django's have. Raises what reading them raises.
    """
    parts = [FormPart(name=name, data=value.encode()) for name, value in fields]
    for name, filename, file in files:
        file.seek(0)  # the code that parsed the form may have read it, too
        parts.append(FormPart(name=name, data=file.read(), filename=filename, content_type=file.content_type))
    return tuple(parts) or None
