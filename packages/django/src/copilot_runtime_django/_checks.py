"""The system checks of ``manage.py check`` for a project's runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.urls import Resolver404, get_resolver

from ._mounts import find_mounts
from ._urlconf import CopilotPattern, MisconfiguredPattern


def check_runtimes(**_: Any) -> list[CheckMessage]:
    """Returns the problems of all runtimes in the URLconf."""
    return [message for mount in find_mounts() for message in _check_mount(*mount)]


def _check_mount(outer_path: str, pattern: CopilotPattern | MisconfiguredPattern) -> Iterator[CheckMessage]:
    if isinstance(pattern, MisconfiguredPattern):
        yield Error(str(pattern.error), id="copilot_runtime.E001")
        return
    code = f"path({outer_path!r}, include(...))"
    if not outer_path or outer_path.endswith(("/", "$", r"\Z")):
        correct = outer_path.rstrip("/$Z\\") or "api/copilotkit"
        yield Error(
            f"{code} of a CopilotKit runtime never matches POST /{correct}.",
            hint=f"Write path({correct!r}, include(...)), without a slash at the end.",
            id="copilot_runtime.E002",
        )
    elif outer_path.replace("/", "").replace("-", "").isidentifier() and not _is_reachable(outer_path, pattern):
        yield Error(
            f"An earlier URL pattern matches the requests for the CopilotKit runtime at {code}.",
            hint="Put the pattern of the runtime first.",
            id="copilot_runtime.E003",
        )
    if pattern.handler.runtime.is_single_process and not settings.DEBUG:
        yield Warning(
            f"The CopilotKit runtime at {code} keeps its threads in the memory of one process.",
            hint='Use a store that all processes share: CopilotRuntime(store=django_store("default")).',
            id="copilot_runtime.W001",
        )


def _is_reachable(outer_path: str, pattern: CopilotPattern) -> bool:
    try:
        return get_resolver().resolve(f"/{outer_path}").func is pattern.callback
    except Resolver404:
        return False
