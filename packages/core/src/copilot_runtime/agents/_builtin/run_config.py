"""Which model a run asks, and how: what the agent was made with, and what the run may override."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .endpoint_clients import EndpointClients
from .errors import INVALID_REQUEST, ModelError
from .options import Options, forced_tool, forwarded_model
from .providers import OPENAI_COMPATIBLE, Credentials, Model
from .usage import Usage

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput
    from openai import AsyncOpenAI


@dataclasses.dataclass(frozen=True, slots=True)
class RunConfig:
    """What one run asks."""

    model: Model
    options: Options
    client: AsyncOpenAI
    usage: Usage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunConfigResolver:
    """What an agent was made with."""

    model: Model
    options: Options
    overridable: frozenset[str]
    access: Credentials
    has_explicit_endpoint: bool
    """Whether it is known where any model is to be asked for: by an address or a client."""
    clients: EndpointClients

    async def resolve(self, input: RunAgentInput) -> RunConfig:
        """What a run asks. Raises Trouble for a value that cannot be, and where a key is missing."""
        forwarded = input.forwarded_props if isinstance(input.forwarded_props, Mapping) else {}
        model = self._model(forwarded_model(forwarded, self.overridable))
        options = self.options.with_overrides(forwarded, self.overridable)
        forced = forced_tool(forwarded, {tool.name for tool in input.tools or ()})
        if forced is not None:
            options = dataclasses.replace(options, tool_choice=forced)
        client = await self._client(model)
        if options.max_retries is not None:
            client = client.with_options(max_retries=options.max_retries)
        return RunConfig(model, options, client, Usage(model.provider.name, model.name))

    def _model(self, wanted: str | None) -> Model:
        if wanted is None:
            return self.model
        try:
            model = Model.parse(wanted, allow_unknown_provider=self.has_explicit_endpoint)
        except ValueError as error:
            raise ModelError(INVALID_REQUEST, f"forwardedProps.model cannot be: {error}.") from error
        # One without a provider is another of the same server's.
        return Model(self.model.provider, model.name) if model.provider is OPENAI_COMPATIBLE else model

    async def _client(self, model: Model) -> AsyncOpenAI:
        if self.clients.given is not None:
            return self.clients.given
        # The key and the address that were given are not for another provider's eyes.
        access = self.access if model.provider is self.model.provider else Credentials()
        return await self.clients.get(access.endpoint(model.provider))
