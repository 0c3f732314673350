"""Converts AG-UI messages to those of a request to the model.

Makers reject a request that has a tool call without a result, or a result without a call. But conversations have both:
a run was stopped, a page was closed, a history was truncated. So each call is followed by its result, or by a
placeholder, and a result without a call is sent as text.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .._tools.arguments import json_object
from .encrypted_values import decode_encrypted
from .media import flatten_text, placeholder, read_parts
from .messages import (
    AssistantMessage,
    Call,
    Media,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolContent,
    ToolMessage,
    UserMessage,
)

logger = logging.getLogger("copilot_runtime.agents.builtin")

_NO_RESULT = "There is no result: this call was never completed."


@dataclasses.dataclass(frozen=True, slots=True)
class _ConversionContext:
    provider: str
    server: str
    forward_system: bool
    forward_developer: bool
    results: Mapping[str, list[ToolContent]]
    """The results of tool calls in their order, by the calls' ids."""
    call_counts: Counter[str]
    """How many calls there are, by their ids."""
    seen_call_ids: Counter[str] = dataclasses.field(default_factory=Counter)
    """How many calls there have been, by their ids."""


def to_messages(
    messages: Iterable[Any],
    provider: str,
    *,
    server: str = "",
    resumed_results: Mapping[str, ToolContent],
    forward_system: bool,
    forward_developer: bool,
) -> list[Message]:
    """Returns the messages of a request.

    Activities are omitted, and reasoning to which this provider has not attached anything.

    Args:
        messages: AG-UI's messages.
        provider: the name of the provider to send them to.
        server: the tag of its server; see `server_tag`.
        resumed_results: results of tool calls that the messages do not have, by the calls' ids.
        forward_system: whether ``system`` messages are included. Clients write messages, but not the prompt.
        forward_developer: whether ``developer`` messages are included.
    """
    messages = list(messages)
    unsupported = Counter[str]()
    results: dict[str, list[ToolContent]] = {}
    for message in [message for message in messages if message.role == "tool"]:
        results.setdefault(message.tool_call_id, []).append(_result(message, unsupported))
    results.update((call_id, [content]) for call_id, content in resumed_results.items())
    call_counts = Counter(
        call.id for message in messages if message.role == "assistant" for call in message.tool_calls or ()
    )
    context = _ConversionContext(provider, server, forward_system, forward_developer, results, call_counts)
    log_unsupported(unsupported)
    without_call = sum(message.role == "tool" and message.tool_call_id not in call_counts for message in messages)
    if without_call:
        logger.warning("tool results without a tool call in the conversation were sent as text: %d", without_call)
    return list(_convert(messages, context))


def log_unsupported(unsupported: Counter[str]) -> None:
    """Logs the attachments that were replaced, by kind, in one line: the client decides how many there are."""
    if unsupported:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(unsupported.items()))
        logger.warning("the model does not support attachments, which were replaced by placeholders: %s", counts)


def _convert(messages: Iterable[Any], context: _ConversionContext) -> Iterator[Message]:
    response: list[Text | Reasoning | Call] = []
    for message in messages:
        role = message.role
        if role in _CONVERTERS:
            if response:
                yield from _response(response, context)
                response = []
            yield from _CONVERTERS[role](message, context)
            continue
        if role == "activity":
            continue
        # What follows a call immediately belongs to the same response, and must not come after the call's result.
        if not isinstance(response[-1] if response else None, Reasoning) and not _calls(response):
            yield from _response(response, context)
            response = []
        response.extend(_RESPONSE_PARTS[role](message, context))
    if response:
        yield from _response(response, context)


def _response(parts: list[Text | Reasoning | Call], context: _ConversionContext) -> Iterator[Message]:
    """Yields one response of the model, with the results of its calls."""
    if not any(isinstance(part, Text | Call) for part in parts):
        return  # reasoning that led to nothing, since the run was stopped, is rejected by makers
    results = []
    for index, call in enumerate(parts):
        if isinstance(call, Call):
            result = _take_result(call.id, context)
            # Servers that number the calls of each response from 0 repeat them, and makers refuse that.
            number = context.seen_call_ids[call.id]
            if number > 1:
                call = parts[index] = dataclasses.replace(call, id=f"{call.id}_{number}")
            results.append(ToolMessage(call.id, call.name, *result))
    yield AssistantMessage(tuple(parts))
    yield from results


def _take_result(call_id: str, context: _ConversionContext) -> ToolContent:
    """Returns the result of the next call with an id: of several results the last, unless each is that of a call."""
    number = context.seen_call_ids[call_id]
    context.seen_call_ids[call_id] += 1
    results = context.results.get(call_id) or [ToolContent(_NO_RESULT)]
    if context.call_counts[call_id] == 1:
        return results[-1]
    return results[number] if number < len(results) else ToolContent(_NO_RESULT)


def _calls(parts: Iterable[Any]) -> list[Call]:
    return [part for part in parts if isinstance(part, Call)]


def _result(message: Any, unsupported: Counter[str]) -> ToolContent:
    parts = () if isinstance(message.content, str) else read_parts(message.content)
    media = tuple(part for part in parts if isinstance(part, Media) and not part.file_id)
    if media:
        texts = [
            part.text
            if isinstance(part, Text)
            else f"[Attachment: {part}]"  # which is here or after the results, or cannot be displayed
            if part in media
            else placeholder(part, unsupported)
            for part in parts
        ]
        text = "\n".join(texts)
    else:
        text = flatten_text(message.content, unsupported)
    if message.error:
        text = "\n".join(filter(None, (text, f"Error: {message.error}")))
    return ToolContent(text, media)


def _reasoning(message: Any, context: _ConversionContext) -> Iterator[Reasoning]:
    encrypted = decode_encrypted(getattr(message, "encrypted_value", None), context.provider, context.server)
    if encrypted is not None:
        yield Reasoning(message.content, encrypted)


def _assistant(message: Any, context: _ConversionContext) -> Iterator[Text | Call]:
    if message.content:
        yield Text(
            message.content,
            decode_encrypted(getattr(message, "encrypted_value", None), context.provider, context.server),
        )
    for call in message.tool_calls or ():
        encrypted = decode_encrypted(getattr(call, "encrypted_value", None), context.provider, context.server)
        yield Call(call.id, call.function.name, json_object(call.function.arguments), encrypted)


def _user(message: Any, context: _ConversionContext) -> Iterable[Message]:
    content = message.content
    return (UserMessage(content if isinstance(content, str) else read_parts(content)),) if content else ()


def _tool(message: Any, context: _ConversionContext) -> Iterator[Message]:
    if message.tool_call_id not in context.call_counts:
        result = _result(message, Counter())
        text = f"[The result of an earlier tool call:]\n{result.text}"
        yield UserMessage((Text(text), *result.media) if result.media else text)


def _system(message: Any, context: _ConversionContext) -> Iterator[Message]:
    if context.forward_system and message.content:
        yield SystemMessage(message.content)


def _developer(message: Any, context: _ConversionContext) -> Iterator[Message]:
    if context.forward_developer and message.content:
        yield SystemMessage(message.content, is_developer=True)


_RESPONSE_PARTS: Mapping[str, Callable[[Any, _ConversionContext], Iterator[Text | Reasoning | Call]]] = {
    "assistant": _assistant,
    "reasoning": _reasoning,
}
"""By role: what is part of a response of the model."""

_CONVERTERS: Mapping[str, Callable[[Any, _ConversionContext], Iterable[Message]]] = {
    "user": _user,
    "tool": _tool,
    "system": _system,
    "developer": _developer,
}
