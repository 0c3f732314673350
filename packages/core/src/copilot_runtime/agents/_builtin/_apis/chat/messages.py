"""Converts messages and tools to those of the Chat Completions API."""

from __future__ import annotations

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
    Reasoning,
    Text,
    ToolMessage,
    UserMessage,
)
from ...providers import Provider
from .content import ContentPart, media_part

ChatMessage = dict[str, Any]

CALL_MEMBER = "extra_content"
"""Where Gemini has its thought signatures in this API (https://ai.google.dev/gemini-api/docs/thought-signatures)."""

REASONING_FIELD = "field"
"""The member of reasoning's `Encrypted` with the server's name for the field."""

REASONING_DETAILS = "reasoning_details"
"""Where OpenRouter has reasoning as its maker wants it back."""

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Of DeepSeek, Qwen and vLLM; of OpenRouter, Groq and Ollama; of others."""


def call_member(members: Mapping[str, Any] | None) -> Encrypted | None:
    """Returns what is sent back of the extra members of a tool call, or None."""
    if members and isinstance(members.get(CALL_MEMBER), Mapping):
        return {CALL_MEMBER: members[CALL_MEMBER]}
    return None


def to_chat_tools(tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
    """Returns the definitions of tools."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                **({"strict": True} if tool.strict else {}),
            },
        }
        for tool in tools
    ]


def chat_message_converter(provider: Provider) -> Callable[[Message, Counter[str]], Iterator[ChatMessage]]:
    """Returns a function that yields the chat messages of a message; see `ConvertedMessages`."""

    def convert(message: Message, unsupported: Counter[str]) -> Iterator[ChatMessage]:
        if isinstance(message, UserMessage):
            content: Any = message.content
            if not isinstance(content, str):
                content = [
                    {"type": "text", "text": part.text} if isinstance(part, Text) else to_part(part, unsupported)
                    for part in content
                ]
            yield {"role": "user", "content": content}
        elif isinstance(message, AssistantMessage):
            yield from _assistant(message)
        elif isinstance(message, ToolMessage):
            yield {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
        else:
            role = provider.developer_role if message.is_developer else "system"
            yield {"role": role, "content": message.text}

    def to_part(media: Media, unsupported: Counter[str]) -> ContentPart:
        part = media_part(media, provider.supported_media)
        return part or {"type": "text", "text": placeholder(media, unsupported)}

    return convert


def _assistant(message: AssistantMessage) -> Iterator[ChatMessage]:
    converted: ChatMessage = {"role": "assistant"}
    texts: list[str] = []
    calls: list[ChatMessage] = []
    reasoning: dict[str, str] = {}
    details: list[Any] = []
    for part in message.parts:
        match part:
            case Call():
                calls.append(_call(part))
            case Reasoning():
                encrypted = part.encrypted or {}
                if isinstance(encrypted.get(REASONING_DETAILS), list):
                    details += encrypted[REASONING_DETAILS]
                field = encrypted.get(REASONING_FIELD)
                if field in REASONING_FIELDS:
                    reasoning[field] = reasoning.get(field, "") + part.text
            case _:
                texts.append(part.text)
    if texts:
        converted["content"] = "".join(texts)
    if calls:
        converted["tool_calls"] = calls
        # DeepSeek rejects tool calls that are sent back without the reasoning before them.
        converted.update(reasoning)
    if len(converted) > 1:
        yield {**converted, **({REASONING_DETAILS: details} if details else {})}


def _call(call: Call) -> ChatMessage:
    return {
        **(call_member(call.encrypted) or {}),
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
