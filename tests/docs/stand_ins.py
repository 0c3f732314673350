"""What pages leave to their readers: names, modules, and packages that no test installs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import ModuleType, SimpleNamespace
from typing import Any

NOT_INSTALLED = (
    "ag_ui_adk",
    "ag_ui_claude_sdk",
    "ag_ui_crewai",
    "ag_ui_strands",
    "agent_framework",
    "agent_framework_ag_ui",
    "agno",
    "crewai",
    "google.adk",
    "litestar",
    "llama_index",
    "strands",
)
"""Packages of others whose agents docs/agents.md integrates without tests, as it says there."""

NOT_CALLED = (
    "gevent.monkey.patch_all",
    "logging.basicConfig",
    "opentelemetry.metrics.set_meter_provider",
    "opentelemetry.trace.set_tracer_provider",
    "signal.signal",
    "uvicorn.Server.run",
    "waitress.serve",
)
"""Functions that would not return, or would change the process of the tests."""

ENVIRONMENT = {
    "SECRET_KEY": "a secret of at least 32 characters",
    "AZURE_OPENAI_API_KEY": "a key",
    "AZURE_OPENAI_ENDPOINT": "https://models.example",
    "OPENAI_API_KEY": "a key",
    "OPENROUTER_API_KEY": "a key",
}

RUN = {
    "threadId": "thread",
    "runId": "run",
    "messages": [{"id": "m", "role": "user", "content": "hi"}],
    "state": {},
    "tools": [],
    "context": [],
    "forwardedProps": {},
}
"""What a client sends to begin a run."""

OPTIONAL = ("langchain", "langgraph", "pydantic_ai")
"""Packages that only the tests of other frameworks have: blocks that import them are left to those."""


async def hello(input: Any) -> AsyncIterator[dict[str, Any]]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-answer", "delta": "Hello from Python."}
    yield {"type": "RUN_FINISHED", **ids}


async def agent(input: Any, context: Any = None) -> AsyncIterator[dict[str, Any]]:
    async for event in hello(input):
        yield event


async def budget(input: Any, next: Any) -> AsyncIterator[Any]:
    async for event in next(input):
        yield event


def find_account(credentials: str | None) -> Any:
    return SimpleNamespace(id="ada", name="Ada") if credentials else None


def _names_of_stand_ins() -> dict[str, Any]:
    from copilot_runtime import CopilotRuntime

    runtime = CopilotRuntime(agents={"default": hello}, single_user=True)
    return {
        "CopilotRuntime": CopilotRuntime,
        "agent": agent,
        "find_account": find_account,
        "hello": hello,
        "runtime": runtime,
    }


def modules() -> dict[str, ModuleType]:
    """Returns new stand-ins for the reader's own modules, where a page does not have their code."""
    from copilot_runtime import CopilotRuntime

    runtime = CopilotRuntime(agents={"default": hello}, single_user=True)

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"the application"]

    contents: dict[str, dict[str, Any]] = {
        "agents": {"hello": hello},
        "main": {"app": application, "application": application, "runtime": runtime},
        "shop": {},
        "shop.models": {"Order": SimpleNamespace(objects=None)},
        "website": {"app": application},
    }
    made = {}
    for name, names in contents.items():
        made[name] = ModuleType(name)
        vars(made[name]).update(names)
    return made


NAMES: dict[str, Callable[[], dict[str, Any]]] = {}
"""By page, beyond what many of them take for granted: a runtime, an agent, and the reader's accounts."""


def names_for(page: str) -> dict[str, Any]:
    """Returns new stand-ins for the names that a page does not define."""
    return _names_of_stand_ins() | NAMES.get(page, dict)()


def _of_middleware() -> dict[str, Any]:
    return {"other": agent, "budget": budget}


def _of_threads() -> dict[str, Any]:
    async def messages(thread_id: str, user: str) -> list[Any]:
        return [SimpleNamespace(id="1", role="user", text="hi")]

    from copilot_runtime.agents import BuiltInAgent

    return {"database": SimpleNamespace(messages=messages), "BuiltInAgent": BuiltInAgent}


def _of_django() -> dict[str, Any]:
    from copilot_runtime import CopilotRuntime

    return {name: CopilotRuntime(agents={"default": hello}) for name in ("support", "sales")}


def _action() -> Any:
    """A message with the call by which a frontend says what the user has done on a surface."""
    function = SimpleNamespace(name="log_a2ui_event", arguments='{"name": "book"}')
    return SimpleNamespace(tool_calls=[SimpleNamespace(function=function)])


NAMES |= {
    "docs/builtin-agent.md": lambda: {
        "load_orders": lambda user_id, status: [],
        "send_refund": lambda order_id, amount: None,
    },
    "docs/django.md": _of_django,
    "docs/flask.md": lambda: {"allowed": lambda request: True},
    "docs/generative-ui.md": lambda: {
        "CATALOG_ID": "https://example.com/flights",
        "input": SimpleNamespace(messages=[_action(), None]),
    },
    "docs/hooks.md": lambda: {"is_office_hours": lambda: False},
    "docs/tools.md": lambda: {"load_orders": lambda user_id, status: []},
    "docs/quickstart-django.md": lambda: {"INSTALLED_APPS": []},
    "docs/testing.md": lambda: {"run_input": {}},
    "docs/middleware.md": _of_middleware,
    "docs/threads.md": _of_threads,
}
