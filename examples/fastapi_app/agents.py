"""An agent without a model: it tells users what they have ordered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import RunAgentInput
from shop import ORDERS

from copilot_runtime import RunContext


async def clerk(input: RunAgentInput, context: RunContext) -> AsyncIterator[dict[str, Any]]:
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = f"{input.run_id}-answer"
    user = context.user
    assert user is not None, "requests for which identify_user returns None are answered with 401"
    yield {"type": "RUN_STARTED", **run}
    for chunk in (f"{user.name}, ", "your orders are: ", ", ".join(ORDERS[user.id]), "."):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": message, "delta": chunk}
    yield {"type": "RUN_FINISHED", **run}
