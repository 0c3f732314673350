"""Converts messages and tools to those of Anthropic's Messages API.

The API wants users and assistants to take turns, so that what follows each other with the same role is one message.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
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

Block = dict[str, Any]

SIGNATURE = "signature"
"""The member of reasoning's `Encrypted` with the signature of a thinking block."""

REDACTED = "redacted_thinking"
"""The member of reasoning's `Encrypted` with the data of a block whose text the maker does not show."""

_IMAGE_TYPES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_THINKING = frozenset(("thinking", "redacted_thinking"))
_CACHE = {"cache_control": {"type": "ephemeral"}}
_TOOL_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def to_turns(message: Message, unsupported: Counter[str]) -> Iterator[tuple[str, list[Block]]]:
    """Yields the role and the blocks of a message; see `ConvertedMessages`. System messages are sent apart."""
    if isinstance(message, UserMessage):
        yield "user", list(_user(message, unsupported))
    elif isinstance(message, AssistantMessage):
        yield "assistant", [block for part in message.parts for block in _assistant(part)]
    elif isinstance(message, ToolMessage):
        content: str | list[Block] = message.text
        if message.media:
            content = list(_user(UserMessage((Text(message.text), *message.media)), unsupported))
        yield "user", [{"type": "tool_result", "tool_use_id": message.call_id, "content": content}]


def has_thinking(turns: Iterable[tuple[str, list[Block]]]) -> bool:
    """Returns whether there is thinking of the model in a conversation."""
    return any(block["type"] in _THINKING for _, blocks in turns for block in blocks)


def without_thinking(turns: Iterable[tuple[str, list[Block]]]) -> list[tuple[str, list[Block]]]:
    """Returns a conversation without the thinking of the model."""
    return [(role, [block for block in blocks if block["type"] not in _THINKING]) for role, blocks in turns]


def to_system(messages: Iterable[Message]) -> list[Block]:
    """Returns the system prompt: the API has none within a conversation."""
    return [{"type": "text", "text": message.text} for message in messages if isinstance(message, SystemMessage)]


def to_anthropic_tools(tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
    """Returns the definitions of tools."""
    return [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": tool.parameters,
            **({"strict": True} if tool.strict else {}),
        }
        for tool in tools
    ]


def to_anthropic_tool_choice(
    tool_choice: str | Mapping[str, Any] | None, *, parallel: bool | None
) -> dict[str, Any] | None:
    """Returns a tool choice in the form of the API; None leaves it to the API.

    Args:
        tool_choice: the tool choice.
        parallel: whether the model may call several tools at once.
    """
    name = named_tool(tool_choice)
    if name is not None:
        choice = {"type": "tool", "name": name}
    elif tool_choice is not None:
        choice = {"type": _TOOL_CHOICES[str(tool_choice)]}
    elif parallel is None:
        return None
    else:
        choice = {"type": "auto"}
    if parallel is not None and choice["type"] != "none":
        return {**choice, "disable_parallel_tool_use": not parallel}
    return choice


def mark_for_cache(system: list[Block], tools: list[Block], messages: list[dict[str, Any]]) -> None:
    """Marks the ends of what the maker is to cache: the tools, the system prompt, and the history.

    Of the history there are two marks, since the maker looks for an earlier one in the last 20 blocks only: the end of
    this request, and the end of the one before.
    """
    for blocks in (tools, system):
        if blocks:
            blocks[-1] = {**blocks[-1], **_CACHE}
    users = [message["content"] for message in messages if message["role"] == "user"]
    for content in users[-2:]:
        content[-1] = {**content[-1], **_CACHE}


def _user(message: UserMessage, unsupported: Counter[str]) -> Iterator[Block]:
    if isinstance(message.content, str):
        yield {"type": "text", "text": message.content}
        return
    for part in message.content:
        if isinstance(part, Text):
            if part.text:  # the API rejects an empty one
                yield {"type": "text", "text": part.text}
        else:
            builder = _BUILDERS.get(part.kind)
            block = None if builder is None else builder(part)
            yield block or {"type": "text", "text": placeholder(part, unsupported)}


def _assistant(part: Text | Reasoning | Call) -> Iterator[Block]:
    if isinstance(part, Text):
        if part.text.strip():  # the API rejects an empty one
            yield {"type": "text", "text": part.text}
    elif isinstance(part, Call):
        yield {"type": "tool_use", "id": part.id, "name": part.name, "input": json.loads(part.arguments)}
    else:
        members = part.encrypted or {}
        if isinstance(members.get(SIGNATURE), str):
            yield {"type": "thinking", "thinking": part.text, "signature": members[SIGNATURE]}
        elif isinstance(members.get(REDACTED), str):
            yield {"type": "redacted_thinking", "data": members[REDACTED]}


def _image(media: Media) -> Block | None:
    if media.url:
        return {"type": "image", "source": {"type": "url", "url": media.url}}
    if media.data is None or media.media_type not in _IMAGE_TYPES:
        return None
    return {"type": "image", "source": {"type": "base64", "media_type": media.media_type, "data": media.data}}


def _document(media: Media) -> Block | None:
    title = {"title": media.name} if media.name else {}
    if media.url:
        return {"type": "document", "source": {"type": "url", "url": media.url}, **title}
    if media.data is None or media.media_type != "application/pdf":
        return None
    return {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": media.data},
        **title,
    }


_BUILDERS: Mapping[str, Callable[[Media], Block | None]] = {"image": _image, "document": _document}
"""By kind. A builder returns None for media in a form that cannot be sent."""
