"""The APIs by which makers serve models: which one a model is called by, and which options it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ..._concurrency.loop_local import LoopLocal
from .model_api import ModelConnection
from .providers import OPENAI, Endpoint, Model, Provider

if TYPE_CHECKING:
    from .options import Options


class ModelAPI(Protocol):
    """An API, as one agent uses it."""

    def load(self, feature: str) -> None:
        """Imports its SDK. Raises ImportError, which names the extra and ``feature``."""

    def unsupported_options(self, model: str, options: Options) -> Mapping[str, str]:
        """Returns the options that a model does not have, although others of this API do.

        By name, when it does not have them: empty, or such as "with reasoning_effort".
        """

    def check_provider_options(self, provider_options: Mapping[str, Any]) -> None:
        """Raises ValueError for parameters that no request can have."""

    def clients(self, feature: str, endpoint: Endpoint, provider: Provider) -> LoopLocal[Any]:
        """Returns the SDK's clients for an endpoint, one per event loop."""

    def configure(self, client: Any, options: Options) -> Any:
        """Returns a client with the settings of a run."""

    def connect(self, client: Any, provider: Provider) -> ModelConnection:
        """Returns a server, as one run calls it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class APIKind:
    """An API."""

    name: str
    """Its name in the option ``api``."""
    title: str
    """Which models it serves, for errors."""
    module: str
    class_name: str
    client_classes: tuple[str, ...]
    """The names of the SDK's asynchronous clients, with their package."""
    unsupported: frozenset[str]
    """The options that it does not have."""
    max_temperature: float = 2
    hint: str = ""
    """What to write instead, for errors."""

    def create(self) -> ModelAPI:
        """Imports the API, and returns it for an agent."""
        module = import_module(f"{__package__}._apis.{self.module}")
        api: ModelAPI = getattr(module, self.class_name)()
        return api

    def serves(self, client: Any) -> bool:
        """Returns whether a client is of its SDK."""
        names = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(client).__mro__}
        return not names.isdisjoint(self.client_classes)


_OPENAI_CLIENTS = ("openai.AsyncOpenAI",)

CHAT = APIKind(
    name="chat",
    title="Chat Completions",
    module="chat",
    class_name="ChatAPI",
    client_classes=_OPENAI_CLIENTS,
    unsupported=frozenset(("prompt_caching",)),
)
RESPONSES = APIKind(
    name="responses",
    title="OpenAI's models (Responses API)",
    module="responses",
    class_name="ResponsesAPI",
    client_classes=_OPENAI_CLIENTS,
    unsupported=frozenset(
        ("presence_penalty", "frequency_penalty", "stop_sequences", "seed", "top_k", "prompt_caching")
    ),
    hint="api='chat' calls them over Chat Completions, which has presence_penalty, frequency_penalty, "
    "stop_sequences and seed",
)
MESSAGES = APIKind(
    name="messages",
    title="Claude models (Anthropic's Messages API)",
    module="anthropic_messages",
    class_name="AnthropicMessagesAPI",
    client_classes=(
        "anthropic.AsyncAnthropic",
        "anthropic.AsyncAnthropicBedrock",
        "anthropic.AsyncAnthropicVertex",
        "anthropic.AsyncAnthropicFoundry",
    ),
    unsupported=frozenset(("presence_penalty", "frequency_penalty", "seed")),
    max_temperature=1,
)
GENERATE_CONTENT = APIKind(
    name="generate_content",
    title="Gemini models (Google's generateContent)",
    module="google_content",
    class_name="GoogleContentAPI",
    client_classes=("google.Client",),
    unsupported=frozenset(("parallel_tool_calls", "prompt_caching")),
)

API_KINDS: Mapping[str, APIKind] = {kind.name: kind for kind in (CHAT, RESPONSES, MESSAGES, GENERATE_CONTENT)}


def select_api(provider: Provider, api: str | None, *, base_url: str | None, client: Any = None) -> APIKind:
    """Returns the API by which a model is called.

    Args:
        provider: the provider of the model.
        api: the option ``api``.
        base_url: the URL that requests are sent to, as far as it is known.
        client: the option ``client``.

    Raises ValueError for an API that the provider does not offer, and TypeError for a client of another SDK.
    """
    if api is not None and api not in API_KINDS:
        raise ValueError(f"BuiltInAgent: api={api!r} must be one of {', '.join(API_KINDS)}")
    if api is not None and api not in provider.apis:
        offered = " or ".join(repr(name) for name in provider.apis)
        raise ValueError(f"BuiltInAgent: api={api!r} is not an API of {provider.name}: use {offered}, or none")
    kinds = [API_KINDS[api]] if api is not None else [API_KINDS[name] for name in provider.apis]
    if client is not None:
        kinds = [kind for kind in kinds if kind.serves(client)]
        if not kinds:
            expected = _client_classes(provider, api)
            raise TypeError(f"BuiltInAgent: client must be of the type {expected}, not {type(client).__name__}")
    # OpenAI's own models are served over Responses at OpenAI only.
    if api is None and provider is OPENAI and RESPONSES in kinds and _is_openais(base_url):
        return RESPONSES
    return kinds[0]


def check_options(options: Options, kind: APIKind, api: ModelAPI, model: Model, *, base_url: str) -> None:
    """Raises ValueError for an option that a model does not have."""
    title = kind.title if kind is not CHAT else f"models of {model.provider.name} over Chat Completions"
    # Other servers of OpenAI's APIs have other models by these names, or leave out what one does not have.
    knows_model = kind not in (CHAT, RESPONSES) or _is_openais(base_url)
    by_model = api.unsupported_options(model.name, options) if knows_model else {}
    for name, when in sorted(by_model.items()):
        if getattr(options, name) is not None:
            subject = " ".join(filter(None, (model.name, when)))
            raise ValueError(f"{name} is not an option of {subject}, one of {title}: remove it")
    unsupported = kind.unsupported | (model.provider.unsupported_in_chat if kind is CHAT else frozenset())
    for name in sorted(unsupported):
        if getattr(options, name) is not getattr(type(options)(), name):
            hint = f"; {kind.hint}" if kind.hint and name in kind.hint else ""
            raise ValueError(f"{name} is not an option of {title}: remove it{hint}")
    api.check_provider_options(options.provider_options)
    if options.temperature is not None and options.temperature > kind.max_temperature:
        raise ValueError(f"temperature must be at most {kind.max_temperature:g} for {title}")


def _client_classes(provider: Provider, api: str | None) -> str:
    kinds = [API_KINDS[name] for name in ((api,) if api is not None else provider.apis)]
    return " or ".join(dict.fromkeys(kind.client_classes[0] for kind in kinds)).replace("google.", "google.genai.")


def _is_openais(base_url: str | None) -> bool:
    """Returns whether a URL is one of OpenAI's own service."""
    host = urlsplit(base_url or "").hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")
