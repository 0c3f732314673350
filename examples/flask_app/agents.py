"""An agent without a model: it keeps the user's to-do list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import todos
from ag_ui.core import RunAgentInput

from copilot_runtime import RunContext


def secretary(input: RunAgentInput, context: RunContext) -> Iterator[dict[str, Any]]:
    """Adds what the user writes to the list, and lists it. It may block: each run has its own worker thread.

    Views and agents use the same functions. `todos` keeps its connection in the run's own application context, and
    closes it when the run ends.
    """
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = f"{input.run_id}-answer"
    user = context.user
    assert user is not None, "requests for which identify_user returns None are answered with 401"
    yield {"type": "RUN_STARTED", **run}
    text = input.messages[-1].content if input.messages else None
    if isinstance(text, str):
        todos.add(user.id, text)
    for chunk in ("On your list: ", ", ".join(todos.list_for(user.id)) or "nothing", "."):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": message, "delta": chunk}
    yield {"type": "RUN_FINISHED", **run}
