"""The real CopilotKit client with a message filter, with an agent that remembers threads, and with names of threads."""

from __future__ import annotations

import pytest

from tests.servers import serve_config

from .scripts import run_script, skip_without_client

pytestmark = pytest.mark.client


@pytest.mark.requirement("HISTORY-01", "HISTORY-02", "THREADS-11")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_client_that_sends_little_and_reloads(adapter: str) -> None:
    skip_without_client()
    with serve_config(adapter, "history") as server:
        run_script("history.mjs", server.base_url, server)
