"""``INSTALLED_APPS = [..., "copilot_runtime_django"]`` gives ``manage.py check`` what it needs."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class CopilotConfig(AppConfig):
    """Registers the checks."""

    name = "copilot_runtime_django"
    label = "copilotkit"

    def ready(self) -> None:
        from ._checks import check_runtimes

        register(check_runtimes, Tags.urls)
