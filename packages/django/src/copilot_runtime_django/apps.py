"""The Django app ``copilot_runtime_django``, which adds the runtime's system checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class CopilotConfig(AppConfig):
    """Registers the system checks."""

    name = "copilot_runtime_django"

    def ready(self) -> None:
        from ._checks import check_runtimes

        register(check_runtimes, Tags.urls)
