"""Resolves the model, options and client of a run: what the agent was configured with, and what the run overrides."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING

from ..._concurrency.loop_local import LoopLocal
from ..._optional.openai_client import loop_local_openai_client
from ._apis.chat import ChatConnection
from .errors import INVALID_REQUEST, ModelError
from .model_api import ModelConnection
from .options import Options, forwarded_model, forwarded_props
from .providers import OPENAI_COMPATIBLE, Credentials, Endpoint, Model
from .usage import Usage

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput
    from openai import AsyncOpenAI

_FEATURE = "BuiltInAgent"


@dataclasses.dataclass(frozen=True, slots=True)
class RunConfig:
    """The configuration of one run."""

    model: Model
    options: Options
    connection: ModelConnection
    usage: Usage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunConfigResolver:
    """The agent's configuration, from which that of each run is resolved.

    Raises ImportError without the ``openai`` package, and TypeError for a client that is not an ``AsyncOpenAI``.
    """

    model: Model
    options: Options
    overridable: frozenset[str]
    credentials: Credentials
    client: AsyncOpenAI | None
    """A client for all runs, which its owner closes."""
    has_explicit_endpoint: bool
    """Whether a base URL or a client is configured, so that a model needs no provider."""
    _by_endpoint: dict[Endpoint, LoopLocal[AsyncOpenAI]] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        loop_local_openai_client(_FEATURE, self.client)  # raises now what every run would raise
        # Imported now as well: the SDK would do so in the first request, and block the event loop.
        importlib.import_module("openai.resources.chat")

    async def resolve(self, input: RunAgentInput) -> RunConfig:
        """Returns the configuration of a run. Raises ModelError for an invalid override or a missing key."""
        forwarded = forwarded_props(input)
        model = self._model(forwarded_model(forwarded, self.overridable))
        options = self.options.with_overrides(forwarded, self.overridable)
        client = await self._client_for(model)
        if options.max_retries is not None:
            client = client.with_options(max_retries=options.max_retries)
        connection = ChatConnection(client, model.provider)
        return RunConfig(model, options, connection, Usage(model.provider.name, model.name))

    async def aclose(self) -> None:
        """Closes the running loop's clients; the next run opens others."""
        for clients in list(self._by_endpoint.values()):
            await clients.aclose()

    def _model(self, override: str | None) -> Model:
        if override is None:
            return self.model
        try:
            model = Model.parse(override, allow_unknown_provider=self.has_explicit_endpoint)
        except ValueError as error:
            raise ModelError(INVALID_REQUEST, f"forwardedProps.model is invalid: {error}.") from error
        # A name without a provider is another model of the same server.
        return Model(self.model.provider, model.name) if model.provider is OPENAI_COMPATIBLE else model

    async def _client_for(self, model: Model) -> AsyncOpenAI:
        if self.client is not None:
            return self.client
        # The configured key and base URL must not be sent to another provider.
        credentials = self.credentials if model.provider is self.model.provider else Credentials()
        endpoint = credentials.endpoint(model.provider)
        clients = self._by_endpoint.get(endpoint)
        if clients is None:
            clients = loop_local_openai_client(_FEATURE, base_url=endpoint.base_url, api_key=endpoint.api_key)
            clients = self._by_endpoint.setdefault(endpoint, clients)
        return await clients.get()
