"""The real CopilotKit client with a message filter, with an agent that remembers threads, and with names of threads."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.servers import serve_config

from .test_client import HERE, missing_requirement

pytestmark = pytest.mark.client


@pytest.mark.requirement("HISTORY-01", "HISTORY-02", "THREADS-11")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_client_that_sends_little_and_reloads(adapter: str) -> None:
    if missing := missing_requirement():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with serve_config(adapter, "history") as server:
        done = subprocess.run(
            ["node", str(HERE / "history.mjs"), server.base_url],
            env={**os.environ, "COPILOTKIT_TELEMETRY_DISABLED": "true"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
