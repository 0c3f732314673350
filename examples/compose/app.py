"""An application that keeps its threads where the environment variable STORE says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import RunAgentInput
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from copilot_runtime import CopilotRuntime
from copilot_runtime_asgi import CopilotMiddleware


async def count(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    """Counts to the number in the last message, ten numbers a second."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    text = str(input.messages[-1].content) if input.messages else ""
    yield {"type": "RUN_STARTED", **run}
    for number in range(1, int(text) + 1 if text.isdecimal() else 11):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-count", "delta": f"{number} "}
        await asyncio.sleep(0.1)
    yield {"type": "RUN_FINISHED", **run}


async def health(request: Request) -> PlainTextResponse:
    """Tells Compose that this process answers."""
    return PlainTextResponse("ok")


runtime = CopilotRuntime(agents={"default": count}, store=os.environ["STORE"])
app = CopilotMiddleware(Starlette(routes=[Route("/health", health)]), path="/api/copilotkit", runtime=runtime)
