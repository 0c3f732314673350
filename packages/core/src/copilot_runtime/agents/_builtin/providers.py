"""Who serves models, and which model a name means."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from .errors import AUTH_FAILED, ModelError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A server of the Chat Completions API, and in what it differs from the others."""

    name: str
    aliases: tuple[str, ...] = ()
    key_variable: str | None = None
    base_url_variable: str | None = None
    base_url: str | None = None
    """None leaves it to the SDK, which is OpenAI's own."""
    max_tokens: str = "max_tokens"
    """What the limit of the answer's tokens is called in a request."""
    developer_role: str = "system"
    supported_media: frozenset[str] = frozenset(("image",))
    """The kinds of media that messages may hold, beside text."""


OPENAI_COMPATIBLE = Provider(name="compatible", supported_media=frozenset(("image", "audio")))
"""A server that only its address tells of."""

PROVIDERS: tuple[Provider, ...] = (
    Provider(
        name="openai",
        key_variable="OPENAI_API_KEY",
        base_url_variable="OPENAI_BASE_URL",
        base_url="https://api.openai.com/v1",
        max_tokens="max_completion_tokens",
        developer_role="developer",
        supported_media=frozenset(("image", "audio", "document")),
    ),
    Provider(
        name="anthropic",
        key_variable="ANTHROPIC_API_KEY",
        base_url_variable="ANTHROPIC_BASE_URL",
        base_url="https://api.anthropic.com/v1/",
    ),
    Provider(
        name="google",
        aliases=("gemini", "google-gemini"),
        key_variable="GOOGLE_API_KEY",
        base_url_variable="GOOGLE_GENERATIVE_AI_BASE_URL",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
        supported_media=frozenset(("image", "audio")),
    ),
    Provider(
        name="minimax",
        key_variable="MINIMAX_API_KEY",
        base_url_variable="MINIMAX_BASE_URL",
        base_url="https://api.minimax.io/v1",
    ),
)

_BY_NAME: Mapping[str, Provider] = {name: one for one in PROVIDERS for name in (one.name, *one.aliases)}
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
        """The model that ``provider/model`` or ``provider:model`` means.

        With ``anywhere`` (where it is asked for is known already) a name without one of our
        providers is a model of a compatible server, whole as it is. Raises ValueError.
        """
        prefix, separator, rest = (part.strip() for part in _split(text))
        provider = _BY_NAME.get(prefix.lower())
        if provider is not None and rest:
            return cls(provider, rest)
        if allow_unknown_provider and text.strip() and (provider is None or not separator):
            return cls(OPENAI_COMPATIBLE, text.strip())
        known = ", ".join(_BY_NAME)
        if not separator or provider is not None or not rest:
            raise ValueError(f"the model {text!r} names no provider and model: write it as in 'openai/gpt-4o-mini'")
        raise ValueError(
            f"the model {text!r} has an unknown provider {prefix!r}: known are {known}; "
            "for any other OpenAI-compatible server give its base_url"
        )


def _split(text: str) -> tuple[str, str, str]:
    found = _SEPARATOR.search(text)
    return (text, "", "") if found is None else (text[: found.start()], found.group(), text[found.end() :])


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and with which key."""

    base_url: str
    api_key: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What was given of key and address; the environment says the rest. Raises ValueError for what is no URL."""

    api_key: str | None = dataclasses.field(default=None, repr=False)
    base_url: str | None = None

    def __post_init__(self) -> None:
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError(f"base_url={self.base_url!r}: give an absolute URL, such as http://localhost:11434/v1")

    def has_key(self, provider: Provider) -> bool:
        """Whether there is a key for the provider, or none is needed: a given address may be a local server's."""
        return bool(self.base_url is not None or self.api_key or _from_environment(provider.key_variable))

    def endpoint(self, provider: Provider) -> Endpoint:
        """The provider's endpoint as given and as the environment says now. Raises Trouble without a key."""
        if not self.has_key(provider):
            raise ModelError(AUTH_FAILED, f"The server has no key for its model: set {provider.key_variable}.")
        base_url = self.base_url or _base_url_from_environment(provider) or provider.base_url
        # The SDK refuses an empty key, though a local server may want none.
        key = self.api_key or _from_environment(provider.key_variable) or "none"
        return Endpoint(base_url or "", key)


def _from_environment(variable: str | None) -> str | None:
    return os.environ.get(variable, "").strip() or None if variable else None


def _base_url_from_environment(provider: Provider) -> str | None:
    url = _from_environment(provider.base_url_variable)
    if url is None or provider.base_url is None or urlsplit(url).path.strip("/"):
        return url
    # Other SDKs share these variables (Anthropic's) and want a bare host in them.
    return url.rstrip("/") + urlsplit(provider.base_url).path
