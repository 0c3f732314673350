"""What each type of AG-UI event must hold: one row a type.

The client checks every event it receives and ends its stream in silence at the first
that it does not like, so whatever would make it do so counts as the agent's failure
here, where it can be said. Members that are not named pass unchanged.
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
    """How a chunk type expands: the member with its id and the three types it becomes."""

    id: str
    start: str
    content: str
    end: str
    needs: tuple[str, ...]
    """What the first chunk must have."""
    copied: tuple[str, ...]
    """Members that go to the start event."""
    closed_on_completion: bool
    """Whether completing an unfinished run ends what it opened, in its turn."""
    defaults: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class EventSchema:
    """A type's required members, and how it behaves beside an open chunk."""

    strings: tuple[str, ...] = ()
    required: tuple[tuple[str, Check], ...] = ()
    optional: Mapping[str, Check] = dataclasses.field(default_factory=dict)
    nullable: frozenset[str] = frozenset()
    """Members whose null is a value of its own; elsewhere a null means that there is none."""
    nested: tuple[str, ...] = ()
    """Members that may hold protocol models, whose nulls the client refuses."""
    chunk: ChunkSpec | None = None
    keeps_chunk_open: bool = False
    size: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + len(self.strings) + len(self.required))

    def validate(self, event: Event) -> Event:
        """The event with the nulls dropped that mean nothing. Raises BadEvent where it is not valid."""
        try:
            for name in self.strings:
                if event[name].__class__ is not str and not isinstance(event[name], str):
                    raise InvalidEventError(f"{event['type']} needs a string {name}")
        except KeyError:
            raise InvalidEventError(f"{event['type']} needs a string {name}") from None
        if self.required or len(event) > self.size:
            return self._apply_rest(event)
        return event

    def _apply_rest(self, event: Event) -> Event:
        if self.nested:
            event = {name: to_jsonable(value) if name in self.nested else value for name, value in event.items()}
        for name, check in self.required:
            if name not in event or not check(event[name]):
                raise InvalidEventError(f"{event['type']} needs a valid {name}")
        if None in event.values():
            event = {name: value for name, value in event.items() if value is not None or name in self.nullable}
        for name in event:
            optional = self.optional.get(name) or _COMMON_OPTIONAL.get(name)
            if optional is not None and not optional(event[name]):
                raise InvalidEventError(f"{event['type']} has a {name} that clients refuse")
        return event


def _is_text(value: Any) -> bool:
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


# Optional members that any type may carry.
_COMMON_OPTIONAL: Mapping[str, Check] = {
    "timestamp": _is_number,
    "metadata": _is_object,
    "subagentRunId": _is_text,
}

_START = {"role": _one_of("developer", "system", "assistant", "user"), "name": _is_text}
_CALL = {"parentMessageId": _is_text}
_RUN = {"input": _is_object, "parentRunId": _is_text, "protocolVersion": _is_text}
_END = {"outcome": _is_object, "usage": _is_list}

_TEXT_CHUNK = ChunkSpec(
    id="messageId",
    start="TEXT_MESSAGE_START",
    content="TEXT_MESSAGE_CONTENT",
    end="TEXT_MESSAGE_END",
    needs=("messageId",),
    copied=("role", "name"),
    closed_on_completion=True,
    defaults={"role": "assistant"},
)
_TOOL_CHUNK = ChunkSpec(
    id="toolCallId",
    start="TOOL_CALL_START",
    content="TOOL_CALL_ARGS",
    end="TOOL_CALL_END",
    needs=("toolCallId", "toolCallName"),
    copied=("toolCallName", "parentMessageId"),
    closed_on_completion=True,
    defaults={},
)
_REASONING_CHUNK = ChunkSpec(
    id="messageId",
    start="REASONING_MESSAGE_START",
    content="REASONING_MESSAGE_CONTENT",
    end="REASONING_MESSAGE_END",
    needs=("messageId",),
    copied=(),
    closed_on_completion=False,
    defaults={"role": "reasoning"},
)

SCHEMAS: Mapping[str, EventSchema] = {
    "RUN_STARTED": EventSchema(("threadId", "runId"), optional=_RUN, nested=("input",)),
    "RUN_FINISHED": EventSchema(("threadId", "runId"), optional=_END, nested=("outcome", "usage")),
    "RUN_ERROR": EventSchema(("message",), optional={"code": _is_text, "usage": _is_list}, nested=("usage",)),
    "STEP_STARTED": EventSchema(("stepName",)),
    "STEP_FINISHED": EventSchema(("stepName",)),
    "TEXT_MESSAGE_START": EventSchema(("messageId",), optional=_START),
    "TEXT_MESSAGE_CONTENT": EventSchema(("messageId", "delta")),
    "TEXT_MESSAGE_END": EventSchema(("messageId",)),
    "TEXT_MESSAGE_CHUNK": EventSchema(chunk=_TEXT_CHUNK),
    "TOOL_CALL_START": EventSchema(("toolCallId", "toolCallName"), optional=_CALL),
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
    "RAW": EventSchema(optional={"source": _is_text}, nullable=frozenset(("event",)), keeps_chunk_open=True),
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
    "SUBAGENT_ERROR": EventSchema(("subagentRunId", "message"), optional={"code": _is_text}),
    # Gone in AG-UI 1.0; a 0.0.x client knows them and agents on 0.1.x models send them.
    "THINKING_START": EventSchema(),
    "THINKING_END": EventSchema(),
    "THINKING_TEXT_MESSAGE_START": EventSchema(),
    "THINKING_TEXT_MESSAGE_CONTENT": EventSchema(("delta",)),
    "THINKING_TEXT_MESSAGE_END": EventSchema(),
}
