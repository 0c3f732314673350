"""An agent without a model: it keeps the user's notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ag_ui.core import RunAgentInput

from copilot_runtime import RunContext

from .models import Note


def secretary(input: RunAgentInput, context: RunContext) -> Iterator[dict[str, Any]]:
    """Saves what the user writes and lists all notes. It is not ``async``, so it uses the ORM as a view does."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = f"{input.run_id}-answer"
    user = context.user
    assert user is not None, "django_user returns None for anonymous requests, which are answered with 401"
    yield {"type": "RUN_STARTED", **run}
    text = input.messages[-1].content if input.messages else None
    if isinstance(text, str):
        Note.objects.create(owner_id=user.id, text=text)
    notes = Note.objects.filter(owner_id=user.id).order_by("pk").values_list("text", flat=True)
    for chunk in (f"{user.name}, your notes are: ", ", ".join(notes) or "none", "."):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": message, "delta": chunk}
    yield {"type": "RUN_FINISHED", **run}
