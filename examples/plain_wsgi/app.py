"""A WSGI application without a framework; the last lines mount the runtime next to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ag_ui.core import RunAgentInput
from passwords import require_password
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from copilot_runtime import (
    CopilotRuntime,
    Request,
    RunContext,
    User,
)
from copilot_runtime_wsgi import create_copilot_wsgi_app


def website(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The existing application."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {environ['REMOTE_USER']}.".encode()]


def parrot(input: RunAgentInput, context: RunContext) -> Iterator[dict[str, Any]]:
    """An agent without a model: it repeats word by word what the user wrote."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    text = input.messages[-1].content if input.messages else None
    yield {"type": "RUN_STARTED", **run}
    for word in f"{context.user.id if context.user else 'Somebody'} said: {text}".split(" "):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-answer", "delta": f"{word} "}
    yield {"type": "RUN_FINISHED", **run}


def identify_user(request: Request) -> User | None:
    """Returns the user that the middleware has authenticated; ``native`` is the environ."""
    name = request.native.get("REMOTE_USER")
    return User(id=name) if name else None


runtime = CopilotRuntime(agents={"default": parrot}, identify_user=identify_user)
copilot = create_copilot_wsgi_app(runtime=runtime)
application = require_password(DispatcherMiddleware(website, {"/api/copilotkit": copilot}))
