"""A project's module with an invalid runtime: it allows credentials for every origin."""

from __future__ import annotations

from copilot_runtime import CopilotRuntime, CorsConfig, create_copilot_runtime_handler

runtime = create_copilot_runtime_handler(
    runtime=CopilotRuntime(agents=lambda context: {}, single_user=True), cors=CorsConfig(allow_credentials=True)
)
