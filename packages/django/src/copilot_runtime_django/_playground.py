"""Refuses the playground where Django's settings are those of production."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from copilot_runtime.adapters import not_for_production

from ._test_connections import is_test_environment


def refuse_playground_in_production() -> None:
    """Raises ImproperlyConfigured if ``DEBUG`` is False. To be called for a handler that serves the playground.

    Test runners set ``DEBUG`` to False as well, which says nothing about the project.
    """
    if not settings.DEBUG and not is_test_environment():
        raise ImproperlyConfigured(
            not_for_production("settings.DEBUG is False", "Write playground=settings.DEBUG, or leave it out.")
        )
