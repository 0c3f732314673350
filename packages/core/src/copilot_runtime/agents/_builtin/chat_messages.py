"""Converts AG-UI messages to those of the Chat Completions API.

Providers reject a request that has a tool call without a result, or a result without a call. But conversations have
both: a run was stopped, a page was closed, a history was truncated. So each call is followed by its result, or by a
placeholder, and a result without a call is sent as text.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from ... import _strict_json as strict_json
from .content_parts import flatten_text, to_content_parts
from .providers import Provider
from .thought_signatures import decode_signature

logger = logging.getLogger("copilot_runtime.agents.builtin")

ChatMessage = dict[str, Any]

_NO_RESULT = "There is no result: this call was never completed."


@dataclasses.dataclass(frozen=True, slots=True)
class _ConversionContext:
    provider: Provider
    forward_system: bool
    forward_developer: bool
    results: Mapping[str, str]
    """The results of tool calls, by the calls' ids."""
    call_ids: frozenset[str]
    unsupported: Counter[str]
    """The content parts that were replaced by a placeholder, by kind."""


def to_chat_messages(
    messages: Iterable[Any],
    provider: Provider,
    *,
    resumed_results: Mapping[str, str],
    forward_system: bool,
    forward_developer: bool,
) -> list[ChatMessage]:
    """Returns the messages of a request.

    Reasoning and activities are omitted: no provider accepts them.

    Args:
        messages: AG-UI's messages.
        provider: the provider to send them to.
        resumed_results: results of tool calls that the messages do not have, by the calls' ids.
        forward_system: whether ``system`` messages are included. Clients write messages, but not the prompt.
        forward_developer: whether ``developer`` messages are included.
    """
    messages = list(messages)
    unsupported = Counter[str]()
    results = {
        message.tool_call_id: _result_text(message, unsupported) for message in messages if message.role == "tool"
    }
    call_ids = frozenset(
        call.id for message in messages if message.role == "assistant" for call in message.tool_calls or ()
    )
    context = _ConversionContext(
        provider, forward_system, forward_developer, {**results, **resumed_results}, call_ids, unsupported
    )
    converted = [each for message in messages for each in _CONVERTERS[message.role](message, context)]
    # One line for all of them: the client decides how many there are.
    if unsupported:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(unsupported.items()))
        logger.warning("the model does not support attachments, which were replaced by placeholders: %s", counts)
    without_call = sum(message.role == "tool" and message.tool_call_id not in call_ids for message in messages)
    if without_call:
        logger.warning("tool results without a tool call in the conversation were sent as text: %d", without_call)
    return converted


def to_chat_tool_call(call_id: str, name: str, arguments: str, extra: Mapping[str, Any] | None = None) -> ChatMessage:
    """Returns a tool call for an assistant message; ``extra`` has members specific to the provider."""
    return {
        **(extra or {}),
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": _json_object(arguments)},
    }


def to_chat_tool_result(call_id: str, text: str) -> ChatMessage:
    """Returns the message with the result of a tool call."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def _json_object(arguments: str) -> str:
    """Returns arguments that every provider accepts: models do not always produce JSON, and some servers parse it."""
    if not arguments.strip():
        return "{}"
    try:
        value = strict_json.loads(arguments.encode())
    except ValueError:
        value = None
    return arguments if isinstance(value, dict) else to_json({"invalid_arguments": arguments}).decode()


def _result_text(message: Any, unsupported: Counter[str] | None = None) -> str:
    text = flatten_text(message.content, unsupported=unsupported)
    return "\n".join(filter(None, (text, f"Error: {message.error}"))) if message.error else text


def _user(message: Any, context: _ConversionContext) -> Iterator[ChatMessage]:
    content = message.content
    if not isinstance(content, str):
        media = context.provider.supported_media
        content = to_content_parts(content, supported_media=media, unsupported=context.unsupported)
    if content:
        yield {"role": "user", "content": content}


def _assistant(message: Any, context: _ConversionContext) -> Iterator[ChatMessage]:
    calls = message.tool_calls or ()
    converted: ChatMessage = {"role": "assistant"}
    if message.content:
        converted["content"] = message.content
    if calls:
        converted["tool_calls"] = [
            to_chat_tool_call(
                call.id,
                call.function.name,
                call.function.arguments,
                decode_signature(getattr(call, "encrypted_value", None), context.provider),
            )
            for call in calls
        ]
    if len(converted) > 1:
        yield converted
    for call in calls:
        yield to_chat_tool_result(call.id, context.results.get(call.id, _NO_RESULT))


def _tool(message: Any, context: _ConversionContext) -> Iterator[ChatMessage]:
    if message.tool_call_id not in context.call_ids:
        yield {"role": "user", "content": f"[The result of an earlier tool call:]\n{_result_text(message)}"}


def _system(message: Any, context: _ConversionContext) -> Iterator[ChatMessage]:
    if context.forward_system and message.content:
        yield {"role": "system", "content": message.content}


def _developer(message: Any, context: _ConversionContext) -> Iterator[ChatMessage]:
    if context.forward_developer and message.content:
        yield {"role": context.provider.developer_role, "content": message.content}


def _omit(message: Any, context: _ConversionContext) -> Iterator[ChatMessage]:
    return iter(())


_CONVERTERS: Mapping[str, Callable[[Any, _ConversionContext], Iterator[ChatMessage]]] = {
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
    "system": _system,
    "developer": _developer,
    "reasoning": _omit,
    "activity": _omit,
}
