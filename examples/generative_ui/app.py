"""A runtime whose agents draw interfaces."""

from __future__ import annotations

import os

from agents import drawing_agent

from copilot_runtime import CopilotRuntime, MCPApps
from copilot_runtime.agents import MCPServer
from copilot_runtime_asgi import create_copilot_asgi_app

clock = MCPServer(os.environ.get("CLOCK_URL", "http://127.0.0.1:8001/mcp"), server_id="clock")

# No option is needed for A2UI: the frontend says that it has a catalog of components.
runtime = CopilotRuntime(
    agents={"default": drawing_agent},
    mcp_apps=MCPApps(servers=[clock]),
    open_generative_ui=True,
    single_user=True,
)
app = create_copilot_asgi_app(runtime=runtime, base_path="/api/copilotkit")
