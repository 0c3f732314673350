"""Providers of models, and the models, endpoints and credentials that a configuration means."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from .errors import AUTH_FAILED, ModelError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who serves models, and what is peculiar to it."""

    name: str
    aliases: tuple[str, ...] = ()
    apis: tuple[str, ...] = ("chat",)
    """The names of the APIs that it offers, its own first; see `apis.API_KINDS`."""
    key_variable: str | None = None
    other_variables: tuple[str, ...] = ()
    """Variables that are used if there is no such key."""
    base_url_variable: str | None = None
    base_url: str | None = None
    """That of its Chat Completions, from which its own API derives its own. None leaves it to the SDK."""
    max_tokens_param: str = "max_tokens"
    """The name of the token limit in a request of Chat Completions, and so on."""
    developer_role: str = "system"
    supported_media: frozenset[str] = frozenset(("image",))
    """The kinds of media that messages may contain besides text."""
    unsupported_in_chat: frozenset[str] = frozenset()
    """The options that its Chat Completions do not have."""


OPENAI_COMPATIBLE = Provider(
    name="compatible",
    apis=("chat", "responses", "messages", "generate_content"),
    supported_media=frozenset(("image", "audio")),
)
"""A server that is known by its base URL only."""

OPENAI = Provider(
    name="openai",
    apis=("chat", "responses"),
    key_variable="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
    base_url="https://api.openai.com/v1",
    max_tokens_param="max_completion_tokens",
    developer_role="developer",
    supported_media=frozenset(("image", "audio", "document")),
    unsupported_in_chat=frozenset(("top_k",)),
)
VERTEX = Provider(
    name="vertex",
    apis=("generate_content",),
    key_variable="GOOGLE_VERTEX_API_KEY",
    other_variables=("GOOGLE_VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT"),
    base_url_variable="GOOGLE_VERTEX_BASE_URL",
    base_url="https://aiplatform.googleapis.com/v1",
)

PROVIDERS: tuple[Provider, ...] = (
    OPENAI,
    Provider(
        name="anthropic",
        apis=("messages", "chat"),
        unsupported_in_chat=frozenset(("top_k",)),
        key_variable="ANTHROPIC_API_KEY",
        base_url_variable="ANTHROPIC_BASE_URL",
        base_url="https://api.anthropic.com/v1/",
    ),
    Provider(
        name="google",
        aliases=("gemini", "google-gemini"),
        apis=("generate_content", "chat"),
        unsupported_in_chat=frozenset(("top_k",)),
        key_variable="GOOGLE_API_KEY",
        other_variables=("GEMINI_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"),
        base_url_variable="GOOGLE_GENERATIVE_AI_BASE_URL",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
        supported_media=frozenset(("image", "audio")),
    ),
    VERTEX,
    Provider(
        name="minimax",
        key_variable="MINIMAX_API_KEY",
        base_url_variable="MINIMAX_BASE_URL",
        base_url="https://api.minimax.io/v1",
    ),
)

NO_KEY = "none"
"""The key for a server that needs none."""

_BY_NAME: Mapping[str, Provider] = {
    name: provider for provider in PROVIDERS for name in (provider.name, *provider.aliases)
}
_SEPARATOR = re.compile("[/:]")


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A model and its provider."""

    provider: Provider
    name: str

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"

    @classmethod
    def parse(cls, text: str, *, allow_unknown_provider: bool = False) -> Model:
        """Parses ``provider/model`` or ``provider:model``.

        Args:
            text: the text to parse.
            allow_unknown_provider: whether a text without a known provider is the name of a model of a compatible
                server. Set it if the endpoint is configured.

        Raises ValueError, and TypeError for anything but a text.
        """
        if not isinstance(text, str):
            raise TypeError(f"BuiltInAgent: model={text!r} must be a string, such as 'openai/gpt-4o-mini'")
        prefix, separator, rest = (part.strip() for part in _split(text))
        provider = _BY_NAME.get(prefix.lower())
        if provider is not None and rest:
            return cls(provider, rest)
        if allow_unknown_provider and text.strip() and (provider is None or not separator):
            return cls(OPENAI_COMPATIBLE, text.strip())
        known = ", ".join(_BY_NAME)
        if not separator or provider is not None or not rest:
            raise ValueError(f"model={text!r} must name a provider and a model, such as 'openai/gpt-4o-mini'")
        raise ValueError(
            f"model={text!r} has an unknown provider {prefix!r}, known are {known}; "
            "for any other OpenAI-compatible server set base_url"
        )


def _split(text: str) -> tuple[str, str, str]:
    match = _SEPARATOR.search(text)
    return (text, "", "") if match is None else (text[: match.start()], match.group(), text[match.end() :])


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """The base URL of a server, and the key for it."""

    base_url: str
    api_key: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The configured key and base URL; what is None comes from the environment.

    Raises ValueError for an invalid URL.
    """

    api_key: str | None = dataclasses.field(default=None, repr=False)
    base_url: str | None = None

    def __post_init__(self) -> None:
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError(
                    f"base_url={self.base_url!r} must be an absolute URL, such as 'http://localhost:11434/v1'"
                )

    def has_key(self, provider: Provider) -> bool:
        """Returns whether there is a key for the provider, or none is needed.

        A configured base URL may be that of a local server, which needs none.
        """
        return bool(self.base_url is not None or self.api_key or _first_of(_variables(provider)))

    def url(self, provider: Provider) -> str:
        """Returns the base URL of a provider, with the current environment."""
        if self.base_url is not None:
            # Other servers may have their API at the root.
            return _with_path(self.base_url, provider) if _is_host_of(provider, self.base_url) else self.base_url
        return _base_url_from_environment(provider) or provider.base_url or ""

    def endpoint(self, provider: Provider) -> Endpoint:
        """Returns the endpoint of a provider, with the current environment. Raises ModelError if there is no key."""
        if not self.has_key(provider):
            raise ModelError(
                AUTH_FAILED, f"The server has no API key for the model: set {missing_variables(provider)}."
            )
        # The SDK rejects an empty key, but a local server may need none.
        key = self.api_key or _first_of(_key_variables(provider)) or NO_KEY
        return Endpoint(self.url(provider), key)


def missing_variables(provider: Provider) -> str:
    """Returns the variables one of which has to be set, for log lines and errors."""
    return " or ".join(_variables(provider))


def _variables(provider: Provider) -> tuple[str, ...]:
    return (*((provider.key_variable,) if provider.key_variable else ()), *provider.other_variables)


def _key_variables(provider: Provider) -> tuple[str, ...]:
    """Returns the variables that contain a key, and not a project whose credentials the SDK finds."""
    return tuple(name for name in _variables(provider) if name.endswith("_KEY"))


def _first_of(variables: Iterable[str]) -> str | None:
    return next(filter(None, map(_from_environment, variables)), None)


def _from_environment(variable: str | None) -> str | None:
    return os.environ.get(variable, "").strip() or None if variable else None


def _base_url_from_environment(provider: Provider) -> str | None:
    url = _from_environment(provider.base_url_variable)
    # Anthropic's SDK shares its variable, and expects it to have no path.
    return None if url is None else _with_path(url, provider)


def _with_path(url: str, provider: Provider) -> str:
    """Returns a URL with the path of the provider's own, unless it has one."""
    if provider.base_url is None or urlsplit(url).path.strip("/"):
        return url
    return url.rstrip("/") + urlsplit(provider.base_url).path


def _is_host_of(provider: Provider, url: str) -> bool:
    own, host = urlsplit(provider.base_url or "").hostname, urlsplit(url).hostname or ""
    return own is not None and (host == own or host.endswith(f".{own}"))
