"""JSON that a model or a tool has written, to be sent in an event."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import to_json

from ..._events.surrogates import join_surrogates, without_surrogates
from ..._strict_json import loads, loads_with_surrogates

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

_WRAPPERS = 8
"""How much deeper a value is in an event than it is by itself; what reads the event has a limit for the whole."""


def parse(text: str) -> Any:
    """Returns the value; None if it is not JSON, or cannot be sent within an event."""
    data = b"[" * _WRAPPERS + join_surrogates(text).encode() + b"]" * _WRAPPERS
    try:
        value = _loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(_WRAPPERS):
        if len(value) != 1:
            return None
        [value] = value
    return value


def _loads(data: bytes) -> Any:
    try:
        return loads(data)
    except ValueError:
        if _ESCAPED_SURROGATE.search(data) is None:
            raise
        return loads(to_json(without_surrogates(loads_with_surrogates(data))))
