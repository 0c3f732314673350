"""Resolves the model, options and connection of a run: the agent's configuration, and what the run overrides."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..._concurrency.loop_local import LoopLocal, SharedValue
from .apis import APIKind, ModelAPI, check_options, select_api
from .encrypted_values import server_tag
from .errors import INVALID_REQUEST, ModelError
from .model_api import ModelConnection
from .options import Options, forwarded_model, forwarded_props
from .providers import OPENAI_COMPATIBLE, Credentials, Endpoint, Model, Provider
from .usage import Usage

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

_FEATURE = "BuiltInAgent"


@dataclasses.dataclass(frozen=True, slots=True)
class RunConfig:
    """The configuration of one run."""

    model: Model
    options: Options
    connection: ModelConnection
    api: str
    """The name of the API that the connection is of."""
    server: str
    """What tells its server apart from others of the same provider; see `server_tag`."""
    usage: Usage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunConfigResolver:
    """The agent's configuration, from which that of each run is resolved.

    Raises ImportError without the SDK of the model's maker, TypeError for a client of another one, and ValueError for
    options that the model does not have.
    """

    model: Model
    options: Options
    overridable: frozenset[str]
    credentials: Credentials
    client: Any
    """A client for all runs, which its owner closes, or None."""
    api: str | None
    """The option ``api``."""
    has_explicit_endpoint: bool
    """Whether a base URL or a client is configured, so that a model needs no provider."""
    _apis: dict[str, ModelAPI] = dataclasses.field(default_factory=dict, init=False)
    _clients: dict[tuple[str, Endpoint], LoopLocal[Any]] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # Raises now what every run would raise.
        kind = self._kind(self.model.provider)
        api = self._api(kind)
        try:
            check_options(self.options, kind, api, self.model, base_url=self._base_url(self.model.provider))
        except ValueError as error:
            raise ValueError(f"{_FEATURE}: {error}") from error

    async def resolve(self, input: RunAgentInput) -> RunConfig:
        """Returns the configuration of a run. Raises ModelError for an invalid override or a missing key."""
        forwarded = forwarded_props(input)
        model = self._model(forwarded_model(forwarded, self.overridable))
        options = self.options.with_overrides(forwarded, self.overridable)
        kind = self._kind(model.provider)
        api = self._api(kind)
        try:
            check_options(options, kind, api, model, base_url=self._base_url(model.provider))
        except ValueError as error:
            raise ModelError(INVALID_REQUEST, f"The run's forwardedProps are invalid: {error}.") from error
        client = api.configure(await self._clients_for(kind, api, model.provider).get(), options)
        connection = api.connect(client, model.provider)
        server = server_tag(self._base_url(model.provider))
        return RunConfig(model, options, connection, kind.name, server, Usage(model.provider.name, model.name))

    async def aclose(self) -> None:
        """Closes the running loop's clients; the next run opens others."""
        for clients in list(self._clients.values()):
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

    def _kind(self, provider: Provider) -> APIKind:
        is_own = provider is self.model.provider
        base_url = self._base_url(provider)
        return select_api(provider, self.api if is_own else None, base_url=base_url, client=self.client)

    def _base_url(self, provider: Provider) -> str:
        if self.client is None:
            return self._credentials(provider).url(provider)
        return str(getattr(self.client, "base_url", ""))

    def _api(self, kind: APIKind) -> ModelAPI:
        api = self._apis.get(kind.name)
        if api is None:
            api = kind.create()
            api.load(_FEATURE)
            api = self._apis.setdefault(kind.name, api)
        return api

    def _credentials(self, provider: Provider) -> Credentials:
        # The configured key and base URL must not be sent to another provider.
        return self.credentials if provider is self.model.provider else Credentials()

    def _clients_for(self, kind: APIKind, api: ModelAPI, provider: Provider) -> LoopLocal[Any]:
        if self.client is not None:
            return SharedValue(self.client)
        endpoint = self._credentials(provider).endpoint(provider)
        key = (kind.client_classes[0], endpoint)
        clients = self._clients.get(key)
        if clients is None:
            clients = self._clients.setdefault(key, api.clients(_FEATURE, endpoint, provider))
        return clients
