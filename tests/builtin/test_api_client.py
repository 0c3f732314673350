"""The real CopilotKit client with the reasoning of models, whichever API they are called by."""

from __future__ import annotations

import json

import pytest

from tests.client.scripts import run_script, skip_without_client
from tests.http_client import unique
from tests.servers import RunningServer

from .aimock import Aimock
from .frames import APIS

pytestmark = [pytest.mark.client, pytest.mark.requirement("AGENT-10")]


@pytest.mark.parametrize("runtime", ["asgi"], indirect=True)
def test_client_shows_reasoning_while_it_streams_and_after_a_reload(runtime: RunningServer, mock: Aimock) -> None:
    skip_without_client()
    prompt = f"{unique('question')}."
    mock.add_fixture(prompt, {"content": "Blue.", "reasoning": "Skies are blue, mostly."}, chunkSize=5, latency=20)
    output = run_script("reasoning.mjs", runtime.base_url, runtime, prompt, *(f"{api}-tools" for api in APIS))
    kept = json.loads(output)
    # aimock has a signature for Anthropic, encrypted content for OpenAI, and neither for the others.
    assert "signature" in kept["messages-tools"]
    assert "encrypted_content" in kept["responses-tools"]
