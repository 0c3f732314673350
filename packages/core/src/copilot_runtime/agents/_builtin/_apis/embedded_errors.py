"""Errors that a server reports inside a response whose status says that all is well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import PROVIDER_ERROR, ModelError, code_of_names

_COMPLETION_MEMBERS = frozenset(("choices", "candidates", "delta", "response", "usageMetadata", "usage", "message"))
"""Members of what is part of a completion, so that a text beside them is no error."""
_ERROR_TEXTS = ("message", "msg", "error_msg", "error_message", "detail", "errors")
_CODES = ("code", "type", "status", "status_code", "error_code")


def raise_embedded_error(value: Any, *, is_error: bool = False) -> None:
    """Raises ModelError if a JSON value of a stream reports an error. The maker's text is for the log.

    Args:
        value: the value.
        is_error: whether its event says that it is one.
    """
    error = _find_error(value)
    if error is not None or is_error:
        error = value if error is None else error
        code = next(code_of_names(_names(error, value)), PROVIDER_ERROR)
        raise ModelError(code, detail=f"in a response with status 200: {_describe(error)}")


def _find_error(value: Any) -> Any:
    """Returns the error that a value reports; None for all others."""
    if not isinstance(value, Mapping):
        return None
    error = value.get("error")
    if any(error.values()) if isinstance(error, Mapping) else error:  # some servers write members that are empty
        return error
    base = value.get("base_resp")  # MiniMax, in every chunk
    if isinstance(base, Mapping) and base.get("status_code") not in (None, 0, "0"):
        return base
    if "error" in (value.get("object"), value.get("type")):  # vLLM and others; OpenAI
        return value
    if _COMPLETION_MEMBERS.isdisjoint(value.keys() - {"message"}) and "type" not in value and "object" not in value:
        has_text = any(isinstance(value.get(name), str | list) and value[name] for name in _ERROR_TEXTS)
        has_role = isinstance(value.get("message"), Mapping)
        return value if has_text and not has_role else None
    return None


def _names(error: Any, value: Any) -> Iterator[str]:
    """Yields what may tell the kind of an error, the most specific first."""
    for members in (error, value):
        if isinstance(members, Mapping):
            prefix = "minimax:" if members is not value and members is value.get("base_resp") else ""
            yield from (prefix + str(members[name]) for name in _CODES if members.get(name) is not None)


def _describe(error: Any) -> str:
    return str(dict(error) if isinstance(error, Mapping) else error)[:2000]
