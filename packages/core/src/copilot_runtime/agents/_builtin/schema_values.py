"""The keywords of JSON Schema whose value is no schema, and what makers accept as their values."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_OTHER_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}


def required_names(schema: Mapping[str, Any]) -> list[str]:
    """Returns the names of a schema's required properties, each once."""
    return _read_names(schema.get("required"))


@functools.lru_cache(2048)
def is_pattern(pattern: str) -> bool:
    """Returns whether a text is a pattern in the language in which makers check it, which is Python's at OpenAI."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning):  # a warning may have been made an error
        return False
    return True


def _read_names(value: Any) -> list[str]:
    return list(dict.fromkeys(filter(_is_text, value))) if isinstance(value, list) else []


def _read_type(value: Any) -> str | list[str] | None:
    if not isinstance(value, list):
        return _type_name(value)
    known = list(dict.fromkeys(name for name in map(_type_name, value) if name is not None))
    return known if len(known) > 1 else known[0] if known else None


def _type_name(kind: Any) -> str | None:
    if isinstance(kind, str) and kind in _TYPES:
        return kind
    name = _OTHER_NAMES.get(kind.lower(), kind.lower()) if isinstance(kind, str) else None
    return name if name in _TYPES else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _read_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _read_list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) and value else None


def _read_flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_positive(value: Any) -> float | None:
    number = _read_number(value)
    return None if number is None or number <= 0 else number


def _read_count(value: Any) -> int | None:
    number = _read_number(value)
    return None if number is None or number < 0 or number % 1 else int(number)


def _read_names_by_name(value: Any) -> dict[str, list[str]] | None:
    return {str(name): _read_names(names) for name, names in value.items()} if isinstance(value, Mapping) else None


VALUE_READERS: Mapping[str, Callable[[Any], Any]] = {
    "type": _read_type,
    "multipleOf": _read_positive,
    "dependentRequired": _read_names_by_name,
    **dict.fromkeys(("description", "title", "format", "contentEncoding", "contentMediaType"), _read_text),
    **dict.fromkeys(("enum", "required", "examples"), _read_list),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _read_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _read_count),
    **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), _read_count),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _read_flag),
}
"""By keyword, what returns its value, or None for one that makers refuse."""
