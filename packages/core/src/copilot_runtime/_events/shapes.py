"""The objects inside events, a row per member: what both lines of the AG-UI client, 0.x and 1.0, accept.

Only members that the protocol describes are checked. What it leaves open, such as state, metadata, tool parameters,
resume payloads and the content of activities, is passed on as it is, with its nulls.
"""

from __future__ import annotations

import re
from typing import Any

from .content import MEDIA_KINDS, media_to_binary, parts_to_text
from .rules import (
    InvalidValueError,
    Rule,
    absent,
    accepting_strings,
    array,
    by_member,
    count,
    json_object,
    one_of,
    or_absent,
    shape,
    string,
    valid_items,
)

_JSON_POINTER = re.compile(r"(?:/(?:[^/~]|~[01])*)*")


def pointer(value: Any) -> Any:
    """Accepts a JSON Pointer (RFC 6901)."""
    if not _JSON_POINTER.fullmatch(string(value)):
        raise InvalidValueError("must be a JSON Pointer, such as /items/0")
    return value


def text_or(parts: Rule) -> Rule:
    """Accepts a string, or else what a rule for lists accepts."""

    def rule(value: Any) -> Any:
        if isinstance(value, str):
            return value
        try:
            return parts(value)
        except InvalidValueError as error:
            if error.path:
                raise
            raise InvalidValueError("must be a string or a list of content parts") from None

    return accepting_strings(rule)


def _flattened(value: Any) -> Any:
    """Accepts a list of parts, which becomes text: clients before AG-UI 1.0 accept no parts in what a tool returned."""
    return parts_to_text(array(json_object)(value))


RESULT_CONTENT = text_or(_flattened)

_reasoning_roles = one_of("reasoning", "assistant")


def reasoning_role(value: Any) -> str:
    """Accepts both roles that AG-UI has had for reasoning, of which clients accept one."""
    _reasoning_roles(value)
    return "reasoning"


# --- content parts

_SOURCE = by_member(
    "type",
    {
        "data": shape({"value": string, "mimeType": string}),
        "url": shape({"value": string}, {"mimeType": string}),
        "file": shape({"value": string}, {"mimeType": string, "provider": string}),
    },
)
_MEDIA_PART = shape({"source": _SOURCE}, {"id": string})
_BINARY_MEMBERS = shape({"mimeType": string}, {"id": string, "url": string, "data": string, "filename": string})


def binary_part(value: Any) -> Any:
    """Accepts a binary part, which has to have its content in one of three forms."""
    part = _BINARY_MEMBERS(value)
    if not any(part.get(name) for name in ("data", "url", "id")):
        raise InvalidValueError("must have data, a URL or an id")
    return part


def _media_part(value: Any) -> Any:
    part = _MEDIA_PART(value)
    # Clients before AG-UI 1.0 know no sources of type file; an id in a binary part means the same to them.
    return binary_part(media_to_binary(part)) if part["source"]["type"] == "file" else part


CONTENT_PART = by_member(
    "type",
    {
        "text": shape({"text": string}, {"id": string}),
        **dict.fromkeys(MEDIA_KINDS, _media_part),
        "binary": binary_part,
    },
)

# --- messages

_TOOL_CALL = shape(
    {"id": string, "type": one_of("function"), "function": shape({"name": string, "arguments": string})},
    {"encryptedValue": string, "metadata": json_object},
)
_MESSAGE_MEMBERS = {"encryptedValue": string, "subagentRunId": string, "metadata": json_object}
_NAMED = {"name": string, **_MESSAGE_MEMBERS}


def _message(**defaults: str) -> Rule:
    """Accepts a message; ``defaults`` are members to add where the role requires them."""
    content = {"id": string, "content": string}
    return by_member(
        "role",
        {
            "developer": shape(content, _NAMED, defaults=defaults),
            "system": shape(content, _NAMED, defaults=defaults),
            "assistant": shape({"id": string}, {"content": string, "toolCalls": array(_TOOL_CALL), **_NAMED}),
            "user": shape({"id": string, "content": text_or(array(CONTENT_PART))}, _NAMED, defaults=defaults),
            "tool": shape(
                {"id": string, "toolCallId": string, "content": RESULT_CONTENT},
                {"error": string, **_MESSAGE_MEMBERS},
                defaults=defaults,
            ),
            "activity": shape({"id": string, "activityType": string, "content": json_object}, _MESSAGE_MEMBERS),
            "reasoning": shape(content, _MESSAGE_MEMBERS, defaults=defaults),
        },
    )


MESSAGE = _message()

# --- run inputs

# An input shows what the agent was called with, and no run should fail for that: what clients would reject is left out.
RUN_INPUT = shape(
    optional={
        "threadId": string,
        "runId": string,
        "parentRunId": or_absent(string),
        "protocolVersion": or_absent(string),
        "messages": valid_items(_message(content="")),
        "tools": valid_items(shape({"name": string, "description": string}, {"metadata": json_object})),
        "context": valid_items(shape({"description": string, "value": string})),
        "resume": valid_items(
            shape({"interruptId": string, "status": one_of("resolved", "cancelled")}, {"metadata": json_object})
        ),
    },
    # Clients before AG-UI 1.0 require tools and context, and all clients require the others.
    defaults={"threadId": "", "runId": "", "messages": [], "tools": [], "context": []},
)

# --- the ends of runs and of subagents

_INTERRUPT = shape(
    {"id": string, "reason": string},
    {
        "message": string,
        "toolCallId": string,
        "responseSchema": json_object,
        "expiresAt": string,
        "metadata": json_object,
        "subagentRunId": string,
    },
)
# An outcome that clients before AG-UI 1.0 do not know, such as cancelled, is left out, as clients of 1.0 do with those
# that they do not know; and so are other members (pendingToolCallIds), which the former reject.
RUN_OUTCOME = by_member(
    "type",
    {
        "success": shape({"type": string}, is_closed=True),
        "interrupt": shape({"type": string, "interrupts": array(_INTERRUPT, minimum=1)}, is_closed=True),
    },
    otherwise=absent,
)
SUBAGENT_OUTCOME = by_member(
    "type",
    {
        "success": shape({"type": string}, is_closed=True),
        "suspended": shape({"type": string}, {"interruptIds": array(string)}, is_closed=True),
    },
    otherwise=absent,
)
USAGE = array(
    shape(
        optional={
            "provider": string,
            "model": string,
            "inputTokens": count,
            "outputTokens": count,
            "totalTokens": count,
            "reasoningTokens": count,
            "cachedInputTokens": count,
            "cacheWriteInputTokens": count,
        }
    )
)

# --- JSON Patch (RFC 6902)

_WITH_VALUE = shape({"path": pointer}, defaults={"value": None})
_WITH_FROM = shape({"path": pointer, "from": pointer})

PATCH = array(
    by_member(
        "op",
        {
            "add": _WITH_VALUE,
            "replace": _WITH_VALUE,
            "test": _WITH_VALUE,
            "remove": shape({"path": pointer}),
            "move": _WITH_FROM,
            "copy": _WITH_FROM,
        },
        # Clients warn of other operations, and go on.
        otherwise=shape({"path": pointer}),
    )
)
