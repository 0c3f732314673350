"""The runtime that ``settings.COPILOT_RUNTIME`` refers to."""

from __future__ import annotations

from notes.agents import secretary

from copilot_runtime import CopilotRuntime
from copilot_runtime_django import django_store, django_user

runtime = CopilotRuntime(
    agents={"default": secretary},
    identify_user=django_user,
    # All worker processes need the same store.
    store=django_store("default"),
)
