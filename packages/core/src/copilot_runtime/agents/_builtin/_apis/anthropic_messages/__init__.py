"""Anthropic's Messages API, on the ``anthropic`` SDK."""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ....._concurrency.loop_local import LoopLocal
from ....._optional.optional_imports import import_optional
from ...model_api import DeltaStream, ModelConnection, ModelRequest
from ...options import Options
from ...providers import Endpoint, Provider
from ..arguments import request_arguments, split_params
from ..conversion import ConvertedMessages, merge_turns
from ..event_frames import read_event_frames
from ..frames import FrameReader
from .blocks import (
    Block,
    has_thinking,
    mark_for_cache,
    to_anthropic_tool_choice,
    to_anthropic_tools,
    to_system,
    to_turns,
    without_thinking,
)
from .events import EventReader
from .thinking import default_max_tokens, reconcile, thinking_params, unsupported_options
from .whole_message import to_events

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic


logger = logging.getLogger("copilot_runtime.agents.builtin")


class AnthropicMessagesAPI:
    """The API, as one agent uses it."""

    def load(self, feature: str) -> None:
        """Imports the SDK, which would block the event loop in the first request. Raises ImportError."""
        import_optional("anthropic", feature=feature, extra="anthropic")
        importlib.import_module("anthropic.resources.messages")

    def unsupported_options(self, model: str, options: Options) -> Mapping[str, str]:
        """Returns the options that a model does not have, although others of this API do, and when."""
        return unsupported_options(model, options)

    def check_provider_options(self, provider_options: Mapping[str, Any]) -> None:
        """Does nothing: the API may have more parameters than the SDK knows."""

    def clients(self, feature: str, endpoint: Endpoint, provider: Provider) -> LoopLocal[AsyncAnthropic]:
        """Returns the clients for an endpoint, one per event loop."""
        sdk = import_optional("anthropic", feature=feature, extra="anthropic")
        # The SDK appends the path of the API, which other clients expect in the same variable.
        base_url = endpoint.base_url.rstrip("/").removesuffix("/v1")
        return LoopLocal(lambda: sdk.AsyncAnthropic(base_url=base_url, api_key=endpoint.api_key), _close)

    def configure(self, client: AsyncAnthropic, options: Options) -> AsyncAnthropic:
        """Returns a client with the settings of a run."""
        return client if options.max_retries is None else client.with_options(max_retries=options.max_retries)

    def connect(self, client: AsyncAnthropic, provider: Provider) -> ModelConnection:
        """Returns the server, as one run calls it."""
        return _AnthropicConnection(client)


async def _close(client: AsyncAnthropic) -> None:
    await client.close()


class _AnthropicConnection:
    """A server of the API, as one run calls it."""

    def __init__(self, client: AsyncAnthropic) -> None:
        self._client = client
        self._turns = ConvertedMessages[tuple[str, list[Block]]](to_turns)
        self._without_thinking = False
        """Whether thinking of the history is left out, which the server has rejected."""

    @property
    def secret(self) -> str:
        return getattr(self._client, "api_key", None) or ""  # clients of clouds have none

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[DeltaStream]:
        """Sends a request; leaving the block closes the connection."""
        async with await self._create(request) as stream:
            yield FrameReader(read_event_frames(stream, to_events), EventReader().deltas)

    async def _create(self, request: ModelRequest) -> Any:
        from anthropic import BadRequestError  # which takes long to import

        create: Any = self._client.messages.create  # its overloads do not accept a dict of parameters
        arguments = self._arguments(request)
        try:
            return await create(model=request.model, stream=True, **arguments)
        except BadRequestError:
            # Thinking is bound to the account, the model and all that was before it, and an error has no code that
            # says so. The thread must remain usable.
            if self._without_thinking or not has_thinking(self._turns.update(request.messages)):
                raise
        self._without_thinking = True
        stream = await create(model=request.model, stream=True, **self._arguments(request))
        logger.warning("thinking of earlier responses was rejected by the model provider, and is left out")
        return stream

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        options = request.options
        turns = self._turns.update(request.messages)
        messages = merge_turns(without_thinking(turns) if self._without_thinking else turns, member="content")
        system, tools = to_system(request.messages), to_anthropic_tools(request.tools)
        params = request_params(options, request.model)
        choice = to_anthropic_tool_choice(request.tool_choice, parallel=options.parallel_tool_calls if tools else None)
        if choice is not None:
            params["tool_choice"] = choice
        params = reconcile(params, request.model, messages)
        if options.prompt_caching:
            mark_for_cache(system, tools, messages)
        if system:
            params["system"] = system
        params = split_params(params, options.provider_options, _IN_BODY, required=("max_tokens",))
        return request_arguments(params, messages, tools)


_PARAMS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop_sequences",
    "timeout": "timeout",
}
"""By option, the name of the parameter."""

_IN_BODY = frozenset(("temperature", "top_p", "top_k"))
"""The parameters that newer models do not have, nor newer versions of the SDK."""


def request_params(options: Options, model: str) -> dict[str, Any]:
    """Returns the parameters of a request but messages, tools and what concerns these.

    Args:
        options: the options of the run.
        model: the name of the model.
    """
    params: dict[str, Any] = {
        param: getattr(options, name) for name, param in _PARAMS.items() if getattr(options, name) is not None
    }
    params["max_tokens"] = options.max_output_tokens or default_max_tokens(model)
    # Thinking has to fit into what is sent in the end.
    limit = options.provider_options.get("max_tokens")
    max_tokens = limit if isinstance(limit, int) else params["max_tokens"]
    return {**params, **thinking_params(model, options.reasoning_effort, max_tokens)}
