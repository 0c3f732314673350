"""Converts messages and tools to those of Google's generateContent.

The API wants users and models to take turns, so that what follows each other with the same role is one content.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import mimetypes
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ...._tools.toolbox import ToolDefinition
from ...media import placeholder
from ...messages import (
    AssistantMessage,
    Call,
    Encrypted,
    Media,
    Message,
    SystemMessage,
    Text,
    ToolMessage,
    UserMessage,
)
from ...model_api import named_tool

Part = dict[str, Any]

SIGNATURE = "thought_signature"
"""The member of an `Encrypted` with the signature of a part, in base64."""

CALL_ID = "id"
"""The member of a call's `Encrypted` with the id that the API has given it."""

_NO_SIGNATURE = b"skip_thought_signature_validator"
"""What Google's documentation says to send with calls that no model of Google has made."""

_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}


def turn_converter(model: str) -> Callable[[Message, Counter[str]], Iterator[tuple[str, list[Part]]]]:
    """Returns a function that yields the role and the parts of a message; see `ConvertedMessages`.

    System messages are sent apart.
    """
    needs_signatures = not model.startswith(("gemini-1", "gemini-2"))
    call_ids: dict[str, str] = {}

    def convert(message: Message, unsupported: Counter[str]) -> Iterator[tuple[str, list[Part]]]:
        if isinstance(message, UserMessage):
            yield "user", list(_user(message, unsupported))
        elif isinstance(message, AssistantMessage):
            call_ids.update({call.id: identity for call in message.calls if (identity := _id_of(call))})
            yield "model", list(_model(message, needs_signatures))
        elif isinstance(message, ToolMessage):
            response: Part = {"name": message.name, "response": {"output": message.text}}
            if message.call_id in call_ids:
                response["id"] = call_ids[message.call_id]
            yield "user", [{"function_response": response}]

    return convert


def has_signatures(turns: Iterable[tuple[str, list[Part]]]) -> bool:
    """Returns whether there are signatures of the model in a conversation."""
    return any(part.get(SIGNATURE, _NO_SIGNATURE) != _NO_SIGNATURE for _, parts in turns for part in parts)


def without_signatures(messages: Iterable[Message]) -> list[Message]:
    """Returns a conversation without what the model has attached to it, but for the ids of calls."""
    return [_without_signatures(each) if isinstance(each, AssistantMessage) else each for each in messages]


def _without_signatures(message: AssistantMessage) -> AssistantMessage:
    return AssistantMessage(
        tuple(
            dataclasses.replace(
                part, encrypted={name: value for name, value in (part.encrypted or {}).items() if name != SIGNATURE}
            )
            for part in message.parts
        )
    )


def to_system_instruction(messages: Iterable[Message]) -> dict[str, Any] | None:
    """Returns the system prompt: the API has none within a conversation."""
    parts = [{"text": message.text} for message in messages if isinstance(message, SystemMessage)]
    return {"parts": parts} if parts else None


def to_function_declarations(tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
    """Returns the definitions of tools."""
    return [
        {"name": tool.name, "description": tool.description, "parameters_json_schema": tool.parameters}
        for tool in tools
    ]


def to_function_calling_config(tool_choice: str | Mapping[str, Any] | None, *, strict: bool) -> dict[str, Any] | None:
    """Returns a tool choice in the form of the API; None leaves it to the API.

    Args:
        tool_choice: the tool choice.
        strict: whether arguments have to match the schemas.
    """
    name = named_tool(tool_choice)
    if name is not None:
        return {"mode": "ANY", "allowed_function_names": [name]}
    if strict and tool_choice in (None, "auto"):
        return {"mode": "VALIDATED"}
    return None if tool_choice is None else {"mode": _MODES[str(tool_choice)]}


def _user(message: UserMessage, unsupported: Counter[str]) -> Iterator[Part]:
    if isinstance(message.content, str):
        yield {"text": message.content}
        return
    for part in message.content:
        if isinstance(part, Text):
            yield {"text": part.text}
        else:
            yield _media(part) or {"text": placeholder(part, unsupported)}


def _model(message: AssistantMessage, needs_signatures: bool) -> Iterator[Part]:
    for part in message.parts:
        if isinstance(part, Text):
            yield {"text": part.text, **_signature(part.encrypted)}
        elif isinstance(part, Call):
            call = {"name": part.name, "args": json.loads(part.arguments)}
            identity = _id_of(part)
            if identity:
                call["id"] = identity
            signature = _signature(part.encrypted)
            if needs_signatures and not signature and part is message.calls[0]:
                signature = {SIGNATURE: _NO_SIGNATURE}
            yield {"function_call": call, **signature}
        elif signature := _signature(part.encrypted):
            yield {"text": part.text, "thought": True, **signature}


def _id_of(call: Call) -> str | None:
    """Returns the id that the API has given a call, if it has."""
    identity = (call.encrypted or {}).get(CALL_ID)
    return identity if isinstance(identity, str) else None


def _signature(encrypted: Encrypted | None) -> Part:
    value = (encrypted or {}).get(SIGNATURE)
    signature = _decode(value) if isinstance(value, str) else None
    return {} if signature is None else {SIGNATURE: signature}


def _media(media: Media) -> Part | None:
    if media.file_id or media.url:
        uri = media.file_id or media.url
        mime_type = media.media_type or mimetypes.guess_type(uri or "")[0]
        return {"file_data": {"file_uri": uri, **({"mime_type": mime_type} if mime_type else {})}}
    data = _decode(media.data or "")
    if not data or not media.media_type:
        return None
    return {"inline_data": {"mime_type": media.media_type, "data": data}}


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
