"""The schema of each type of AG-UI event, one row per type.

Clients validate every event and end their stream silently at the first invalid one. Here such an event counts
as a failure of the agent, which can be reported. Members that a schema does not name are passed on unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .normalize import to_jsonable
from .sse import Event, InvalidEventError

Check = Callable[[Any], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class ChunkSpec:
    """How chunks of one type are expanded."""

    id: str
    """The member that holds the id."""
    start: str
    content: str
    end: str
    """The types of the events that chunks become."""
    required: tuple[str, ...]
    """Members that the first chunk must have."""
    copied: tuple[str, ...]
    """Members that are copied to the start event."""
    closed_on_completion: bool
    """Whether `closing_events` ends what the chunks opened, when an unfinished run is completed."""
    defaults: Mapping[str, str]
    """Members of the start event, unless the first chunk has its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class EventSchema:
    """The members of one type of event, and how it behaves next to chunks."""

    strings: tuple[str, ...] = ()
    """Required members that must be strings."""
    required: tuple[tuple[str, Check], ...] = ()
    """Other required members."""
    optional: Mapping[str, Check] = dataclasses.field(default_factory=dict)
    nullable: frozenset[str] = frozenset()
    """Members whose null is a value. Any other member that is null is dropped."""
    nested: tuple[str, ...] = ()
    """Members that may contain protocol models, whose nulls clients reject."""
    chunk: ChunkSpec | None = None
    """How to expand the event, if its type is a chunk."""
    keeps_chunk_open: bool = False
    """Whether the event may come between chunks without closing what they opened."""
    size: int = dataclasses.field(init=False)
    """The number of members of an event that has only its type and the required ones."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + len(self.strings) + len(self.required))

    def validate(self, event: Event) -> Event:
        """Returns the event without meaningless nulls. Raises InvalidEventError if it is invalid."""
        try:
            for name in self.strings:
                if event[name].__class__ is not str and not isinstance(event[name], str):
                    raise InvalidEventError(f"{event['type']} requires a string {name}")
        except KeyError:
            raise InvalidEventError(f"{event['type']} requires a string {name}") from None
        if self.required or len(event) > self.size:
            return self._validate_rest(event)
        return event

    def _validate_rest(self, event: Event) -> Event:
        if self.nested:
            event = {name: to_jsonable(value) if name in self.nested else value for name, value in event.items()}
        for name, check in self.required:
            if name not in event or not check(event[name]):
                raise InvalidEventError(f"{event['type']} requires a valid {name}")
        if None in event.values():
            event = {name: value for name, value in event.items() if value is not None or name in self.nullable}
        for name in event:
            optional_check = self.optional.get(name) or _COMMON_OPTIONAL.get(name)
            if optional_check is not None and not optional_check(event[name]):
                raise InvalidEventError(f"{event['type']} has an invalid {name}")
        return event


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_content(value: Any) -> bool:
    return isinstance(value, (str, list))


def _is_patch(value: Any) -> bool:
    """A JSON Patch document (RFC 6902, section 3)."""
    return isinstance(value, list) and all(
        isinstance(operation, dict) and isinstance(operation.get("op"), str) and isinstance(operation.get("path"), str)
        for operation in value
    )


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(message, dict) and isinstance(message.get("id"), str) and isinstance(message.get("role"), str)
        for message in value
    )


def _one_of(*values: str) -> Check:
    return frozenset(values).__contains__


# Optional members that an event of any type may have.
_COMMON_OPTIONAL: Mapping[str, Check] = {
    "timestamp": _is_number,
    "metadata": _is_object,
    "subagentRunId": _is_string,
}

_TEXT_START = {"role": _one_of("developer", "system", "assistant", "user"), "name": _is_string}
_TOOL_CALL_START = {"parentMessageId": _is_string}
_RUN_STARTED = {"input": _is_object, "parentRunId": _is_string, "protocolVersion": _is_string}
_RUN_FINISHED = {"outcome": _is_object, "usage": _is_list}

_TEXT_CHUNK = ChunkSpec(
    id="messageId",
    start="TEXT_MESSAGE_START",
    content="TEXT_MESSAGE_CONTENT",
    end="TEXT_MESSAGE_END",
    required=("messageId",),
    copied=("role", "name"),
    closed_on_completion=True,
    defaults={"role": "assistant"},
)
_TOOL_CHUNK = ChunkSpec(
    id="toolCallId",
    start="TOOL_CALL_START",
    content="TOOL_CALL_ARGS",
    end="TOOL_CALL_END",
    required=("toolCallId", "toolCallName"),
    copied=("toolCallName", "parentMessageId"),
    closed_on_completion=True,
    defaults={},
)
_REASONING_CHUNK = ChunkSpec(
    id="messageId",
    start="REASONING_MESSAGE_START",
    content="REASONING_MESSAGE_CONTENT",
    end="REASONING_MESSAGE_END",
    required=("messageId",),
    copied=(),
    closed_on_completion=False,
    defaults={"role": "reasoning"},
)

SCHEMAS: Mapping[str, EventSchema] = {
    "RUN_STARTED": EventSchema(("threadId", "runId"), optional=_RUN_STARTED, nested=("input",)),
    "RUN_FINISHED": EventSchema(("threadId", "runId"), optional=_RUN_FINISHED, nested=("outcome", "usage")),
    "RUN_ERROR": EventSchema(("message",), optional={"code": _is_string, "usage": _is_list}, nested=("usage",)),
    "STEP_STARTED": EventSchema(("stepName",)),
    "STEP_FINISHED": EventSchema(("stepName",)),
    "TEXT_MESSAGE_START": EventSchema(("messageId",), optional=_TEXT_START),
    "TEXT_MESSAGE_CONTENT": EventSchema(("messageId", "delta")),
    "TEXT_MESSAGE_END": EventSchema(("messageId",)),
    "TEXT_MESSAGE_CHUNK": EventSchema(chunk=_TEXT_CHUNK),
    "TOOL_CALL_START": EventSchema(("toolCallId", "toolCallName"), optional=_TOOL_CALL_START),
    "TOOL_CALL_ARGS": EventSchema(("toolCallId", "delta")),
    "TOOL_CALL_END": EventSchema(("toolCallId",)),
    "TOOL_CALL_RESULT": EventSchema(
        ("messageId", "toolCallId"),
        required=(("content", _is_content),),
        optional={"role": _one_of("tool")},
        nested=("content",),
    ),
    "TOOL_CALL_CHUNK": EventSchema(chunk=_TOOL_CHUNK),
    "STATE_SNAPSHOT": EventSchema(nullable=frozenset(("snapshot",))),
    "STATE_DELTA": EventSchema(required=(("delta", _is_patch),), nested=("delta",)),
    "MESSAGES_SNAPSHOT": EventSchema(required=(("messages", _is_messages),), nested=("messages",)),
    "ACTIVITY_SNAPSHOT": EventSchema(
        ("messageId", "activityType"),
        required=(("content", _is_object),),
        optional={"replace": lambda value: isinstance(value, bool)},
        keeps_chunk_open=True,
    ),
    "ACTIVITY_DELTA": EventSchema(
        ("messageId", "activityType"), required=(("patch", _is_patch),), nested=("patch",), keeps_chunk_open=True
    ),
    "RAW": EventSchema(optional={"source": _is_string}, nullable=frozenset(("event",)), keeps_chunk_open=True),
    "CUSTOM": EventSchema(("name",), nullable=frozenset(("value",))),
    "REASONING_START": EventSchema(("messageId",)),
    "REASONING_END": EventSchema(("messageId",)),
    "REASONING_MESSAGE_START": EventSchema(("messageId",), optional={"role": _one_of("reasoning", "assistant")}),
    "REASONING_MESSAGE_CONTENT": EventSchema(("messageId", "delta")),
    "REASONING_MESSAGE_END": EventSchema(("messageId",)),
    "REASONING_MESSAGE_CHUNK": EventSchema(chunk=_REASONING_CHUNK),
    "REASONING_ENCRYPTED_VALUE": EventSchema(
        ("entityId", "encryptedValue"),
        required=(("subtype", _one_of("tool-call", "message")),),
        keeps_chunk_open=True,
    ),
    "SUBAGENT_STARTED": EventSchema(("subagentRunId", "name")),
    "SUBAGENT_FINISHED": EventSchema(("subagentRunId",)),
    "SUBAGENT_ERROR": EventSchema(("subagentRunId", "message"), optional={"code": _is_string}),
    # Removed in AG-UI 1.0, but agents on 0.1.x models send them, and 0.0.x clients accept them.
    "THINKING_START": EventSchema(),
    "THINKING_END": EventSchema(),
    "THINKING_TEXT_MESSAGE_START": EventSchema(),
    "THINKING_TEXT_MESSAGE_CONTENT": EventSchema(("delta",)),
    "THINKING_TEXT_MESSAGE_END": EventSchema(),
}
