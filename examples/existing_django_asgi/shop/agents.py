"""An agent without a model: it tells users what they have done in the admin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import RunAgentInput
from django.contrib.admin.models import LogEntry

from copilot_runtime import RunContext


async def auditor(input: RunAgentInput, context: RunContext) -> AsyncIterator[dict[str, Any]]:
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = f"{input.run_id}-answer"
    user = context.user
    assert user is not None, "django_user returns None for anonymous requests, which are answered with 401"
    yield {"type": "RUN_STARTED", **run}
    entries = LogEntry.objects.filter(user_id=user.id).order_by("pk")
    actions = [str(entry) async for entry in entries]
    for chunk in (f"{user.name}, you have done: ", " ".join(actions) or "nothing yet."):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": message, "delta": chunk}
    yield {"type": "RUN_FINISHED", **run}
