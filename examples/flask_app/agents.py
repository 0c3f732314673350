"""An agent that needs no model: it keeps the user's list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import todos
from ag_ui.core import RunAgentInput

from copilot_runtime import RunContext


def secretary(input: RunAgentInput, context: RunContext) -> Iterator[dict[str, Any]]:
    """Adds what the user says to the list and tells it. It may block: each run has a thread of its own.

    Views and agents use the same functions: `todos` finds its connection in the run's own
    application context, and closes it when the run ends.
    """
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = f"{input.run_id}-answer"
    user = context.user
    assert user is not None, "identify_user lets nobody in whom it does not know"
    yield {"type": "RUN_STARTED", **run}
    said = input.messages[-1].content if input.messages else None
    if isinstance(said, str):
        todos.add(user.id, said)
    for piece in ("On your list: ", ", ".join(todos.of(user.id)) or "nothing", "."):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": message, "delta": piece}
    yield {"type": "RUN_FINISHED", **run}
