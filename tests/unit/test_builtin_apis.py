"""Which API a model is called by, and which options it has there."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime.agents import BuiltInAgent
from copilot_runtime.agents._builtin._apis import google_content
from copilot_runtime.agents._builtin.providers import PROVIDERS, VERTEX, Credentials

ANTHROPIC, OPENAI = (importlib.import_module(name) for name in ("anthropic", "openai"))
GENAI: Any = None
with contextlib.suppress(ImportError):  # it needs a newer pydantic than the core does
    GENAI = importlib.import_module("google.genai")
needs_google = pytest.mark.skipif(GENAI is None, reason="google-genai is not installed")


def google(*values: Any) -> Any:
    return pytest.param(*values, marks=needs_google)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS:
        for variable in (provider.key_variable, provider.base_url_variable, *provider.other_variables):
            monkeypatch.delenv(str(variable), raising=False)


def api_of(**options: Any) -> str:
    """The name of the API that an agent has loaded."""
    (name,) = BuiltInAgent(**options)._config_resolver._apis
    return name


LOCAL = "http://localhost:1/v1"
INPUT = {"threadId": "t", "runId": "r", "state": {}, "messages": [], "tools": [], "context": [], "forwardedProps": {}}


@pytest.mark.parametrize(
    ("options", "api"),
    [
        ({"model": "openai/gpt-5"}, "responses"),
        ({"model": "openai/gpt-5", "base_url": "https://eu.api.openai.com/v1"}, "responses"),
        ({"model": "openai/gpt-5", "base_url": LOCAL}, "chat"),
        ({"model": "openai/gpt-5", "base_url": LOCAL, "api": "responses"}, "responses"),
        ({"model": "openai/gpt-5", "api": "chat"}, "chat"),
        ({"model": "openai/gpt-5", "client": OPENAI.AsyncOpenAI(api_key="k")}, "responses"),
        ({"model": "openai/gpt-5", "client": OPENAI.AsyncOpenAI(api_key="k", base_url=LOCAL)}, "chat"),
        ({"model": "anything", "client": OPENAI.AsyncOpenAI(api_key="k")}, "chat"),
        ({"model": "llama", "base_url": LOCAL}, "chat"),
        ({"model": "deepseek-chat", "base_url": LOCAL, "api": "messages"}, "messages"),
        ({"model": "anthropic/claude-opus-5"}, "messages"),
        ({"model": "anthropic/claude-opus-5", "base_url": LOCAL}, "messages"),
        ({"model": "anthropic/claude-opus-5", "api": "chat"}, "chat"),
        ({"model": "claude-opus-5", "client": ANTHROPIC.AsyncAnthropic(api_key="k")}, "messages"),
        google({"model": "google/gemini-3-pro"}, "generate_content"),
        ({"model": "gemini/gemini-3-pro", "api": "chat"}, "chat"),
        google({"model": "google-gemini/gemini-3-pro"}, "generate_content"),
        google({"model": "vertex/gemini-3-pro"}, "generate_content"),
        google({"model": "gemini-3-pro", "client": GENAI and GENAI.Client(api_key="k")}, "generate_content"),
        ({"model": "minimax/MiniMax-M2"}, "chat"),
    ],
)
def test_api_of_a_model(options: dict[str, Any], api: str) -> None:
    assert api_of(**options) == api


def test_api_of_the_base_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    assert api_of(model="openai/gpt-5") == "chat"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1/")
    assert api_of(model="openai/gpt-5") == "responses"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"model": "openai/gpt-5", "api": "messages"},
            ValueError,
            "api='messages' is not an API of openai.*'responses'",
        ),
        ({"model": "openai/gpt-5", "api": "rest"}, ValueError, "api='rest' must be one of chat, responses, messages"),
        ({"model": "openai/gpt-5", "client": ANTHROPIC.AsyncAnthropic(api_key="k")}, TypeError, r"openai\.AsyncOpenAI"),
        ({"model": "anthropic/c", "api": "messages", "client": object()}, TypeError, r"anthropic\.AsyncAnthropic"),
        ({"model": "google/g", "client": ANTHROPIC.Anthropic(api_key="k")}, TypeError, r"google\.genai\.Client"),
        ({"model": "openai/gpt-5", "seed": 1}, ValueError, "seed is not an option of OpenAI's models.*api='chat'"),
        ({"model": "openai/gpt-5", "top_k": 1}, ValueError, "top_k is not an option of OpenAI's models.*: remove it$"),
        (
            {"model": "openai/gpt-5", "api": "chat", "top_k": 1},
            ValueError,
            "top_k is not an option of models of openai",
        ),
        ({"model": "openai/gpt-5", "prompt_caching": False}, ValueError, "prompt_caching is not an option of OpenAI's"),
        ({"model": "anthropic/claude-opus-5", "seed": 1}, ValueError, "seed is not an option of Claude models"),
        (
            {"model": "anthropic/claude-opus-4-6", "temperature": 1.5},
            ValueError,
            "temperature must be at most 1 for Claude",
        ),
        (
            {"model": "anthropic/claude-opus-5", "temperature": 1},
            ValueError,
            "temperature is not an option of claude-opus-5",
        ),
        (
            {"model": "openai/gpt-5-mini", "temperature": 0.5},
            ValueError,
            "temperature is not an option of gpt-5-mini, one",
        ),
        ({"model": "openai/o3", "top_p": 0.5}, ValueError, "top_p is not an option of o3, one of OpenAI's models"),
        (
            {"model": "openai/gpt-5.2", "temperature": 0.5, "reasoning_effort": "low"},
            ValueError,
            "temperature is not an option of gpt-5.2 with reasoning_effort, one of OpenAI's models",
        ),
        (
            {"model": "openai/gpt-4o", "reasoning_effort": "low"},
            ValueError,
            "reasoning_effort is not an option of gpt-4o, one of OpenAI's models",
        ),
        *(
            (
                {"model": f"anthropic/{name}", "reasoning_effort": "low"},
                ValueError,
                f"reasoning_effort is not an option of {name}, one of Claude models",
            )
            for name in ("claude-3-5-haiku-latest", "claude-3-haiku-20240307", "claude-2.1")
        ),
        *(
            google(
                {"model": f"{provider}/{name}", "reasoning_effort": "low"},
                ValueError,
                f"reasoning_effort is not an option of {name}, one of Gemini models",
            )
            for provider in ("google", "vertex")
            for name in (
                "gemini-1.5-pro",
                "gemini-2.0-flash",
                "publishers/google/models/gemini-2.0-flash",
                "gemini-pro",
            )
        ),
        (
            {"model": "anthropic/claude-sonnet-4-5", "top_k": 5, "reasoning_effort": "low"},
            ValueError,
            "top_k is not an option of claude-sonnet-4-5 with reasoning_effort, one of Claude models",
        ),
        *(
            (
                {"model": f"anthropic/claude-{name}", "temperature": 0.5, "top_p": 0.9},
                ValueError,
                f"top_p is not an option of claude-{name} with temperature, one of Claude models",
            )
            for name in ("opus-4-1-20250805", "sonnet-4-5", "haiku-4-5@20251001", "opus-4-6")
        ),
        ({"model": 5}, TypeError, "model=5 must be a string, such as 'openai/gpt-4o-mini'"),
        ({"model": None, "base_url": LOCAL}, TypeError, "model=None must be a string"),
        (
            {"model": "anthropic/claude-opus-4-6", "temperature": 0, "reasoning_effort": "low"},
            ValueError,
            "temperature is not an option of claude-opus-4-6 with reasoning_effort",
        ),
        (
            {"model": "openai/gpt-4o", "api": "chat", "reasoning_effort": "low"},
            ValueError,
            "reasoning_effort is not an option of gpt-4o, one of models of openai over Chat Completions",
        ),
        (
            {"model": "openai/o3", "api": "chat", "temperature": 0.5},
            ValueError,
            "temperature is not an option of o3",
        ),
        google(
            {"model": "google/gemini-3-pro", "parallel_tool_calls": False}, ValueError, "not an option of Gemini models"
        ),
        google(
            {"model": "google/gemini-3-pro", "provider_options": {"nope": 1}}, ValueError, "GenerateContentConfig: nope"
        ),
        (
            {"model": "openai/gpt-5", "provider_options": {"previous_response_id": "r"}},
            ValueError,
            "previous_response_id",
        ),
        (
            {"model": "openai/gpt-5", "reasoning_effort": "lots"},
            ValueError,
            "reasoning_effort='lots' must be one of none",
        ),
        (
            {"model": "openai/gpt-5", "parallel_tool_calls": 1},
            ValueError,
            "parallel_tool_calls=1 must be True or False",
        ),
    ],
)
def test_options_that_a_model_does_not_have_are_refused(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^BuiltInAgent: .*{says}"):
        BuiltInAgent(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "openai/gpt-4.1", "temperature": 0.5, "top_p": 0.5},
        {"model": "openai/gpt-5-chat-latest", "temperature": 0.5},
        {"model": "openai/gpt-5", "temperature": 1},
        {"model": "openai/gpt-5", "api": "chat", "reasoning_effort": "low"},
        {"model": "openai/gpt-5", "temperature": 0.5, "base_url": LOCAL, "api": "responses"},
        {"model": "openai/gpt-5.2", "temperature": 0.5, "reasoning_effort": "none"},
        {"model": "anthropic/claude-sonnet-4-5", "temperature": 1, "reasoning_effort": "low"},
        {"model": "anthropic/claude-sonnet-4-5", "top_p": 0.95, "reasoning_effort": "low"},
        {"model": "anthropic/claude-3-7-sonnet-latest", "temperature": 1, "top_p": 0.95, "reasoning_effort": "low"},
        {"model": "anthropic/claude-opus-4-20250514", "temperature": 0.5, "top_p": 0.9},
        {"model": "anthropic/claude-sonnet-4-5", "temperature": 0.5, "reasoning_effort": "none"},
        {"model": "anthropic/claude-3-5-haiku-latest", "temperature": 0.5, "reasoning_effort": "none"},
        {"model": "anthropic/claude-3-7-sonnet-latest", "reasoning_effort": "low"},
        google({"model": "google/gemini-2.0-flash", "reasoning_effort": "none"}),
        google({"model": "google/gemini-2.5-flash", "reasoning_effort": "low"}),
    ],
)
def test_options_that_a_model_has_are_accepted(options: dict[str, Any]) -> None:
    assert api_of(**options)


@pytest.mark.parametrize("model", ["claude-3-7-sonnet-latest", "claude-sonnet-4-5", "claude-opus-4-6"])
def test_temperature_of_older_claude_models(model: str) -> None:
    for options in ({"temperature": 1}, {"top_p": 0.5}):
        assert api_of(model=f"anthropic/{model}", top_k=5, **options) == "messages"


@pytest.mark.parametrize(
    ("model", "module", "package", "extra"),
    [
        ("openai/gpt-5", "openai", "openai", "openai"),
        ("anthropic/claude-opus-5", "anthropic", "anthropic", "anthropic"),
        ("google/gemini-3-pro", "google.genai", "google", "google"),
        ("vertex/gemini-3-pro", "google.genai", "google", "google"),
    ],
)
def test_sdk_that_is_missing_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, model: str, module: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"""^BuiltInAgent requires .*: pip install 'copilot-runtime\[{extra}\]'$"""):
        BuiltInAgent(model=model)


@needs_google
def test_key_of_vertex_may_be_a_project(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    BuiltInAgent(model="vertex/gemini-3-pro")
    assert "GOOGLE_VERTEX_API_KEY or GOOGLE_VERTEX_PROJECT or GOOGLE_CLOUD_PROJECT" in caplog.text
    caplog.clear()
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    BuiltInAgent(model="vertex/gemini-3-pro")
    assert caplog.text == ""


@needs_google
def test_clients_are_closed_with_the_agent() -> None:
    """Google's SDK leaves an HTTP client open that it was passed."""

    async def run() -> Any:
        agent = BuiltInAgent(model="google/gemini-3-pro", base_url=LOCAL)
        resolver = agent._config_resolver
        await resolver.resolve(RunAgentInput.model_validate(INPUT))
        (clients,) = resolver._clients.values()
        client = await clients.get()
        await agent.aclose()
        return client.http

    assert asyncio.run(run()).is_closed


@needs_google
@pytest.mark.parametrize(
    ("location", "url", "host"),
    [
        ("europe-west4", "", "europe-west4-aiplatform.googleapis.com"),
        ("", "", "aiplatform.googleapis.com"),
        ("europe-west4", "https://proxy.example/vertex/v1", "proxy.example"),
    ],
)
def test_vertex_is_called_at_the_host_of_its_location(
    monkeypatch: pytest.MonkeyPatch, location: str, url: str, host: str
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", location)
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", url)
    endpoint = Credentials().endpoint(VERTEX)
    options = google_content._http_options(endpoint, VERTEX)
    credentials = importlib.import_module("google.auth.credentials").AnonymousCredentials()
    client = GENAI.Client(**google_content._vertex_access(endpoint), http_options=options, credentials=credentials)
    assert urlsplit(client._api_client._http_options.base_url).hostname == host
