"""JSON as RFC 8259 has it, for everything that comes in."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json, to_json

# Only such numbers can be too large for a float; what they become is then looked at once more.
_LARGE = re.compile(rb"[0-9]{300}|[eE]\+?[0-9]{3}")


def loads(data: bytes) -> Any:
    """The value in ``data``. Raises ValueError for what is not JSON, NaN and infinities included.

    A number too large for a float counts as an infinity, since that is what it would become.
    """
    value = from_json(data, allow_inf_nan=False)
    if _LARGE.search(data):
        written = to_json(value)
        if b"Infinity" in written:
            from_json(written, allow_inf_nan=False)
    return value
