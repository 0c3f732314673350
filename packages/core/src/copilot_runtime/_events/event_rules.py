"""One row per type of event with all that its `RunRecorder` needs to know: schema, transition, and deltas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from .deltas import DELTA_IDS, DELTA_TYPES, DeltaType
from .protocol_state import PASS_ON, TRANSITIONS, Transition
from .schema import SCHEMAS, EventSchema
from .sse import Event


@dataclasses.dataclass(frozen=True, slots=True)
class EventRule:
    """Everything that applies to one type of event, so that one lookup per event is enough."""

    kind: str
    schema: EventSchema
    has_only_strings: Callable[[Event], bool]
    """As in its schema."""
    transition: Transition
    introduces_message: bool
    """Whether it may be the first event with its message id. Deltas never are, nor is what needs an open message."""
    may_expand: bool
    """Whether it may become several events even if chunks have opened nothing."""
    delta_id: str | None
    """The member with the id of a delta."""
    deltas: DeltaType | None
    """The deltas that may follow: those that a start event opens, or further ones."""


_DELTAS_OF_STARTS: Mapping[str, str] = {
    schema.chunk.start: schema.chunk.content for schema in SCHEMAS.values() if schema.chunk is not None
}
"""The start events that deltas may follow, and the type of these deltas."""

EVENT_RULES: Mapping[str, EventRule] = {
    kind: EventRule(
        kind,
        schema,
        schema.has_only_strings,
        TRANSITIONS.get(kind, PASS_ON),
        "delta" not in schema.strings and kind != "TEXT_MESSAGE_END",
        schema.chunk is not None or kind == "RUN_ERROR",
        DELTA_IDS.get(kind),
        DELTA_TYPES.get(_DELTAS_OF_STARTS.get(kind, kind)),
    )
    for kind, schema in SCHEMAS.items()
}
