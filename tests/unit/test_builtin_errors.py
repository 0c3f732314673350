"""What the failures of a model are called, told apart by type, status and code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest

from copilot_runtime.agents._builtin.errors import ModelError, to_model_error

REQUEST: Any = httpx2.Request("POST", "http://model.example/v1/chat/completions")


GOOGLES_WRONG_KEY = {
    "error": {
        "code": 400,
        "message": "words of the provider",
        "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}


def answered(kind: type[openai.APIStatusError], status: int, body: Any = None) -> Exception:
    return kind("words of the provider", response=httpx2.Response(status, request=REQUEST), body=body)


def in_stream(**body: Any) -> Exception:
    return openai.APIError("words of the provider", REQUEST, body=body)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (answered(openai.RateLimitError, 429), "rate_limited"),
        (answered(openai.RateLimitError, 429, {"code": "insufficient_quota"}), "rate_limited"),
        (answered(openai.AuthenticationError, 401, {"code": "invalid_api_key"}), "auth_failed"),
        (answered(openai.PermissionDeniedError, 403), "auth_failed"),
        (answered(openai.BadRequestError, 400, {"code": "context_length_exceeded"}), "context_length"),
        (answered(openai.BadRequestError, 400, {"code": 400, "type": "exceed_context_size_error"}), "context_length"),
        (answered(openai.BadRequestError, 400, {"code": "invalid_value"}), "provider_error"),
        (answered(openai.BadRequestError, 400, "not even an object"), "provider_error"),
        (answered(openai.BadRequestError, 400, [GOOGLES_WRONG_KEY]), "auth_failed"),
        (answered(openai.BadRequestError, 400, GOOGLES_WRONG_KEY["error"]), "auth_failed"),
        (answered(openai.BadRequestError, 400, {"details": [1, {"reason": []}]}), "provider_error"),
        (answered(openai.NotFoundError, 404), "provider_error"),
        (answered(openai.InternalServerError, 500), "provider_error"),
        (answered(openai.InternalServerError, 504), "timeout"),
        (in_stream(type="overloaded_error"), "rate_limited"),
        (in_stream(code=429), "rate_limited"),
        (in_stream(code="server_error"), "provider_error"),
        (in_stream(), "provider_error"),
        (openai.APITimeoutError(REQUEST), "timeout"),
        (openai.APIConnectionError(request=REQUEST), "network_error"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (httpx2.ReadTimeout("slow"), "timeout"),
        (httpx.RemoteProtocolError("broken off"), "network_error"),
        (httpx2.ReadError("broken off"), "network_error"),
        (httpx.DecodingError("no gzip"), "network_error"),
        (httpx2.DecodingError("no gzip"), "network_error"),
        (json.JSONDecodeError("junk", "{", 1), "provider_error"),
        (openai.OpenAIError("something else"), "provider_error"),
    ],
    ids=lambda one: one if isinstance(one, str) else f"{type(one).__name__} {getattr(one, 'body', '')}",
)
def test_failure_has_a_code(error: Exception, code: str) -> None:
    trouble = to_model_error(error)
    assert trouble is not None
    assert trouble.code == code


def test_failure_of_googles_sdk_for_a_wrong_key() -> None:
    errors = pytest.importorskip("google.genai.errors")
    trouble = to_model_error(errors.ClientError(400, GOOGLES_WRONG_KEY))
    assert trouble is not None
    assert trouble.code == "auth_failed"


@pytest.mark.parametrize("error", [ValueError("429"), KeyError("rate_limit_exceeded"), TimeoutError(), OSError()])
def test_failure_of_another_kind_has_no_provider_code(error: Exception) -> None:
    assert to_model_error(error) is None


def test_failure_text_decides_nothing() -> None:
    trouble = to_model_error(openai.OpenAIError("rate limit, invalid api key, context_length_exceeded, timeout"))
    assert trouble is not None
    assert trouble.code == "provider_error"


def test_failure_text_is_sent_with_debug_only() -> None:
    trouble = to_model_error(answered(openai.InternalServerError, 500))
    assert trouble is not None
    assert "words" not in trouble.to_event(with_detail=False)["message"]
    assert "words" in trouble.to_event(with_detail=True)["message"]
    assert "words" in str(trouble)


def test_failure_log_has_no_key() -> None:
    trouble = to_model_error(openai.OpenAIError("Incorrect API key provided: sk-1234"), secret="sk-1234")
    assert "sk-1234" not in str(trouble)


def test_failure_that_is_an_agent_error_is_unchanged() -> None:
    trouble = ModelError("auth_failed", "set THE_KEY")
    assert to_model_error(trouble) is trouble
    assert trouble.to_event(with_detail=True) == {"type": "RUN_ERROR", "message": "set THE_KEY", "code": "auth_failed"}


def test_failure_log_has_the_url_without_its_secrets() -> None:
    error = openai.APIConnectionError(request=httpx2.Request("POST", "http://ada:sk-1@models.example/v1/chat?key=sk-2"))
    error.__cause__ = httpx2.ConnectError("Name or service not known")
    trouble = to_model_error(error)
    assert trouble is not None
    assert "http://models.example/v1/chat" in str(trouble)
    assert "Name or service not known" in str(trouble)
    assert "sk-" not in str(trouble)
    assert "models.example" not in trouble.to_event(with_detail=False)["message"]


@pytest.mark.requirement("AGENT-05")
def test_failure_codes_are_all_in_the_docs() -> None:
    docs = Path(__file__).parents[2].joinpath("docs/builtin-agent.md").read_text("utf-8")
    assert [code for code in ModelError.messages if f"| `{code}` |" not in docs] == []
