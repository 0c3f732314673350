"""Server-sent events (WHATWG HTML, section 9.2): one AG-UI event per frame, serialised once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from .._strict_json import loads

KEEP_ALIVE = b": keep-alive\n\n"

_I = ord("I")

Event = dict[str, Any]


class InvalidEventError(Exception):
    """The agent emitted an event that clients would reject. The message is meant for developers."""

    is_logged_without_traceback = True
    """Its text says all: a traceback would show where the runtime has read the event."""


def encode(event: Mapping[str, Any]) -> bytes:
    """Serialises an event as one line of JSON (RFC 8259). Raises InvalidEventError if JSON cannot represent it."""
    try:
        data = to_json(event)
    except ENCODING_ERRORS as error:
        raise unencodable(event) from error
    # pydantic writes NaN and the infinities as bare words, which is not JSON. Usually these words are
    # part of some text, so the data is parsed again only where one of them occurs. To look for a byte, and to look
    # with `find`, costs less than ``in``, and the search is half of what encoding a small event costs.
    if data.find(b"NaN") >= 0 or (_I in data and data.find(b"Infinity") >= 0):
        try:
            loads(data, check_overflow=False)
        except ValueError as error:
            raise InvalidEventError(
                f"{event.get('type')} contains NaN or an infinity, which JSON cannot represent"
            ) from error
    return data


def encode_parsed(value: Mapping[str, Any]) -> bytes:
    """Serialises what was parsed from JSON as one line of JSON. Raises InvalidEventError if JSON cannot represent it.

    It is not searched for NaN, which takes longer than encoding a long text. What an agent has put there since becomes
    null.
    """
    try:
        return to_json(value, inf_nan_mode="null")
    except ENCODING_ERRORS as error:
        raise unencodable({"type": "RUN_STARTED"}) from error


ENCODING_ERRORS = (PydanticSerializationError, UnicodeEncodeError, RecursionError, ValueError)
"""What ``to_json`` raises. It may be called for an event without numbers, in which there can be no NaN."""


def unencodable(event: Mapping[str, Any]) -> InvalidEventError:
    """Returns the error for an event for which ``to_json`` has raised one."""
    return InvalidEventError(f"{event.get('type')} contains a value that JSON cannot represent")


FRAME_WITH_ID = b"%b%d\ndata: %b\n\n"
"""What `format_frame` fills in for a frame with an id, for whoever makes so many that each call counts."""


def format_frame(data: bytes, prefix: bytes = b"", number: int = 0) -> bytes:
    """Returns the frame of one event.

    Args:
        data: The event as one line of JSON.
        prefix: The `id_prefix` of its run, or empty for a frame without an id.
        number: The number of the event in its run, from 1 on.
    """
    if prefix:
        return FRAME_WITH_ID % (prefix, number, data)
    return b"data: %b\n\n" % data


def with_member(frame: bytes, name: bytes, value: bytes) -> bytes:
    """Returns the frame of an event with a further member, as one line of JSON: one copy of what may be long."""
    return b"".join((frame[:-3], b',"', name, b'":', value, b"}\n\n"))


def id_prefix(ordinal: int) -> bytes:
    """Returns how every frame of a thread's nth run starts: ids have the form ``<ordinal>.<number>``."""
    return b"id: %d." % ordinal


def event_data(frame: bytes) -> bytes:
    """Returns the event of a frame that `format_frame` made, as JSON."""
    return frame[frame.index(b"data: ") + 6 : -2]


def decode(frame: bytes) -> Any:
    """Returns the event of a frame that `format_frame` made."""
    data = frame[frame.index(b"data: ") + 6 :]
    try:
        return from_json(data)
    except ValueError:  # such as half a character, or deep nesting
        return json.loads(data)


def replace_event(frame: bytes, event: Mapping[str, Any]) -> bytes:
    """Returns a frame with the same id and another event. Raises InvalidEventError if JSON cannot represent that."""
    return b"%bdata: %b\n\n" % (frame[: frame.index(b"data: ")], encode(event))
