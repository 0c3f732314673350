"""Imports and runs our runtime, and CopilotKit's `copilotkit-intelligence-runtime` beside it.

Run by nox in an environment that has both from wheels, and no test framework:

    python tests/packaging/beside_intelligence_runtime.py [ours]

With `ours`, the other package is not expected to be there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from copilot_runtime import CopilotRuntime
from copilot_runtime.testing import TestClient


class Greeter:
    description = "Greets."

    async def run(self, input: Any) -> AsyncIterator[dict[str, Any]]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "answer", "delta": "Hello from ours."}
        yield {"type": "RUN_FINISHED", **ids}


def run_ours() -> None:
    with TestClient(CopilotRuntime(agents={"default": Greeter()})) as client:
        assert client.run("default", "hi").text == "Hello from ours."


async def run_theirs() -> None:
    import httpx
    from copilotkit_runtime import IntelligenceRuntime, RuntimeConfig, User

    async def identify_user(request: Any) -> User:
        return User("ada")

    # Its service is out of reach: what it answers by itself is enough to see that it works.
    service = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(503)))
    config = RuntimeConfig(api_key="unused", api_url="http://127.0.0.1", telemetry_enabled=False)
    agents = {"default": Greeter()}
    runtime = IntelligenceRuntime(config, agents=agents, identify_user=identify_user, http_client=service)
    transport = httpx.ASGITransport(app=runtime)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        info = await client.get("/copilotkit/info")
        missing = await client.post("/copilotkit/agent/nobody/run", json={})
    assert info.status_code == 200, info.text
    assert "default" in info.json()["agents"], info.text
    assert missing.status_code == 404, missing.text


run_ours()
if sys.argv[1:] != ["ours"]:
    asyncio.run(run_theirs())
