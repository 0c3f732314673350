"""The runtimes in the URLconf of a project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import URLResolver, get_resolver

from ._urlconf import CopilotPattern, MisconfiguredPattern

Mount = tuple[str, CopilotPattern | MisconfiguredPattern]
"""The outer path of a runtime, and its pattern."""


def find_mounts() -> Iterator[Mount]:
    """Yields the runtimes in the URLconf. Raises whatever importing the URLconf raises."""
    return _mounts(get_resolver().url_patterns, "")


def _mounts(patterns: Iterable[Any], outer_path: str) -> Iterator[Mount]:
    for pattern in patterns:
        if isinstance(pattern, CopilotPattern | MisconfiguredPattern):
            yield outer_path, pattern
        elif isinstance(pattern, URLResolver):
            yield from _mounts(pattern.url_patterns, outer_path + str(pattern.pattern))
