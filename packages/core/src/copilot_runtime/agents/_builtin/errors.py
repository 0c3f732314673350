"""What goes wrong with a model, as the ``RUN_ERROR`` that says so.

Failures are told apart by the exception's type, the HTTP status and the error's ``code``
and ``type`` members, never by words in a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

RATE_LIMITED = "rate_limited"
AUTH_FAILED = "auth_failed"
CONTEXT_LENGTH = "context_length"
PROVIDER_ERROR = "provider_error"
NETWORK_ERROR = "network_error"
TIMEOUT = "timeout"
INVALID_REQUEST = "invalid_request"
"""The run's own input asks for what cannot be: a value in ``forwardedProps``."""

_MESSAGES: Mapping[str, str] = {
    RATE_LIMITED: "The model's provider wants fewer requests at the moment. Try again later.",
    AUTH_FAILED: "The model's provider did not accept the server's key.",
    CONTEXT_LENGTH: "The conversation has become too long for the model.",
    PROVIDER_ERROR: "The model's provider failed or refused the request.",
    NETWORK_ERROR: "The connection to the model's provider failed.",
    TIMEOUT: "The model's provider did not answer in time.",
}

# By an error's `code` or `type`, as OpenAI, Anthropic, Google, OpenRouter and llama.cpp name them.
_BY_NAME: Mapping[str, str] = {
    "rate_limit_exceeded": RATE_LIMITED,
    "rate_limit_error": RATE_LIMITED,
    "insufficient_quota": RATE_LIMITED,
    "overloaded_error": RATE_LIMITED,
    "RESOURCE_EXHAUSTED": RATE_LIMITED,
    "429": RATE_LIMITED,
    "invalid_api_key": AUTH_FAILED,
    "authentication_error": AUTH_FAILED,
    "permission_error": AUTH_FAILED,
    "UNAUTHENTICATED": AUTH_FAILED,
    "PERMISSION_DENIED": AUTH_FAILED,
    "401": AUTH_FAILED,
    "403": AUTH_FAILED,
    "context_length_exceeded": CONTEXT_LENGTH,
    "exceed_context_size_error": CONTEXT_LENGTH,
    "request_too_large": CONTEXT_LENGTH,
    "timeout_error": TIMEOUT,
    "DEADLINE_EXCEEDED": TIMEOUT,
    "408": TIMEOUT,
    "504": TIMEOUT,
}

# By package and class; the nearest base class counts. The SDK lets some of httpx's pass.
_BY_CLASS: Mapping[tuple[str, str], str] = {
    ("openai", "APITimeoutError"): TIMEOUT,
    ("openai", "APIConnectionError"): NETWORK_ERROR,
    ("openai", "OpenAIError"): PROVIDER_ERROR,
    **{(package, "TimeoutException"): TIMEOUT for package in ("httpx", "httpx2")},
    **{(package, "TransportError"): NETWORK_ERROR for package in ("httpx", "httpx2")},
}


class ModelError(Exception):
    """A failure with a code: ``message`` is for everyone, ``detail`` for the log."""

    def __init__(self, code: str, message: str = "", detail: str = "") -> None:
        self.code = code
        self.message = message or _MESSAGES[code]
        self.detail = detail
        super().__init__(f"{self.message} ({detail})" if detail else self.message)

    def event(self, *, detailed: bool) -> dict[str, Any]:
        """The ``RUN_ERROR`` to send, with the detail where that is wanted."""
        return {"type": "RUN_ERROR", "message": str(self) if detailed else self.message, "code": self.code}


def to_model_error(error: Exception, *, secret: str = "") -> ModelError | None:
    """What an exception of the SDK means; None where it is none of the provider's.

    ``secret`` is kept out of the detail.
    """
    if isinstance(error, ModelError):
        return error
    code = next((_BY_NAME[name] for name in _names(error) if name in _BY_NAME), None) or _code_of_class(error)
    if code is None:
        return None
    detail = f"{type(error).__name__}: {error}"
    return ModelError(code, detail=detail.replace(secret, "***") if secret else detail)


def _names(error: Exception) -> Iterator[str]:
    """What an error of the API calls itself, the most telling first."""
    if type(error).__module__.partition(".")[0] == "openai":
        body = getattr(error, "body", None)
        members = body if isinstance(body, Mapping) else {}
        yield from (str(members[name]) for name in ("code", "type", "status") if members.get(name) is not None)
        yield str(getattr(error, "status_code", ""))


def _code_of_class(error: Exception) -> str | None:
    if isinstance(error, json.JSONDecodeError):  # the SDK's, of a chunk that is not JSON
        return PROVIDER_ERROR
    for kind in type(error).__mro__:
        code = _BY_CLASS.get((kind.__module__.partition(".")[0], kind.__name__))
        if code is not None:
            return code
    return None
