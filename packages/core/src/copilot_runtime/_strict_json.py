"""Strict JSON, as in RFC 8259: no NaN and no infinities."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pydantic_core import from_json, to_json

# Only a number written like this can overflow a float, so only then is the parsed value checked as well. Digits are
# counted from the first one only: to count them again from each of 299 takes longer than all of the rest.
_MAY_OVERFLOW = re.compile(rb"(?<![0-9])[0-9]{300}|[eE]\+?[0-9]{3}")


def loads(data: bytes, *, check_overflow: bool = True) -> Any:
    """Parses a JSON document.

    Raises ValueError for anything that is not JSON, NaN and infinities included. A number too large for a float
    counts as an infinity, since that is what it would become.

    Args:
        data: the document, in UTF-8.
        check_overflow: False where the value is encoded again anyway, which refuses infinities: looking for numbers
            that may overflow takes longer than parsing.
    """
    value = from_json(data, allow_inf_nan=False)
    if check_overflow and _MAY_OVERFLOW.search(data):
        serialised = to_json(value)
        if b"Infinity" in serialised:
            from_json(serialised, allow_inf_nan=False)
    return value


def loads_with_surrogates(data: bytes) -> Any:
    """Parses a JSON document that may have halves of characters (lone surrogates) in its strings.

    Raises ValueError for anything else that is not JSON.
    """
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
