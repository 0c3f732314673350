"""The Django app ``copilot_runtime_django``: system checks, the tables of `django_store`, and their admin."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate


class CopilotConfig(AppConfig):
    """Registers the system checks, and what ``manage.py migrate`` does."""

    name = "copilot_runtime_django"
    verbose_name = "CopilotKit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ._checks import check_runtimes
        from ._tables import create_tables

        register(check_runtimes, Tags.urls)
        post_migrate.connect(create_tables, sender=self)
