"""The runtimes of the site."""

from __future__ import annotations

from typing import Any

from copilot_runtime import CopilotRuntime, RuntimeHooks, create_copilot_runtime_handler
from copilot_runtime_django import django_user

from ...fixtures.transcription import FixtureTranscription
from .agents import AGENTS
from .hooks import HOOKS, RUN_END_HOOKS, agents_of_users, refuse

MAX_BODY_BYTES = 400_000


def runtime(**options: Any) -> CopilotRuntime:
    """Returns a runtime with short timeouts and these options."""
    base: dict[str, Any] = {
        "agents": AGENTS,
        "max_body_bytes": MAX_BODY_BYTES,
        "sse_keep_alive_seconds": 0.2,
        "stop_grace_seconds": 0.3,
    }
    return CopilotRuntime(**{**base, **options})


named = create_copilot_runtime_handler(runtime=runtime(single_user=True))
"""The handler that ``settings.COPILOT_RUNTIME`` refers to."""

public = runtime(single_user=True, transcription_service=FixtureTranscription())
members = runtime(identify_user=django_user)
narrow = runtime(single_user=True, max_streams=1)
guarded = runtime(identify_user=django_user)
refusing = create_copilot_runtime_handler(runtime=public, hooks=RuntimeHooks(on_request=refuse))
hooked = {
    name: create_copilot_runtime_handler(
        runtime=runtime(agents=agents_of_users, single_user=True, on_run_end=RUN_END_HOOKS[name]), hooks=hooks
    )
    for name, hooks in HOOKS.items()
}
