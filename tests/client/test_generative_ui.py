"""The real CopilotKit client with MCP Apps and Open Generative UI."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.fixtures.generative_ui import MCP_APPS_URL
from tests.mcp_apps import run_clock_server
from tests.servers import serve_config

from .test_client import HERE, missing_requirement

pytestmark = pytest.mark.client

CONFIGS = "mcp-apps,open-generative-ui,generative-ui-off"


@pytest.mark.requirement("UI-01", "UI-02", "UI-03")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_client_with_mcp_apps_and_open_generative_ui(adapter: str) -> None:
    if missing := missing_requirement():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with run_clock_server() as url, serve_config(adapter, CONFIGS, env={MCP_APPS_URL: url}) as server:
        done = subprocess.run(
            ["node", str(HERE / "generative_ui.mjs"), f"http://127.0.0.1:{server.port}"],
            env={**os.environ, "COPILOTKIT_TELEMETRY_DISABLED": "true"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
