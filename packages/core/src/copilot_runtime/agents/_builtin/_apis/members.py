"""Reads objects of a response. No SDK validates them, so that any value may be of any type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def member(value: Any, *path: str) -> Any:
    """Returns a member of an object, or of an object within it; None if there is none.

    The object is the SDK's model, or a dict if the SDK did not expect one there.
    """
    for name in path:
        if isinstance(value, BaseModel):
            value = getattr(value, name, None)
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def text_member(value: Any, *path: str) -> str:
    """Returns a member if it is a string, else an empty one."""
    text = member(value, *path)
    return text if isinstance(text, str) else ""


def list_member(value: Any, *path: str) -> list[Any]:
    """Returns a member if it is a list, else an empty one."""
    items = member(value, *path)
    return items if isinstance(items, list) else []


def extra_members(value: Any) -> Mapping[str, Any]:
    """Returns the members of an object that the SDK does not know."""
    if isinstance(value, BaseModel):
        return value.model_extra or {}
    return value if isinstance(value, Mapping) else {}


def read_counts(usage: Any, paths: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Returns the counts of a usage that are there and valid.

    Args:
        usage: the usage.
        paths: by AG-UI's name of a count, its path in the usage.
    """
    counts = {}
    for name, path in paths.items():
        value = member(usage, *path)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            counts[name] = value
    return counts
