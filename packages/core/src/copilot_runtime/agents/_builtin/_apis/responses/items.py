"""Converts messages and tools to the items of the Responses API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...._tools.toolbox import ToolDefinition
from ...media import placeholder
from ...messages import (
    AssistantMessage,
    Call,
    Media,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolMessage,
    UserMessage,
)
from ...model_api import named_tool

Item = dict[str, Any]

ENCRYPTED_CONTENT = "encrypted_content"
"""The member of reasoning's `Encrypted` with the encrypted content, next to its ``id``."""

PHASE = "phase"
"""The member of a text's `Encrypted` that says whether it is a comment or the answer."""


def to_items(message: Message, unsupported: Counter[str]) -> Iterator[Item]:
    """Yields the items of a message; see `ConvertedMessages`."""
    if isinstance(message, UserMessage):
        yield {"role": "user", "content": _content(message.content, unsupported)}
    elif isinstance(message, AssistantMessage):
        yield from _assistant(message)
    elif isinstance(message, ToolMessage):
        output = _content((Text(message.text), *message.media) if message.media else message.text, unsupported)
        yield {"type": "function_call_output", "call_id": message.call_id, "output": output}
    elif isinstance(message, SystemMessage):
        yield {"role": "developer" if message.is_developer else "system", "content": message.text}


def to_function_tools(tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
    """Returns the definitions of tools. Without ``strict`` the API would turn it on."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": tool.strict,
        }
        for tool in tools
    ]


def to_response_tool_choice(tool_choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Returns a tool choice in the form of the API."""
    name = named_tool(tool_choice)
    return str(tool_choice) if name is None else {"type": "function", "name": name}


def _content(content: str | tuple[Text | Media, ...], unsupported: Counter[str]) -> str | list[Item]:
    if isinstance(content, str):
        return content
    return [
        {"type": "input_text", "text": part.text} if isinstance(part, Text) else _media(part, unsupported)
        for part in content
    ]


def _assistant(message: AssistantMessage) -> Iterator[Item]:
    for part in message.parts:
        if isinstance(part, Text):
            phase = (part.encrypted or {}).get(PHASE)
            yield {
                "role": "assistant",
                "content": part.text,
                **({PHASE: phase} if isinstance(phase, str) else {}),
            }
        elif isinstance(part, Call):
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        else:
            yield from _reasoning(part)


def _reasoning(part: Reasoning) -> Iterator[Item]:
    members = part.encrypted or {}
    identity, encrypted_content = members.get("id"), members.get(ENCRYPTED_CONTENT)
    # Responses are not stored, so reasoning without its content cannot be referred to.
    if isinstance(identity, str) and isinstance(encrypted_content, str):
        yield {
            "type": "reasoning",
            "id": identity,
            "summary": [{"type": "summary_text", "text": part.text}] if part.text else [],
            ENCRYPTED_CONTENT: encrypted_content,
        }


def _media(media: Media, unsupported: Counter[str]) -> Item:
    return _build(media) or {"type": "input_text", "text": placeholder(media, unsupported)}


def _build(media: Media) -> Item | None:
    if media.kind == "image":
        source = {"file_id": media.file_id} if media.file_id else {"image_url": media.address}
        return {"type": "input_image", "detail": "auto", **source}
    if media.kind != "document":
        return None
    if media.file_id:
        return {"type": "input_file", "file_id": media.file_id}
    if media.url:
        return {"type": "input_file", "file_url": media.url}
    return {"type": "input_file", "filename": media.name or "document", "file_data": media.address}
