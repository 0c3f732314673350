"""A plain generator on the blocking ``openai`` client, served by ASGI or WSGI."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import openai
from ag_ui.core import RunAgentInput

from copilot_runtime import CopilotRuntime

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
client = openai.OpenAI()


def ask(input: RunAgentInput) -> Iterator[dict[str, Any]]:
    """Answers the conversation. The runtime gives every run a thread, so this may block."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = {"messageId": str(uuid.uuid4())}
    yield {"type": "RUN_STARTED", **run}
    # A stopped run is a closed generator: leaving the block closes the connection to the model.
    with client.chat.completions.create(model=MODEL, messages=conversation(input), stream=True) as answer:
        yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
        for chunk in answer:
            for choice in chunk.choices:
                if choice.delta.content:
                    yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": choice.delta.content}
        yield {"type": "TEXT_MESSAGE_END", **message}
    yield {"type": "RUN_FINISHED", **run}


def conversation(input: RunAgentInput) -> list[Any]:
    """What was said so far, without the parts that are no text."""
    said = [(one.role, text_of(one.content)) for one in input.messages if one.role in ("user", "assistant")]
    return [{"role": role, "content": text} for role, text in said if text]


def text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content if part.type == "text")
    return content or ""


runtime = CopilotRuntime(agents={"default": ask}, single_user=True)


def asgi() -> Any:
    """For uvicorn, and any other ASGI server."""
    from copilot_runtime_asgi import create_copilot_asgi_app

    return create_copilot_asgi_app(runtime=runtime, base_path="/api/copilotkit")


def wsgi() -> Any:
    """For gunicorn, and any other WSGI server."""
    from copilot_runtime_wsgi import create_copilot_wsgi_app

    return create_copilot_wsgi_app(runtime=runtime, base_path="/api/copilotkit")
