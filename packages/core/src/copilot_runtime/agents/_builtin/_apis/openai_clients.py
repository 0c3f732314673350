"""Clients of the ``openai`` SDK, for both of its APIs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...._concurrency.loop_local import LoopLocal
from ...._optional.openai_client import loop_local_openai_client
from ..options import Options
from ..providers import Endpoint, Provider

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIClients:
    """What both APIs have in common."""

    resource: ClassVar[str]
    """The module of the SDK's resources."""

    def load(self, feature: str) -> None:
        """Imports the SDK, which would block the event loop in the first request. Raises ImportError."""
        loop_local_openai_client(feature)
        importlib.import_module(f"openai.resources.{self.resource}")

    def unsupported_options(self, model: str, options: Options) -> Mapping[str, str]:
        """Returns nothing: servers have models of many makers."""
        return {}

    def check_provider_options(self, provider_options: Mapping[str, Any]) -> None:
        """Does nothing: servers have more parameters than the SDK knows."""

    def clients(self, feature: str, endpoint: Endpoint, provider: Provider) -> LoopLocal[AsyncOpenAI]:
        """Returns the clients for an endpoint, one per event loop."""
        return loop_local_openai_client(feature, base_url=endpoint.base_url, api_key=endpoint.api_key)

    def configure(self, client: AsyncOpenAI, options: Options) -> AsyncOpenAI:
        """Returns a client with the settings of a run."""
        return client if options.max_retries is None else client.with_options(max_retries=options.max_retries)
