"""The arguments of a tool call."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from ... import _strict_json as strict_json
from ..._events.surrogates import without_surrogates
from .tool import ToolError

_SURROGATE = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")


def load_arguments(arguments: str) -> tuple[Any, str]:
    """Returns the value of a text in JSON, and the text, both with U+FFFD in place of halves of characters.

    The text is the same object if it has none. Raises ValueError for anything that is not JSON.
    """
    try:
        return strict_json.loads(arguments.encode()), arguments
    except ValueError:
        if not _SURROGATE.search(arguments):
            raise
    value = without_surrogates(strict_json.loads_with_surrogates(arguments.encode("utf-8", "surrogatepass")))
    text = to_json(value)
    return strict_json.loads(text), text.decode()


def parse_arguments(arguments: str) -> dict[str, Any]:
    """Returns the arguments that a model wrote as JSON; none at all count as an empty object. Raises ToolError."""
    try:
        value = load_arguments(arguments)[0] if arguments.strip() else {}
    except ValueError as error:
        raise ToolError(f"The arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolError("The arguments must be a JSON object.")
    return value


def arguments_json(value: Any) -> str:
    """Returns arguments that a server has not sent as text, with U+FFFD in place of halves of characters."""
    try:
        return to_json(without_surrogates(value)).decode()
    except (PydanticSerializationError, RecursionError):
        return '"nested too deeply"'  # which is no object, so that the call is not run


def json_object(arguments: str) -> str:
    """Returns arguments that every maker accepts: models do not always produce JSON, and some servers parse it."""
    if not arguments.strip():
        return "{}"
    try:
        value, text = load_arguments(arguments)
    except ValueError:
        value, text = None, ""
    return text if isinstance(value, dict) else arguments_json({"invalid_arguments": arguments})
