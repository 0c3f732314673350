"""A message of the Messages API that a server sends as a whole, although a stream was requested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..members import list_member

Event = dict[str, Any]


def to_events(value: Mapping[str, Any]) -> list[Event] | None:
    """Returns the events of a message; None for an event, and nothing for anything else."""
    if value.get("type") != "message":
        return None if "type" in value else []
    content = value.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list_member(value, "content")
    events: list[Event] = [{"type": "message_start", "message": {**value, "content": []}}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    # The message is complete, since it is JSON.
    delta = {"stop_reason": value.get("stop_reason") or "end_turn"}
    return [*events, {"type": "message_delta", "delta": delta, "usage": value.get("usage")}, {"type": "message_stop"}]
