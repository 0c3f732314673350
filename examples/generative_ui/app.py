"""A runtime whose agents draw interfaces."""

from __future__ import annotations

from agents import travel_agent

from copilot_runtime import CopilotRuntime
from copilot_runtime_asgi import create_copilot_asgi_app

# No option is needed for A2UI: the frontend says that it has a catalog of components.
runtime = CopilotRuntime(agents={"default": travel_agent}, single_user=True)
app = create_copilot_asgi_app(runtime=runtime, base_path="/api/copilotkit")
