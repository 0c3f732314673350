"""Which provider, model, key and address `BuiltInAgent` takes from what it is given."""

from __future__ import annotations

import pytest

from copilot_runtime.agents._builtin.errors import ModelError
from copilot_runtime.agents._builtin.providers import (
    OPENAI_COMPATIBLE,
    PROVIDERS,
    Credentials,
    Model,
)

BY_NAME = {provider.name: provider for provider in PROVIDERS}
OPENAI = BY_NAME["openai"]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS:
        for variable in (provider.key_variable, provider.base_url_variable):
            assert variable is not None
            monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("text", "provider", "name"),
    [
        ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openai:gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("OpenAI/gpt-4o-mini", "openai", "gpt-4o-mini"),
        (" openai / gpt-4o ", "openai", "gpt-4o"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("google/gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("gemini/gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("google-gemini:gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("minimax/MiniMax-M2", "minimax", "MiniMax-M2"),
        ("openai/meta-llama/llama-3:free", "openai", "meta-llama/llama-3:free"),
    ],
)
def test_model_with_its_provider(text: str, provider: str, name: str) -> None:
    assert Model.parse(text) == Model(BY_NAME[provider], name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpt-4o", "openai/gpt-4o-mini"),
        ("", "openai/gpt-4o-mini"),
        ("openai/", "openai/gpt-4o-mini"),
        ("openai", "openai/gpt-4o-mini"),
        ("mistral/large", "unknown provider 'mistral'.*base_url"),
    ],
)
def test_model_without_a_known_provider_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Model.parse(text)


@pytest.mark.parametrize("text", ["llama3.2:1b", "meta-llama/llama-3", "gpt-4o", "openai"])
def test_model_with_a_base_url_may_have_any_name(text: str) -> None:
    assert Model.parse(text, allow_unknown_provider=True) == Model(OPENAI_COMPATIBLE, text)


def test_model_provider_prefix_is_removed_with_a_base_url() -> None:
    assert Model.parse("openai/gpt-4o", allow_unknown_provider=True) == Model(OPENAI, "gpt-4o")


@pytest.mark.parametrize("text", ["", "  ", "openai/"])
def test_model_is_required(text: str) -> None:
    with pytest.raises(ValueError, match="must name a provider and a model"):
        Model.parse(text, allow_unknown_provider=True)


@pytest.mark.parametrize(
    ("provider", "given", "expected"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("openai", "https://eu.api.openai.com/", "https://eu.api.openai.com/v1"),
        ("openai", "https://api.openai.com/v2", "https://api.openai.com/v2"),
        ("openai", "https://api.perplexity.ai", "https://api.perplexity.ai"),
        ("openai", "https://notapi.openai.com.example", "https://notapi.openai.com.example"),
        (
            "google",
            "https://generativelanguage.googleapis.com",
            "https://generativelanguage.googleapis.com/v1beta/openai/",
        ),
    ],
)
def test_base_url_of_a_maker_may_lack_the_version(provider: str, given: str, expected: str) -> None:
    assert Credentials(base_url=given).url(BY_NAME[provider]) == expected


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_api_key_and_base_url_from_the_environment(provider: object, monkeypatch: pytest.MonkeyPatch) -> None:
    one = BY_NAME[getattr(provider, "name")]  # noqa: B009 - parametrised as object
    assert one.key_variable is not None
    assert one.base_url_variable is not None
    monkeypatch.setenv(one.key_variable, "k")
    assert Credentials().endpoint(one).base_url == one.base_url
    monkeypatch.setenv(one.base_url_variable, "https://proxy.example/v9")
    endpoint = Credentials().endpoint(one)
    assert (endpoint.base_url, endpoint.api_key) == ("https://proxy.example/v9", "k")


def test_base_url_in_the_environment_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://proxy.example/")
    assert Credentials(api_key="k").endpoint(BY_NAME["anthropic"]).base_url == "https://proxy.example/v1/"


def test_api_key_and_base_url_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "environment's")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://environment.example/v1")
    endpoint = Credentials(api_key="given", base_url="http://localhost:1").endpoint(OPENAI)
    assert (endpoint.base_url, endpoint.api_key) == ("http://localhost:1", "given")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_api_key_that_is_missing_names_its_variable(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("OPENAI_API_KEY", value)
    assert not Credentials().has_key(OPENAI)
    with pytest.raises(ModelError, match="OPENAI_API_KEY") as raised:
        Credentials().endpoint(OPENAI)
    assert raised.value.code == "auth_failed"


@pytest.mark.parametrize("provider", [OPENAI, OPENAI_COMPATIBLE], ids=lambda one: one.name)
def test_api_key_is_optional_with_a_base_url(provider: object) -> None:
    one = OPENAI if provider is OPENAI else OPENAI_COMPATIBLE
    access = Credentials(base_url="http://localhost:11434/v1")
    assert access.has_key(one)
    assert access.endpoint(one).api_key  # the SDK refuses an empty one


def test_api_key_of_openai_is_not_sent_to_another_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert Credentials(base_url="http://elsewhere.example/v1").endpoint(OPENAI_COMPATIBLE).api_key != "secret"


@pytest.mark.parametrize("url", ["localhost:11434/v1", "/v1", "ftp://x/v1", ""])
def test_base_url_must_be_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="absolute URL"):
        Credentials(base_url=url)


def test_api_key_is_not_in_repr() -> None:
    access = Credentials(api_key="sk-secret", base_url="http://localhost:1")
    assert "sk-secret" not in repr(access) + repr(access.endpoint(OPENAI))
