"""The runtime that ``settings.COPILOT_RUNTIME`` refers to."""

from __future__ import annotations

from django.conf import settings
from notes.agents import secretary

from copilot_runtime import CopilotRuntime
from copilot_runtime_django import django_user

runtime = CopilotRuntime(
    agents={"default": secretary},
    identify_user=django_user,
    # A file, because all worker processes need the same store.
    store=f"sqlite:///{settings.DATA_DIR / 'copilot.db'}",
)
