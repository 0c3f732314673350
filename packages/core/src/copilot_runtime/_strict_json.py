"""Strict JSON, as in RFC 8259: no NaN and no infinities."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from pydantic_core import from_json, to_json

# With all digits alike, what a number must have that is 1e309 or more: an exponent of three digits, or with one of two
# more than 200 digits. To look for that takes as long as parsing; with a regular expression it takes 20 times as long.
_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS = b"0" * 200


def _may_overflow(data: bytes) -> bool:
    alike = data.translate(_ALIKE)
    return b"0e000" in alike or b"0e+000" in alike or _MANY_DIGITS in alike


def loads(data: bytes, *, check_overflow: bool = True) -> Any:
    """Parses a JSON document.

    Raises ValueError for anything that is not JSON, NaN and infinities included. A number too large for a float
    counts as an infinity, since that is what it would become.

    Args:
        data: the document, in UTF-8.
        check_overflow: False where infinities are looked for later, as where the value is encoded again: looking for
            numbers that may overflow takes as long as parsing.
    """
    value = from_json(data, allow_inf_nan=False, cache_strings="keys")
    if check_overflow:
        refuse_overflow(value, data)
    return value


def refuse_overflow(value: Any, data: bytes) -> None:
    """Raises ValueError if a parsed document has a number that is too large for a float.

    Args:
        value: what `loads` has returned.
        data: the document.
    """
    if _may_overflow(data):
        serialised = to_json(value)
        if b"Infinity" in serialised:
            from_json(serialised, allow_inf_nan=False)


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
