"""The real CopilotKit client with MCP Apps and Open Generative UI."""

from __future__ import annotations

import pytest

from tests.fixtures.generative_ui import MCP_APPS_URL
from tests.servers import serve_config

from .scripts import run_script, skip_without_client

pytestmark = pytest.mark.client

CONFIGS = "mcp-apps,open-generative-ui,generative-ui-off"


@pytest.mark.requirement("UI-01", "UI-02", "UI-03")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_client_with_mcp_apps_and_open_generative_ui(adapter: str, clock_url: str) -> None:
    skip_without_client()
    with serve_config(adapter, CONFIGS, env={MCP_APPS_URL: clock_url}) as server:
        run_script("generative_ui.mjs", f"http://127.0.0.1:{server.port}", server)
