"""Sets the slots of frozen values while they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def slot_setters(cls: type) -> tuple[Callable[[Any, Any], None], ...]:
    """Returns the functions that set each slot of a class, in the order in which it has them.

    They take half the time of ``object.__setattr__``, which looks for the slot by its name, and nobody else has them.
    """
    slots: tuple[str, ...] = cls.__dict__["__slots__"]
    return tuple(cls.__dict__[name].__set__ for name in slots)
