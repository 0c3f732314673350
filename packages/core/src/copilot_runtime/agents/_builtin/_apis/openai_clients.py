"""Clients of the ``openai`` SDK, for both of its APIs."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...._concurrency.loop_local import LoopLocal
from ...._optional.openai_client import loop_local_openai_client
from ..options import Options
from ..providers import Endpoint, Provider

if TYPE_CHECKING:
    from openai import AsyncOpenAI


_WITHOUT_REASONING = re.compile(r"(ft:)?(gpt-3|gpt-4|chatgpt-4|gpt-5(\.\d+)?-chat|computer-use)")
"""The beginnings of the names of models that do not reason, and reject the parameters of it."""

_ALWAYS_REASONS = re.compile(r"(ft:)?(o\d|gpt-5(-|$))")
"""The beginnings of the names of models that reason whatever the effort. While a model does, it takes no sampling."""

_ONLY_VALUE = 1
"""Of temperature and top_p, what models accept that do not have them: the default."""


def can_reason(model: str) -> bool:
    """Returns whether one of OpenAI's models takes the parameters of reasoning."""
    return not _WITHOUT_REASONING.match(model)


class OpenAIClients:
    """What both APIs have in common."""

    resource: ClassVar[str]
    """The module of the SDK's resources."""

    def load(self, feature: str) -> None:
        """Imports the SDK, which would block the event loop in the first request. Raises ImportError."""
        loop_local_openai_client(feature)
        importlib.import_module(f"openai.resources.{self.resource}")

    def unsupported_options(self, model: str, options: Options) -> Mapping[str, str]:
        """Returns the options that one of OpenAI's models does not have, although others do, and when."""
        if not can_reason(model):
            return {"reasoning_effort": ""}
        if _ALWAYS_REASONS.match(model):
            when = ""
        elif options.reasoning_effort in (None, "none"):
            return {}
        else:
            when = "with reasoning_effort"
        return {name: when for name in ("temperature", "top_p") if getattr(options, name) != _ONLY_VALUE}

    def check_provider_options(self, provider_options: Mapping[str, Any]) -> None:
        """Does nothing: servers have more parameters than the SDK knows."""

    def clients(self, feature: str, endpoint: Endpoint, provider: Provider) -> LoopLocal[AsyncOpenAI]:
        """Returns the clients for an endpoint, one per event loop."""
        return loop_local_openai_client(feature, base_url=endpoint.base_url, api_key=endpoint.api_key)

    def configure(self, client: AsyncOpenAI, options: Options) -> AsyncOpenAI:
        """Returns a client with the settings of a run."""
        return client if options.max_retries is None else client.with_options(max_retries=options.max_retries)
