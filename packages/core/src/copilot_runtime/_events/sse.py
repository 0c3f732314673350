"""One event to one server-sent frame (WHATWG HTML, section 9.2), encoded once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

KEEP_ALIVE = b": keep-alive\n\n"
CONNECTED = b": connected\n\n"

Event = dict[str, Any]


class InvalidEventError(Exception):
    """The agent emitted something that no client would take. Its text is for developers."""


def encode(event: Mapping[str, Any]) -> bytes:
    """An event as one line of JSON. Raises BadEvent where JSON cannot hold it (RFC 8259)."""
    try:
        data = to_json(event)
    except (PydanticSerializationError, UnicodeEncodeError, RecursionError, ValueError) as error:
        raise InvalidEventError(f"{event.get('type')} holds something that JSON cannot") from error
    # pydantic writes these three as bare words, which is not JSON. They are nearly always
    # part of some text, so a strict second look is taken only where one occurs.
    if (b"NaN" in data or b"Infinity" in data) and not _is_json(data):
        raise InvalidEventError(f"{event.get('type')} holds NaN or an infinity, which JSON does not have")
    return data


def _is_json(data: bytes) -> bool:
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def format_frame(data: bytes, prefix: bytes = b"", number: int = 0) -> bytes:
    """A frame that holds one event. ``prefix`` is `id_prefix` of its run, or empty for no id."""
    if prefix:
        return b"%b%d\ndata: %b\n\n" % (prefix, number, data)
    return b"data: %b\n\n" % data


def id_prefix(ordinal: int) -> bytes:
    """How the frames of a thread's nth run begin: their id is ``<ordinal>.<number>``."""
    return b"id: %d." % ordinal


def decode(framed: bytes) -> Any:
    """The event of a frame that `frame` made."""
    return json.loads(framed[framed.index(b"data: ") + 6 :])
