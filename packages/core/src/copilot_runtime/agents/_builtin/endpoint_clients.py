"""The SDK's client for each endpoint that runs ask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..._optional.openai_client import LoopLocalOpenAIClient
from .providers import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class EndpointClients:
    """Gives the client to use on the running loop.

    ``given`` is one to use for everything, which stays its owner's to close. Raises
    ImportError without the ``openai`` package, and TypeError where ``given`` is no
    ``AsyncOpenAI``.
    """

    def __init__(self, given: AsyncOpenAI | None = None) -> None:
        self.given = given
        LoopLocalOpenAIClient(given)  # says now what could never work
        # Now, too: what the SDK imports on its first request would hold up the event loop.
        importlib.import_module("openai.resources.chat")
        self._by_endpoint: dict[Endpoint, LoopLocalOpenAIClient] = {}

    async def get(self, endpoint: Endpoint) -> AsyncOpenAI:
        """The client for an endpoint."""
        clients = self._by_endpoint.get(endpoint)
        if clients is None:
            made = LoopLocalOpenAIClient(api_key=endpoint.api_key, base_url=endpoint.base_url)
            clients = self._by_endpoint.setdefault(endpoint, made)
        return await clients.get()

    async def aclose(self) -> None:
        """Closes the running loop's clients; the next `get` makes others."""
        for clients in list(self._by_endpoint.values()):
            await clients.aclose()
