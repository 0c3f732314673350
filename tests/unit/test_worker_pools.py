"""Functions of the application that are slow for one user do not hold up those of others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, Request, User
from copilot_runtime.testing import AsyncTestClient

pytestmark = pytest.mark.requirement("COST-02")

MANY = 100
"""More than the threads of any kind of function."""


async def agent(input: Any) -> Any:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def identify(request: Request) -> User | None:
    user = request.headers.get("x-user")
    return User(id=user) if user else None


class SlowService:
    """A transcription service, and a factory of agents, that wait."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.began = threading.Event()

    def wait(self) -> None:
        self.began.set()
        assert self.released.wait(60)

    def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        self.wait()
        return "text"

    def agents(self, context: Any) -> dict[str, Any]:
        if context.user.id == "slow":
            self.wait()
        return {"a": agent}


async def transcribe(client: AsyncTestClient) -> None:
    body = {"audio": "AAAA", "mimeType": "audio/webm"}
    await client.request("POST", "/transcribe", json=body, headers={"x-user": "slow"})


async def info(client: AsyncTestClient) -> None:
    await client.info(headers={"x-user": "slow"})


@pytest.mark.parametrize("occupy", [transcribe, info])
def test_identify_user_does_not_wait_for_slow_functions_of_others(
    occupy: Callable[[AsyncTestClient], Any],
) -> None:
    service = SlowService()
    runtime = CopilotRuntime(agents=service.agents, identify_user=identify, transcription_service=service)

    async def check() -> None:
        async with AsyncTestClient(runtime) as client:
            slow = [asyncio.ensure_future(occupy(client)) for _ in range(MANY)]
            await asyncio.to_thread(service.began.wait, 60)
            try:
                refused = await asyncio.wait_for(client.request("GET", "/info", check=False), 60)
                assert refused.status == 401
                if occupy is transcribe:
                    assert "a" in (await asyncio.wait_for(client.info(headers={"x-user": "other"}), 60))["agents"]
            finally:
                service.released.set()
                await asyncio.gather(*slow)

    asyncio.run(check())
