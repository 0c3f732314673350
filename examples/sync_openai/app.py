"""A synchronous agent that uses the blocking ``openai`` client, served with ASGI or WSGI."""

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
    """Answers the conversation. Each run has its own worker thread, so this may block."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    message = {"messageId": str(uuid.uuid4())}
    yield {"type": "RUN_STARTED", **run}
    # When a run is stopped, its generator is closed; leaving the block then closes the connection to the model.
    with client.chat.completions.create(model=MODEL, messages=chat_messages(input), stream=True) as completion:
        yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
        for chunk in completion:
            for choice in chunk.choices:
                if choice.delta.content:
                    yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": choice.delta.content}
        yield {"type": "TEXT_MESSAGE_END", **message}
    yield {"type": "RUN_FINISHED", **run}


def chat_messages(input: RunAgentInput) -> list[Any]:
    """Returns the conversation so far as chat messages, with only the text of each."""
    texts = [
        (message.role, _text(message.content)) for message in input.messages if message.role in ("user", "assistant")
    ]
    return [{"role": role, "content": text} for role, text in texts if text]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content if part.type == "text")
    return content or ""


runtime = CopilotRuntime(agents={"default": ask}, single_user=True)


def asgi() -> Any:
    """Returns the application for uvicorn or any other ASGI server."""
    from copilot_runtime_asgi import create_copilot_asgi_app

    return create_copilot_asgi_app(runtime=runtime, base_path="/api/copilotkit")


def wsgi() -> Any:
    """Returns the application for gunicorn or any other WSGI server."""
    from copilot_runtime_wsgi import create_copilot_wsgi_app

    return create_copilot_wsgi_app(runtime=runtime, base_path="/api/copilotkit")
