"""OpenAI's Responses API, on the ``openai`` SDK.

Threads are the application's: responses are not stored at OpenAI. So reasoning is received with its content encrypted,
and sent back.
"""

from __future__ import annotations

import logging
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
from ..openai_clients import OpenAIClients, can_reason
from .events import EventReader
from .items import Item, to_function_tools, to_items, to_response_tool_choice
from .whole_response import to_events

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger("copilot_runtime.agents.builtin")

_PARAMS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_output_tokens",
    "timeout": "timeout",
}


class ResponsesAPI(OpenAIClients):
    """The API, as one agent uses it."""

    resource = "responses"

    def __init__(self) -> None:
        self.without_summary: set[str] = set()
        """The models whose reasoning this account may not read."""

    def connect(self, client: AsyncOpenAI, provider: Provider) -> ModelConnection:
        """Returns the server, as one run calls it."""
        return _ResponsesConnection(client, self)


class _ResponsesConnection:
    """A server of the API, as one run calls it."""

    def __init__(self, client: AsyncOpenAI, api: ResponsesAPI) -> None:
        self._client = client
        self._api = api
        self._items = ConvertedMessages[Item](to_items)
        self._without_reasoning = False
        """Whether reasoning of the history is left out, which the server has rejected."""

    @property
    def secret(self) -> str:
        return self._client.api_key

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[DeltaStream]:
        """Sends a request; leaving the block closes the connection."""
        async with await self._create(request) as stream:
            yield FrameReader(read_event_frames(stream, to_events), EventReader().deltas)

    async def _create(self, request: ModelRequest) -> Any:
        from openai import BadRequestError  # which takes long to import

        create: Any = self._client.responses.create  # its overloads do not accept a dict of parameters
        while True:
            try:
                return await create(model=request.model, stream=True, **self._arguments(request))
            except BadRequestError as error:
                if not self._leave_out(error, request):
                    raise

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        items = self._items.update(request.messages)
        if self._without_reasoning:
            items = [item for item in items if item.get("type") != "reasoning"]
        params = request_params(
            request.options, request.model, with_summary=request.model not in self._api.without_summary
        )
        if request.tool_choice is not None:
            params["tool_choice"] = to_response_tool_choice(request.tool_choice)
        if request.options.parallel_tool_calls is not None and request.tools:
            params["parallel_tool_calls"] = request.options.parallel_tool_calls
        params = split_params(params, request.options.provider_options)
        return request_arguments(params, items, to_function_tools(request.tools), name="input")

    def _leave_out(self, error: Any, request: ModelRequest) -> bool:
        """Returns whether a request is worth sending again, without what the server has rejected."""
        if error.code == "invalid_encrypted_content" and not self._without_reasoning:
            # Of another account, for example: the thread must remain usable.
            logger.warning("reasoning of earlier runs was rejected by the model provider, and is left out")
            self._without_reasoning = True
            return True
        if error.param == "reasoning.summary" and request.model not in self._api.without_summary:
            logger.warning("the reasoning of %s is not shown: this account may not read it", request.model)
            self._api.without_summary.add(request.model)
            return True
        return False


def request_params(options: Options, model: str, *, with_summary: bool) -> dict[str, Any]:
    """Returns the parameters of a request but input, tools and what concerns these.

    Args:
        options: the options of the run.
        model: the name of the model.
        with_summary: whether the summary of its reasoning is requested.
    """
    params: dict[str, Any] = {
        param: getattr(options, name) for name, param in _PARAMS.items() if getattr(options, name) is not None
    }
    params["store"] = False
    reasons = can_reason(model)
    if reasons:
        params["include"] = ["reasoning.encrypted_content"]
    reasoning = {
        **({"effort": options.reasoning_effort} if options.reasoning_effort is not None else {}),
        **({"summary": "auto"} if reasons and with_summary else {}),
    }
    if reasoning:
        params["reasoning"] = reasoning
    return params
