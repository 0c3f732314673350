"""Calls that are right: pyright and mypy, strict, find no error here. Checked by test_types.py, never imported."""

# pyright: strict

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any

from ag_ui.core import BaseEvent, RunAgentInput
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from copilot_runtime import (
    AgentsContext,
    CopilotHandler,
    CopilotRuntime,
    CorsConfig,
    EndedRun,
    HookContext,
    Request,
    Response,
    RunContext,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime.adapters import HandlerOptions, build_handler
from copilot_runtime.agents import Agent, AgentFunction, BuiltInAgent, HttpAgent, MCPServer
from copilot_runtime.middleware import (
    BackwardCompatibility,
    FilterToolCalls,
    MCPTools,
    Middleware,
    Next,
    RunEvents,
    change_input,
    use,
)
from copilot_runtime_asgi import CopilotMiddleware, copilot_endpoint, create_copilot_asgi_app, to_asgi
from copilot_runtime_django import create_copilot_urls
from copilot_runtime_flask import create_copilot_blueprint
from copilot_runtime_wsgi import create_copilot_wsgi_app

# --- agents ---


async def async_generator(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}


async def with_context(input: RunAgentInput, context: RunContext) -> AsyncIterator[BaseEvent]:
    for event in list[BaseEvent]():
        yield event


def generator(input: RunAgentInput, context: RunContext | None = None) -> Iterator[Mapping[str, Any]]:
    yield {}


async def coroutine(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    return async_generator(input)


def with_any(input: Any, context: Any) -> Any:
    return []


class OwnAgent:
    description = "Says nothing."

    async def run(self, input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
        yield {}


class Callable:
    def __call__(self, input: RunAgentInput, context: RunContext) -> list[dict[str, Any]]:
        return []


agent: Agent = OwnAgent()
function: AgentFunction = generator

runtime = CopilotRuntime(
    agents={
        "async": async_generator,
        "context": with_context,
        "sync": generator,
        "coroutine": coroutine,
        "any": with_any,
        "object": OwnAgent(),
        "callable": Callable(),
        "lambda": lambda input: [],
        "built-in": BuiltInAgent("openai/gpt-4o-mini"),
        "remote": HttpAgent("https://agents.example/run"),
    }
)
homogeneous = {"default": OwnAgent()}
CopilotRuntime(agents=homogeneous)
CopilotRuntime(agents=lambda context: {"default": agent})


def agents_of(context: AgentsContext) -> dict[str, OwnAgent]:
    return {"default": OwnAgent()} if context.user is None else {}


async def agents_later(context: AgentsContext) -> Mapping[str, Agent | AgentFunction]:
    return {"default": function}


CopilotRuntime(agents=agents_of)
CopilotRuntime(agents=agents_later)

# --- middleware ---


async def guardrail(input: RunAgentInput, next: Next) -> AsyncIterator[Mapping[str, Any]]:
    events = next(input.model_copy(update={"messages": input.messages[-1:]}))
    async for event in events:
        if event["type"] == "RUN_FINISHED" and events.messages[-1]["content"]:
            yield event


def budget(input: RunAgentInput, next: Next, context: RunContext) -> Iterator[BaseEvent | Mapping[str, Any]]:
    yield from next(change_input(input, state={}), context)


def passing(input: RunAgentInput, next: Next) -> RunEvents:
    return next(input)


async def coroutine_middleware(input: RunAgentInput, next: Next) -> RunEvents:
    return next(input)


class OwnMiddleware:
    async def run(self, input: RunAgentInput, next: Next, context: RunContext) -> AsyncIterator[dict[str, Any]]:
        async for event in next(input):
            yield event


middleware: list[Middleware] = [guardrail, budget, passing, coroutine_middleware, OwnMiddleware()]
ready: list[Middleware] = [
    FilterToolCalls(deny=["search"]),
    MCPTools([MCPServer("https://a.example")]),
    BackwardCompatibility(),
]
wrapped: Agent = use(agent, guardrail, budget, passing, OwnMiddleware(), *ready)
CopilotRuntime(agents={"default": use(generator, guardrail)}, middleware=middleware)
CopilotRuntime(agents=homogeneous, middleware=[guardrail, lambda input, next: next(input), FilterToolCalls(allow=[])])

# --- users and the ends of runs ---


def identify(request: Request) -> User | None:
    return User(id="ada") if "cookie" in request.headers else None


async def identify_later(request: Request) -> User:
    return User(id="ada")


def notify(ended: EndedRun) -> None: ...


async def notify_later(ended: EndedRun) -> int:
    return len(ended.events())


CopilotRuntime(agents=homogeneous, identify_user=identify, on_run_end=notify)
CopilotRuntime(agents=homogeneous, identify_user=identify_later, on_run_end=notify_later)
CopilotRuntime(agents=homogeneous, identify_user=lambda request: User(id="ada"), on_run_end=print)

# --- hooks ---


def on_request(context: HookContext) -> Request | None:
    return context.request.replace(path="/info")


async def on_before_handler(context: HookContext) -> Response | None:
    return None


def nothing(context: HookContext) -> None: ...


def deferred(context: HookContext) -> Awaitable[Response | None]:
    return on_before_handler(context)


RuntimeHooks(on_request=on_request, on_before_handler=on_before_handler, on_response=deferred, on_error=nothing)
RuntimeHooks(on_request=nothing, on_before_handler=nothing, on_response=nothing, on_error=lambda context: None)

# --- handlers and adapters ---


async def allow(origin: str) -> bool:
    return origin.endswith(".example")


CorsConfig(allow_origins=lambda origin: origin)
handler: CopilotHandler = create_copilot_runtime_handler(runtime=runtime, cors=CorsConfig(allow_origins=allow))
options: HandlerOptions = {"base_path": "/api", "mode": "auto", "cors": True, "hooks": RuntimeHooks()}
options["playground"] = True
build_handler(runtime=runtime, handler=None, options=options)

create_copilot_asgi_app(runtime=runtime)
create_copilot_asgi_app(runtime=runtime, base_path="/api", mode="multi-route", cors=False, hooks=RuntimeHooks())
create_copilot_asgi_app(runtime=runtime, **options)
create_copilot_asgi_app(handler=handler)
create_copilot_wsgi_app(runtime=runtime, cors=True)
create_copilot_wsgi_app(handler=handler)
create_copilot_blueprint(runtime=runtime, name="chat", base_path="/api", cors=True, playground=True)
create_copilot_blueprint(handler=handler, name="chat")
create_copilot_urls(runtime=runtime, csrf_protect=True, mode="auto")
create_copilot_urls(handler=handler, csrf_protect=True)


async def other(scope: Scope, receive: Receive, send: Send) -> None: ...


CopilotMiddleware(other, path="/api", runtime=runtime, mode="auto")
CopilotMiddleware(other, path="/api", handler=handler)
app = Starlette(middleware=[StarletteMiddleware(CopilotMiddleware, path="/api", runtime=runtime)])
app.add_middleware(CopilotMiddleware, path="/api", runtime=runtime, cors=True)
app.add_middleware(CopilotMiddleware, path="/api", handler=handler)
app.mount("/api", create_copilot_asgi_app(runtime=runtime))
app.router.routes.append(Route("/api{path:path}", to_asgi(handler)))
app.add_route("/api{path:path}", copilot_endpoint(handler), methods=["GET", "POST"])
api = FastAPI(middleware=[StarletteMiddleware(CopilotMiddleware, path="/api", handler=handler)])
api.add_middleware(CopilotMiddleware, path="/api", runtime=runtime, mode="auto", hooks=RuntimeHooks())
api.add_middleware(CopilotMiddleware, path="/api", handler=handler)
api.add_api_route("/api{path:path}", copilot_endpoint(handler), methods=["GET", "POST"])
