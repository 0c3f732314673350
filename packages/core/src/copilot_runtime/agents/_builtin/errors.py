"""Failures of a model or its provider, and the ``RUN_ERROR`` codes that report them.

Failures are told apart by the exception's type, the HTTP status, and the error's ``code`` and ``type``, never by the
wording of a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from .._errors import AgentError
from .._http.urls import redact_url

RATE_LIMITED = "rate_limited"
AUTH_FAILED = "auth_failed"
CONTEXT_LENGTH = "context_length"
PROVIDER_ERROR = "provider_error"
NETWORK_ERROR = "network_error"
TIMEOUT = "timeout"
INVALID_REQUEST = "invalid_request"


_REJECTIONS = frozenset((400, 413, 415, 422))


class ModelError(AgentError):
    """A failure of the model, its provider, or the connection to it; or an invalid request of the run."""

    messages: ClassVar[Mapping[str, str]] = {
        RATE_LIMITED: "The model provider is rate limiting requests. Try again later.",
        AUTH_FAILED: "The model provider rejected the server's API key.",
        CONTEXT_LENGTH: "The conversation is too long for the model.",
        PROVIDER_ERROR: "The model provider failed or rejected the request.",
        NETWORK_ERROR: "The connection to the model provider failed.",
        TIMEOUT: "The model provider did not respond in time.",
        INVALID_REQUEST: "The run's forwardedProps are invalid.",
    }


# By an error's `code`, `type` or `status`, as OpenAI, Anthropic, Google, OpenRouter and llama.cpp name them, or HTTP
# status; for MiniMax, whose numbers are its own, with its name.
_BY_NAME: Mapping[str, str] = {
    "rate_limit_exceeded": RATE_LIMITED,
    "rate_limit_error": RATE_LIMITED,
    "insufficient_quota": RATE_LIMITED,
    "overloaded_error": RATE_LIMITED,
    "RESOURCE_EXHAUSTED": RATE_LIMITED,
    "402": RATE_LIMITED,
    "429": RATE_LIMITED,
    "529": RATE_LIMITED,
    "minimax:1002": RATE_LIMITED,
    "minimax:1008": RATE_LIMITED,
    "minimax:1039": RATE_LIMITED,
    "invalid_api_key": AUTH_FAILED,
    "authentication_error": AUTH_FAILED,
    "permission_error": AUTH_FAILED,
    "UNAUTHENTICATED": AUTH_FAILED,
    "API_KEY_INVALID": AUTH_FAILED,
    "PERMISSION_DENIED": AUTH_FAILED,
    "401": AUTH_FAILED,
    "403": AUTH_FAILED,
    "minimax:1004": AUTH_FAILED,
    "minimax:2049": AUTH_FAILED,
    "context_length_exceeded": CONTEXT_LENGTH,
    "exceed_context_size_error": CONTEXT_LENGTH,
    "request_too_large": CONTEXT_LENGTH,
    "413": CONTEXT_LENGTH,
    "timeout_error": TIMEOUT,
    "DEADLINE_EXCEEDED": TIMEOUT,
    "408": TIMEOUT,
    "504": TIMEOUT,
    "minimax:1001": TIMEOUT,
}

# By package and class; the nearest base class counts. The SDK does not wrap all exceptions of its HTTP client.
_BY_CLASS: Mapping[tuple[str, str], str] = {
    ("openai", "APITimeoutError"): TIMEOUT,
    ("openai", "APIConnectionError"): NETWORK_ERROR,
    ("openai", "OpenAIError"): PROVIDER_ERROR,
    ("anthropic", "APITimeoutError"): TIMEOUT,
    ("anthropic", "APIConnectionError"): NETWORK_ERROR,
    ("anthropic", "AnthropicError"): PROVIDER_ERROR,
    ("google.genai", "APIError"): PROVIDER_ERROR,
    ("google.genai", "UnknownApiResponseError"): PROVIDER_ERROR,
    ("google.auth", "GoogleAuthError"): AUTH_FAILED,
    ("pydantic_core", "ValidationError"): PROVIDER_ERROR,  # raised by Google's SDK for a chunk of another form
    ("httpx", "TimeoutException"): TIMEOUT,
    ("httpx", "RequestError"): NETWORK_ERROR,
    ("httpx2", "TimeoutException"): TIMEOUT,
    ("httpx2", "RequestError"): NETWORK_ERROR,
}


def named_model_error(names: Iterable[Any], detail: str) -> ModelError:
    """Returns the failure that a server reports within a response.

    Args:
        names: the names of the error, the most specific first.
        detail: the server's text.
    """
    names = [str(name) for name in names if name is not None]
    code = next(code_of_names(names), PROVIDER_ERROR)
    return ModelError(code, detail=": ".join(filter(None, (*names[:1], detail))))


def to_model_error(error: Exception, *, secret: str = "") -> ModelError | None:
    """Returns the failure that an exception of the SDK means; None if it is not about the provider.

    Args:
        error: the exception.
        secret: a text to mask in the detail, such as the API key.
    """
    if isinstance(error, ModelError):
        if not secret or secret not in error.detail:
            return error
        return ModelError(error.code, error.message, error.detail.replace(secret, "***"))
    code = next(code_of_names(_names(error)), None) or _code_by_class(error)
    if code is None:
        return None
    detail = _describe(error)
    return ModelError(code, detail=detail.replace(secret, "***") if secret else detail)


def is_rejection(error: Exception) -> bool:
    """Returns whether a provider has refused the content of a request."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)  # the latter in Google's SDK
    return status in _REJECTIONS


def code_of_names(names: Iterable[str]) -> Iterator[str]:
    """Yields the codes that the names of an error mean, as far as they are known."""
    return (_BY_NAME[name] for name in names if name in _BY_NAME)


def _describe(error: Exception) -> str:
    """Returns an exception with its cause and the URL of its request: the SDK's own text may have neither."""
    text = f"{type(error).__name__}: {error}"
    if error.__cause__ is not None:
        text += f" ({type(error.__cause__).__name__}: {error.__cause__})"
    try:
        url = error.request.url  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # httpx raises the latter if there is none
        return text
    return f"{text}, {redact_url(url)}"


def _names(error: Exception) -> Iterator[str]:
    """Yields the names of an API error, the most specific first."""
    package = _package(type(error))
    if package == "google.genai":
        yield from _reasons(_members(getattr(error, "details", None)))
        yield str(getattr(error, "status", ""))
        yield str(getattr(error, "code", ""))
    elif package in ("openai", "anthropic"):
        members = _members(getattr(error, "body", None))
        # Anthropic's SDK has the whole body, OpenAI's the error in it.
        for each in (_members(members.get("error")), members):
            yield from _reasons(each)
            yield from (str(each[name]) for name in ("code", "type", "status") if each.get(name) is not None)
        yield str(getattr(error, "status_code", ""))


def _members(value: Any) -> Mapping[str, Any]:
    """Returns the members of an object; also of one in a list, in which some of Google's errors are."""
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, Mapping) else {}


def _reasons(members: Mapping[str, Any]) -> Iterator[str]:
    """Yields the reasons in an error of Google's, which calls a wrong key an invalid argument otherwise."""
    details = (_members(members.get("error")) or members).get("details")
    for each in details if isinstance(details, list) else ():
        reason = each.get("reason") if isinstance(each, Mapping) else None
        if isinstance(reason, str):
            yield reason


def _package(cls: type) -> str:
    """Returns the package of a class; Google's are parts of one."""
    first, _, rest = cls.__module__.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "google" else first


def _code_by_class(error: Exception) -> str | None:
    if isinstance(error, json.JSONDecodeError):  # raised by the SDK for a chunk that is not JSON
        return PROVIDER_ERROR
    for cls in type(error).__mro__:
        code = _BY_CLASS.get((_package(cls), cls.__name__))
        if code is not None:
            return code
    return None
