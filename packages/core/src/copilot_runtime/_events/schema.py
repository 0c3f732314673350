"""The schema of each type of AG-UI event, one row per type.

Clients validate every event and end their stream silently at the first invalid one. Here such an event counts
as a failure of the agent, which can be reported. Members that a schema does not name are passed on unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .rules import (
    InvalidValueError,
    Rule,
    array,
    boolean,
    choices,
    json_object,
    one_of,
    or_absent,
    shape,
    string,
    timestamp,
)
from .shapes import (
    MESSAGE,
    PATCH,
    RESULT_CONTENT,
    RUN_INPUT,
    RUN_OUTCOME,
    SUBAGENT_OUTCOME,
    USAGE,
    reasoning_role,
)
from .sse import Event, InvalidEventError

# Optional members that an event of any type may have.
_COMMON_OPTIONAL: Mapping[str, Rule] = {"timestamp": timestamp, "metadata": json_object, "subagentRunId": string}


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
    required: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
    """Other required members."""
    optional: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The values of members that clients require and that encoders leave out if they are null."""
    chunk: ChunkSpec | None = None
    """How to expand the event, if its type is a chunk."""
    keeps_chunk_open: bool = False
    """Whether the event may come between chunks without closing what they opened."""
    has_only_strings: Callable[[Event], bool] = dataclasses.field(init=False)
    """Returns whether an event has only the strings that its type requires, and maybe one of the roles.

    Such an event is valid: for most, this is all that has to be checked."""
    rule: Rule = dataclasses.field(init=False)
    """The rule for everything but the strings."""

    def __post_init__(self) -> None:
        optional = {**_COMMON_OPTIONAL, **self.optional}
        object.__setattr__(self, "rule", shape(self.required, optional, defaults=self.defaults))
        roles = choices(self.optional["role"]) if "role" in self.optional else frozenset[str]()
        is_plain = not (self.required or self.defaults)
        object.__setattr__(self, "has_only_strings", _only_strings(self.strings, roles) if is_plain else _never)

    def validate(self, event: Event) -> Event:
        """Returns the event as clients accept it. Raises InvalidEventError if they would reject it."""
        return event if self.has_only_strings(event) else self.validate_fully(event)

    def validate_fully(self, event: Event) -> Event:
        """Does the same for an event that may have more than strings."""
        for name in self.strings:
            if not isinstance(event.get(name), str):
                raise InvalidEventError(f"{event['type']}: {name} must be a string")
        try:
            return self.rule(event)  # type: ignore[no-any-return]
        except InvalidValueError as error:
            raise InvalidEventError(f"{event['type']}: {error.path.removeprefix('.')} {error.problem}") from None

    def lenient(self) -> EventSchema:
        """Returns a schema that leaves out optional members that clients would reject."""
        rules = {**_COMMON_OPTIONAL, **self.optional}
        return dataclasses.replace(self, optional={name: or_absent(rule) for name, rule in rules.items()})


def _never(event: Event) -> bool:
    return False


def _only_strings(strings: tuple[str, ...], roles: frozenset[str]) -> Callable[[Event], bool]:
    """Returns a function for `EventSchema.has_only_strings`: without a loop, since most events have one or two."""
    if len(strings) == 1:
        (name,) = strings

        def has_one(event: Event) -> bool:
            try:
                return event[name].__class__ is str and (
                    len(event) == 2 or (len(event) == 3 and (role := event["role"]).__class__ is str and role in roles)
                )
            except KeyError:
                return False

        return has_one
    if len(strings) == 2:
        first, second = strings

        def has_two(event: Event) -> bool:
            try:
                return len(event) == 3 and event[first].__class__ is str and event[second].__class__ is str
            except KeyError:
                return False

        return has_two
    return lambda event: len(event) == 1 + len(strings) and all(event.get(name).__class__ is str for name in strings)


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

_TEXT_START = {"role": one_of("developer", "system", "assistant", "user"), "name": string}

SCHEMAS: Mapping[str, EventSchema] = {
    "RUN_STARTED": EventSchema(
        ("threadId", "runId"), optional={"input": RUN_INPUT, "parentRunId": string, "protocolVersion": string}
    ),
    "RUN_FINISHED": EventSchema(("threadId", "runId"), optional={"outcome": RUN_OUTCOME, "usage": USAGE}),
    "RUN_ERROR": EventSchema(("message",), optional={"code": string, "usage": USAGE}),
    "STEP_STARTED": EventSchema(("stepName",)),
    "STEP_FINISHED": EventSchema(("stepName",)),
    "TEXT_MESSAGE_START": EventSchema(("messageId",), optional=_TEXT_START),
    "TEXT_MESSAGE_CONTENT": EventSchema(("messageId", "delta")),
    "TEXT_MESSAGE_END": EventSchema(("messageId",)),
    "TEXT_MESSAGE_CHUNK": EventSchema(chunk=_TEXT_CHUNK),
    "TOOL_CALL_START": EventSchema(("toolCallId", "toolCallName"), optional={"parentMessageId": string}),
    "TOOL_CALL_ARGS": EventSchema(("toolCallId", "delta")),
    "TOOL_CALL_END": EventSchema(("toolCallId",)),
    "TOOL_CALL_RESULT": EventSchema(
        ("messageId", "toolCallId"), required={"content": RESULT_CONTENT}, optional={"role": one_of("tool")}
    ),
    "TOOL_CALL_CHUNK": EventSchema(chunk=_TOOL_CHUNK),
    "STATE_SNAPSHOT": EventSchema(defaults={"snapshot": None}),
    "STATE_DELTA": EventSchema(required={"delta": PATCH}),
    "MESSAGES_SNAPSHOT": EventSchema(required={"messages": array(MESSAGE)}),
    "ACTIVITY_SNAPSHOT": EventSchema(
        ("messageId", "activityType"),
        required={"content": json_object},
        optional={"replace": boolean},
        keeps_chunk_open=True,
    ),
    "ACTIVITY_DELTA": EventSchema(("messageId", "activityType"), required={"patch": PATCH}, keeps_chunk_open=True),
    "RAW": EventSchema(optional={"source": string}, defaults={"event": None}, keeps_chunk_open=True),
    "CUSTOM": EventSchema(("name",), defaults={"value": None}),
    "REASONING_START": EventSchema(("messageId",)),
    "REASONING_END": EventSchema(("messageId",)),
    "REASONING_MESSAGE_START": EventSchema(
        ("messageId",), optional={"role": reasoning_role}, defaults={"role": "reasoning"}
    ),
    "REASONING_MESSAGE_CONTENT": EventSchema(("messageId", "delta")),
    "REASONING_MESSAGE_END": EventSchema(("messageId",)),
    "REASONING_MESSAGE_CHUNK": EventSchema(chunk=_REASONING_CHUNK),
    "REASONING_ENCRYPTED_VALUE": EventSchema(
        ("entityId", "encryptedValue"), required={"subtype": one_of("tool-call", "message")}, keeps_chunk_open=True
    ),
    "SUBAGENT_STARTED": EventSchema(
        ("subagentRunId", "name"),
        optional=dict.fromkeys(("description", "parentSubagentRunId", "parentToolCallId", "parentMessageId"), string),
    ),
    "SUBAGENT_FINISHED": EventSchema(("subagentRunId",), optional={"outcome": SUBAGENT_OUTCOME}),
    "SUBAGENT_ERROR": EventSchema(("subagentRunId", "message"), optional={"code": string}),
    # Removed in AG-UI 1.0, but agents on 0.1.x models send them, and 0.0.x clients accept them.
    "THINKING_START": EventSchema(optional={"title": string}),
    "THINKING_END": EventSchema(),
    "THINKING_TEXT_MESSAGE_START": EventSchema(),
    "THINKING_TEXT_MESSAGE_CONTENT": EventSchema(("delta",)),
    "THINKING_TEXT_MESSAGE_END": EventSchema(),
}
