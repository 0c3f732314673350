"""Checks of what an application configures; each says what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raises ValueError for a value that is none of the choices."""
    if value not in tuple(choices):
        raise ValueError(f"{name}={value!r}: give one of {', '.join(map(repr, choices))}")


def check_bool(name: str, value: object) -> None:
    """Raises TypeError for what is not a bool: the text ``"false"`` would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: give True or False")


def check_number(
    name: str, value: object, *, minimum: float = 0, integer: bool = False, allow_none: bool = False
) -> None:
    """Raises ValueError for what is not a finite number from ``least`` on."""
    if value is None and allow_none:
        return
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)) or not math.isfinite(value):
        good = False
    else:
        good = value >= minimum
    if not good:
        kind = "a whole number" if integer else "a number"
        raise ValueError(f"{name}={value!r}: give {kind} from {minimum:g} on{' or None' if allow_none else ''}")


def check_names(name: str, value: object) -> tuple[str, ...]:
    """The strings of a list. Raises TypeError for anything else, one string included."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name}={value!r}: give a list of names, such as ['x-one']")
    given = tuple(value)
    if not all(isinstance(one, str) for one in given):
        raise TypeError(f"{name}={value!r}: give a list of names, such as ['x-one']")
    return given
