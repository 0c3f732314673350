"""What a server of the Responses API sends as a whole, although a stream was requested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..members import list_member, text_member

Event = dict[str, Any]

_TERMINAL_EVENTS: Mapping[Any, str] = {
    None: "response.completed",
    "completed": "response.completed",
    "incomplete": "response.incomplete",
}
"""By the status of a response. All others mean that there is none."""

_DELTAS: Mapping[str, tuple[str, str]] = {
    "output_text": ("response.output_text.delta", "text"),
    "refusal": ("response.refusal.delta", "refusal"),
    "summary_text": ("response.reasoning_summary_text.delta", "text"),
    "reasoning_text": ("response.reasoning_text.delta", "text"),
}
"""By the type of a part: the event that it would be streamed as, and its member with the text."""


def to_events(value: Mapping[str, Any]) -> list[Event] | None:
    """Returns the event that a response ends with; None for an event, and nothing for anything else."""
    if "type" in value:
        return None
    if value.get("object") != "response" and not isinstance(value.get("output"), list):
        return []
    kind = _TERMINAL_EVENTS.get(value.get("status"), "response.failed")
    return [{"type": kind, "response": dict(value)}]


def to_delta_events(item: Any) -> Iterator[Event]:
    """Yields the events by which the texts of an item would be streamed."""
    for name in ("summary", "content"):
        for number, part in enumerate(list_member(item, name)):
            kind, text = _DELTAS.get(text_member(part, "type"), ("", ""))
            if kind:
                yield {"type": kind, f"{name}_index": number, "delta": text_member(part, text)}
