"""Google's generateContent, of the Gemini API and of Vertex AI, on the ``google-genai`` SDK."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from pydantic import ValidationError

from ....._concurrency.loop_local import LoopLocal
from ....._optional.optional_imports import import_optional
from ....._validation import format_validation_error
from ...model_api import DeltaStream, ModelConnection, ModelRequest
from ...options import Options
from ...providers import VERTEX, Endpoint, Provider
from ..conversion import ConvertedMessages, merge_turns
from ..event_frames import normalize_event_stream
from ..frames import FrameReader
from .chunk_repair import repair_chunk, to_events
from .chunks import ChunkReader
from .contents import (
    Part,
    has_signatures,
    to_function_calling_config,
    to_function_declarations,
    to_system_instruction,
    turn_converter,
    without_signatures,
)
from .thinking import thinking_config, thinks

if TYPE_CHECKING:
    from google.genai import Client

logger = logging.getLogger("copilot_runtime.agents.builtin")

_DEFAULT_RETRIES = 2
_DEFAULT_TIMEOUT_SECONDS = 600.0
"""Those of the other SDKs; this one has neither."""

_normalize = functools.partial(normalize_event_stream, to_events=to_events, repair=repair_chunk)

_PARAMS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop_sequences": "stop_sequences",
    "seed": "seed",
    "max_output_tokens": "max_output_tokens",
}
"""By option, the name of the parameter."""


class GoogleContentAPI:
    """The API, as one agent uses it."""

    def load(self, feature: str) -> None:
        """Imports the SDK, which would block the event loop in the first request. Raises ImportError."""
        import_optional("google.genai", feature=feature, extra="google")

    def unsupported_options(self, model: str, options: Options) -> Mapping[str, str]:
        """Returns the option of thinking for a model that does not think."""
        return {} if options.reasoning_effort in (None, "none") or thinks(model) else {"reasoning_effort": ""}

    def check_provider_options(self, provider_options: Mapping[str, Any]) -> None:
        """Raises ValueError for options that the SDK does not accept."""
        from google.genai.types import GenerateContentConfig  # which takes long to import

        try:
            GenerateContentConfig(**{name: value for name, value in provider_options.items() if value is not None})
        except ValidationError as error:
            problem = format_validation_error(error)
            raise ValueError(f"provider_options must be members of GenerateContentConfig: {problem}") from error

    def clients(self, feature: str, endpoint: Endpoint, provider: Provider) -> LoopLocal[_OwnClient]:
        """Returns the clients for an endpoint, one per event loop."""
        sdk = import_optional("google.genai", feature=feature, extra="google")

        def create() -> _OwnClient:
            options = _http_options(endpoint, provider)
            # Our own client, since the SDK would prefer aiohttp where it is installed, and wait 1 to 10 s before it
            # tries again.
            http = httpx2.AsyncClient(
                follow_redirects=True,
                timeout=_DEFAULT_TIMEOUT_SECONDS,
                event_hooks={"response": [_normalize]},
            )
            options["httpx_async_client"] = http
            access: dict[str, Any] = {"vertexai": False, "api_key": endpoint.api_key}
            if provider is VERTEX:
                access = _vertex_access(endpoint)
            return _OwnClient(sdk.Client(**access, http_options=options), http)

        return LoopLocal(create, _close)

    def configure(self, client: Client | _OwnClient, options: Options) -> Client:
        """Returns the SDK's client. Each request has the settings of the run here."""
        return client.sdk if isinstance(client, _OwnClient) else client

    def connect(self, client: Client, provider: Provider) -> ModelConnection:
        """Returns the server, as one run calls it."""
        return _GoogleConnection(client)


def _http_options(endpoint: Endpoint, provider: Provider) -> dict[str, Any]:
    """Returns where requests are sent to. The URL may be that of the OpenAI-compatible endpoint, and have a version."""
    base_url = endpoint.base_url.rstrip("/").removesuffix("/openai")
    if provider is VERTEX and base_url == provider.base_url:
        return {}  # Vertex AI's own host depends on the location
    head, _, version = base_url.rpartition("/")
    return {"base_url": head, "api_version": version} if version.startswith("v1") else {"base_url": base_url}


def _vertex_access(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.api_key != "none":
        return {"vertexai": True, "api_key": endpoint.api_key}
    project = os.environ.get("GOOGLE_VERTEX_PROJECT") or os.environ.get("GOOGLE_CLOUD_PROJECT")
    location = os.environ.get("GOOGLE_VERTEX_LOCATION") or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    return {"vertexai": True, "project": project, "location": location}


@dataclasses.dataclass(frozen=True, slots=True)
class _OwnClient:
    """A client that no application has passed."""

    sdk: Client
    http: httpx2.AsyncClient
    """Its HTTP client, which it does not close."""


async def _close(client: _OwnClient) -> None:
    await client.sdk.aio.aclose()
    client.sdk.close()
    await client.http.aclose()


class _GoogleConnection:
    """A server of the API, as one run calls it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turns: ConvertedMessages[tuple[str, list[Part]]] | None = None
        self._without_signatures = False
        """Whether signatures of the history are left out, which the server has rejected."""

    @property
    def secret(self) -> str:
        return self._client._api_client.api_key or ""

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[DeltaStream]:
        """Sends a request; leaving the block closes the connection."""
        async with aclosing(self._chunks(request)) as chunks:
            yield FrameReader(chunks, ChunkReader().deltas)

    async def _chunks(self, request: ModelRequest) -> AsyncGenerator[Any]:
        from google.genai.errors import ClientError  # which takes long to import

        has_begun = False
        try:
            async with aclosing(await self._send(request)) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    yield chunk
            return
        except ClientError as error:
            # Signatures are bound to the model, and an error has no code that says so. The thread must remain usable.
            if has_begun or error.code != 400 or self._turns is None or not has_signatures(self._turns.converted):
                raise
        self._without_signatures, self._turns = True, None
        async with aclosing(await self._send(request)) as chunks:
            async for chunk in chunks:
                if not has_begun:
                    has_begun = True
                    logger.warning(
                        "thoughts of earlier responses were rejected by the model provider, and are left out"
                    )
                yield chunk

    async def _send(self, request: ModelRequest) -> Any:
        if self._turns is None:
            self._turns = ConvertedMessages(turn_converter(request.model))
        messages = without_signatures(request.messages) if self._without_signatures else request.messages
        return await self._client.aio.models.generate_content_stream(
            model=request.model,
            contents=merge_turns(self._turns.update(messages), member="parts"),
            config=request_config(request),  # type: ignore[arg-type]
        )


def request_config(request: ModelRequest) -> dict[str, Any]:
    """Returns the config of a request."""
    options = request.options
    config: dict[str, Any] = {
        param: getattr(options, name) for name, param in _PARAMS.items() if getattr(options, name) is not None
    }
    config["automatic_function_calling"] = {"disable": True}
    instruction = to_system_instruction(request.messages)
    if instruction is not None:
        config["system_instruction"] = instruction
    thinking = thinking_config(request.model, options.reasoning_effort)
    if thinking is not None:
        config["thinking_config"] = thinking
    if request.tools:
        config["tools"] = [{"function_declarations": to_function_declarations(request.tools)}]
        strict = any(tool.strict for tool in request.tools)
        choice = to_function_calling_config(request.tool_choice, strict=strict)
        if choice is not None:
            config["tool_config"] = {"function_calling_config": choice}
    retries = _DEFAULT_RETRIES if options.max_retries is None else options.max_retries
    http_options: dict[str, Any] = {"retry_options": {"attempts": retries + 1}}
    timeout = _DEFAULT_TIMEOUT_SECONDS if options.timeout is None else options.timeout
    # An httpx.Timeout has no single value.
    seconds = timeout if isinstance(timeout, int | float) else getattr(timeout, "read", None)
    if seconds is not None:
        http_options["timeout"] = int(seconds * 1000)
    config["http_options"] = http_options
    return {name: value for name, value in {**config, **options.provider_options}.items() if value is not None}
