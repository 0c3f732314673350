"""What ``manage.py check`` says of a project's runtimes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.urls import Resolver404, URLResolver, get_resolver

from ._urlconf import CopilotPattern, MisconfiguredPattern

Mount = tuple[str, CopilotPattern | MisconfiguredPattern]


def check_runtimes(**_: Any) -> list[CheckMessage]:
    """Everything that is wrong, of all runtimes in the URLconf."""
    return [found for mount in _mounts(get_resolver().url_patterns, "") for found in _check_mount(*mount)]


def _mounts(patterns: Iterable[Any], outer: str) -> Iterator[Mount]:
    for pattern in patterns:
        if isinstance(pattern, CopilotPattern | MisconfiguredPattern):
            yield outer, pattern
        elif isinstance(pattern, URLResolver):
            yield from _mounts(pattern.url_patterns, outer + str(pattern.pattern))


def _check_mount(outer: str, pattern: CopilotPattern | MisconfiguredPattern) -> Iterator[CheckMessage]:
    if isinstance(pattern, MisconfiguredPattern):
        yield Error(str(pattern.error), id="copilotkit.E001")
        return
    shown = f"path({outer!r}, include(...))"
    if not outer or outer.endswith(("/", "$", r"\Z")):
        good = outer.rstrip("/$Z\\") or "api/copilotkit"
        yield Error(
            f"{shown} of a CopilotKit runtime never matches POST /{good}.",
            hint=f"Write path({good!r}, include(...)), without a slash at the end.",
            id="copilotkit.E002",
        )
    elif outer.replace("/", "").replace("-", "").isidentifier() and not _is_reachable(outer, pattern):
        yield Error(
            f"A pattern before {shown} takes the requests of its CopilotKit runtime.",
            hint="Put the runtime first.",
            id="copilotkit.E003",
        )
    if pattern.handler.runtime.is_single_process and not settings.DEBUG:
        yield Warning(
            f"The CopilotKit runtime at {shown} keeps its threads in the memory of one process.",
            hint='Give it a store that all processes share: CopilotRuntime(store="sqlite:////var/lib/app/copilot.db").',
            id="copilotkit.W001",
        )


def _is_reachable(outer: str, pattern: CopilotPattern) -> bool:
    try:
        return get_resolver().resolve(f"/{outer}").func is pattern.callback
    except Resolver404:
        return False
