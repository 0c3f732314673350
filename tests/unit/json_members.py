"""JSON with single members replaced, for tests of what others send."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")

Path = tuple[Any, ...]
"""The names and indexes that lead to a member."""

MISSING = object()
"""In place of a member that is left out."""


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yields the paths of all members, at any depth."""
    for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, name)
        yield from paths(value[name], (*path, name))


def with_member(value: T, path: Path, other: Any) -> T:
    """Returns a copy that has something else at a path, or nothing for `MISSING`."""
    changed = copy.deepcopy(value)
    parent: Any = changed
    for name in path[:-1]:
        parent = parent[name]
    if other is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = other
    return changed
