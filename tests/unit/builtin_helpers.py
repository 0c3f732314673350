"""Completions of the Chat Completions API as AG-UI events, and conversations as its messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from copilot_runtime.agents._builtin._apis.chat.chunks import ChunkParser
from copilot_runtime.agents._builtin._apis.chat.messages import chat_message_converter
from copilot_runtime.agents._builtin._apis.conversion import ConvertedMessages
from copilot_runtime.agents._builtin.completion_stream import CompletionTranslator
from copilot_runtime.agents._builtin.conversation import to_messages
from copilot_runtime.agents._builtin.messages import Message, ToolContent
from copilot_runtime.agents._builtin.providers import PROVIDERS, Provider


class ChatCompletion(CompletionTranslator):
    """A completion that is fed the chunks of the API."""

    def __init__(self, tool_names: Collection[str] = (), *, used_call_ids: Iterable[str] = ()) -> None:
        super().__init__(PROVIDERS[0].name, used_call_ids, {name: name for name in tool_names})
        self._parser = ChunkParser()

    def feed_chunk(self, chunk: Any) -> Iterator[dict[str, Any]]:
        yield from self.feed(self._parser.deltas(chunk))

    def chat_message(self) -> dict[str, Any]:
        """Its message, as the next request sends it back."""
        message = self.message()
        assert message is not None
        (converted,) = chat_messages([message], PROVIDERS[0])
        return converted


def chat_messages(messages: Sequence[Message], provider: Provider) -> list[dict[str, Any]]:
    return ConvertedMessages(chat_message_converter(provider)).update(messages)


def chat_request_messages(
    messages: Iterable[Any],
    provider: Provider,
    *,
    resumed_results: Mapping[str, str] = {},
    forward_system: bool = False,
    forward_developer: bool = False,
) -> list[dict[str, Any]]:
    """AG-UI's messages as those of a request."""
    conversation = to_messages(
        messages,
        provider.name,
        resumed_results={call_id: ToolContent(text) for call_id, text in resumed_results.items()},
        forward_system=forward_system,
        forward_developer=forward_developer,
    )
    return chat_messages(conversation, provider)
