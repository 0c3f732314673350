"""Events that several demo agents yield, about as fast as a model writes."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ag_ui.core import RunAgentInput

Event = dict[str, Any]
Events = AsyncIterator[Event]

WORD_SECONDS = 0.03
"""Between two words."""


def new_id() -> str:
    """Returns an id for a message or a tool call."""
    return str(uuid.uuid4())


def last_user_text(run_input: RunAgentInput) -> str:
    """Returns the text of the user's last message, without its attachments."""
    content = last_user_content(run_input)
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content if part.type == "text")


def last_user_content(run_input: RunAgentInput) -> Any:
    """Returns the content of the user's last message: a text, or a list of parts."""
    return next((message.content for message in reversed(run_input.messages) if message.role == "user"), "")


async def words(text: str) -> AsyncIterator[str]:
    """Yields the words of a text slowly, each with the white space after it."""
    for word in re.findall(r"\S+\s*|\s+", text):
        await asyncio.sleep(WORD_SECONDS)
        yield word


async def text_message(text: str, message_id: str | None = None) -> Events:
    """Yields the events of a message of the assistant."""
    message_id = message_id or new_id()
    yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
    async for word in words(text):
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": word}
    yield {"type": "TEXT_MESSAGE_END", "messageId": message_id}


async def reasoning_message(text: str) -> Events:
    """Yields the events of reasoning that the user may read."""
    message_id = new_id()
    yield {"type": "REASONING_START", "messageId": message_id}
    yield {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning"}
    async for word in words(text):
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": message_id, "delta": word}
    yield {"type": "REASONING_MESSAGE_END", "messageId": message_id}
    yield {"type": "REASONING_END", "messageId": message_id}


async def tool_call(tool: str, arguments: Mapping[str, Any], parent_id: str) -> Events:
    """Yields a call of a frontend tool, which the client runs: it has no result in this run."""
    call_id = new_id()
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": tool, "parentMessageId": parent_id}
    async for word in words(json.dumps(arguments)):
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": word}
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
