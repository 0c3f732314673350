"""Validation of what an application configures. Each message says what is accepted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UnusableResult(TypeError):
    """A function of the application has returned what cannot be used. Its text says all, so no traceback is logged."""

    is_logged_without_traceback = True


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raises ValueError for a value that is none of the choices."""
    allowed = tuple(choices)
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}")


def check_bool(name: str, value: object) -> None:
    """Raises TypeError for anything but a bool: the string ``"false"`` would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: must be True or False")


def check_number(
    name: str, value: object, *, minimum: float = 0, integer: bool = False, allow_none: bool = False
) -> None:
    """Raises ValueError for anything but a finite number that is ``minimum`` or more."""
    if value is None and allow_none:
        return
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)) or not math.isfinite(value):
        is_valid = False
    else:
        is_valid = value >= minimum
    if not is_valid:
        kind = "an integer" if integer else "a number"
        raise ValueError(f"{name}={value!r}: must be {kind} >= {minimum:g}{' or None' if allow_none else ''}")


def check_names(name: str, value: object) -> tuple[str, ...]:
    """Returns the strings of a list. Raises TypeError for anything else, a single string included."""
    names = None if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if names is None or not all(isinstance(item, str) for item in names):
        raise TypeError(f"{name}={value!r}: must be a list of strings, such as ['x-one']")
    return names


_MAX_PROBLEM_CHARACTERS = 500
"""pydantic repeats a tag that it does not know, however long it is."""


def format_validation_error(error: ValidationError, *, root: str = "it", limit: int | None = None) -> str:
    """Returns what pydantic found wrong, without the values, which may be secret.

    Args:
        error: pydantic's error.
        root: what to call the whole value.
        limit: how many problems to report at most; how many more there are is added.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    reported = problems[:limit]
    texts = [f"{'.'.join(map(str, problem['loc'])) or root}: {_shorten(problem['msg'])}" for problem in reported]
    if len(reported) < len(problems):
        texts.append(f"and {len(problems) - len(reported)} more")
    return "; ".join(texts)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_PROBLEM_CHARACTERS else f"{text[:_MAX_PROBLEM_CHARACTERS]}…"
