"""OpenAI's Chat Completions API, which many servers offer, on the ``openai`` SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ...model_api import DeltaStream, ModelConnection, ModelRequest
from ...options import Options
from ...providers import Provider
from ..arguments import request_arguments, split_params
from ..conversion import ConvertedMessages
from ..event_frames import read_event_frames
from ..frames import FrameReader
from ..openai_clients import OpenAIClients
from .chunks import ChunkParser, to_events
from .messages import ChatMessage, chat_message_converter, to_chat_tools

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class ChatAPI(OpenAIClients):
    """The API, as one agent uses it."""

    resource = "chat"

    def connect(self, client: AsyncOpenAI, provider: Provider) -> ModelConnection:
        """Returns the server, as one run calls it."""
        return _ChatConnection(client, provider)


class _ChatConnection:
    """A server of the API, as one run calls it."""

    def __init__(self, client: AsyncOpenAI, provider: Provider) -> None:
        self._client = client
        self._provider = provider
        self._messages = ConvertedMessages[ChatMessage](chat_message_converter(provider))

    @property
    def secret(self) -> str:
        return self._client.api_key

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[DeltaStream]:
        """Sends a request; leaving the block closes the connection."""
        create: Any = self._client.chat.completions.create  # its overloads do not accept a dict of parameters
        params = request_params(request.options, self._provider.max_tokens_param)
        if request.tool_choice is not None:
            params["tool_choice"] = request.tool_choice
        if request.options.parallel_tool_calls is not None and request.tools:
            params["parallel_tool_calls"] = request.options.parallel_tool_calls
        arguments = request_arguments(params, self._messages.update(request.messages), to_chat_tools(request.tools))
        async with await create(model=request.model, stream=True, **arguments) as stream:
            yield FrameReader(read_event_frames(stream, to_events), ChunkParser().deltas)


_PARAMS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop_sequences": "stop",
    "seed": "seed",
    "top_k": "top_k",
    "reasoning_effort": "reasoning_effort",
    "timeout": "timeout",
}
"""By option, the name of the parameter."""

_NOT_OPENAIS = frozenset(("top_k",))
"""The parameters that only other servers have."""


def request_params(options: Options, max_tokens_param: str) -> dict[str, Any]:
    """Returns the parameters of a request but messages, tools and what concerns these.

    Args:
        options: the options of the run.
        max_tokens_param: the provider's name for the token limit.
    """
    names = {**_PARAMS, "max_output_tokens": max_tokens_param}
    params: dict[str, Any] = {
        param: getattr(options, name) for name, param in names.items() if getattr(options, name) is not None
    }
    params["stream_options"] = {"include_usage": True}
    return split_params(params, options.provider_options, _NOT_OPENAIS)
