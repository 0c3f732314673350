"""Repairs stored frames that clients would reject, such as those that an earlier version has stored.

A client ends its stream at the first event that it does not accept, so one such event would hide the rest of its
thread for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic_core import from_json

from .schema import SCHEMAS
from .sse import InvalidEventError, replace_event

# What most frames of a thread are: events that consist of strings, which have been checked in every version.
_ONLY_STRINGS = re.compile(
    rb'(?:id: [^\n]*\n)?data: \{"type":"(?:(?:TEXT_MESSAGE|TOOL_CALL)_(?:START|CONTENT|ARGS|END)'
    rb'|REASONING_MESSAGE_(?:CONTENT|END)|STEP_(?:STARTED|FINISHED))"'
)

_SCHEMAS = {kind: schema.lenient() for kind, schema in SCHEMAS.items()}


def repair_frames(frames: Iterable[bytes]) -> list[bytes]:
    """Returns frames without those that clients would reject and that cannot be repaired."""
    return [repaired for repaired in map(_repair, frames) if repaired]


def _repair(frame: bytes) -> bytes:
    """Returns a frame as clients accept it, or nothing."""
    if _ONLY_STRINGS.match(frame) and b"null" not in frame and b'"timestamp"' not in frame:
        return frame
    try:
        event = from_json(frame.partition(b"data: ")[2])
        schema = _SCHEMAS[event["type"]]
    except (ValueError, LookupError, TypeError):
        return frame  # of a later version, if it is an event at all
    try:
        repaired = schema.validate(event)
        return frame if repaired is event else replace_event(frame, repaired)
    except InvalidEventError:
        return b""
