"""OpenAI's Chat Completions API, which many servers offer, on the ``openai`` SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ...model_api import DeltaStream, ModelRequest
from ...options import Options
from ...providers import Provider
from ..conversion import ConvertedMessages
from ..event_frames import read_event_frames
from .chunk_reader import ChunkReader
from .messages import ChatMessage, chat_message_converter, to_chat_tools
from .request import completion_arguments

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["ChatConnection"]


class ChatConnection:
    """A server of the API, as one run calls it.

    Args:
        client: the SDK's client, with the run's settings.
        provider: the server's differences from others.
    """

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
        arguments = completion_arguments(params, self._messages.update(request.messages), to_chat_tools(request.tools))
        async with await create(model=request.model, stream=True, **arguments) as stream:
            yield ChunkReader(read_event_frames(stream))


_PARAMS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop_sequences": "stop",
    "seed": "seed",
}
"""By option, the name of the parameter."""


def request_params(options: Options, max_tokens_param: str) -> dict[str, Any]:
    """Returns the parameters of a request but messages, tools and tool choice.

    Args:
        options: the options of the run.
        max_tokens_param: the provider's name for the token limit.
    """
    params = {
        param: getattr(options, name)
        for name, param in {**_PARAMS, "max_output_tokens": max_tokens_param, "timeout": "timeout"}.items()
        if getattr(options, name) is not None
    }
    params["stream_options"] = {"include_usage": True}
    extra = options.provider_options
    # In extra_body, since the SDK's function accepts only the parameters that it knows. None removes one, which a
    # server may reject.
    params = {name: value for name, value in params.items() if name not in extra}
    return {**params, "extra_body": {name: value for name, value in extra.items() if value is not None}}
