"""Calls that are wrong: pyright and mypy find an error on each line that says so, and on no other line.

Checked by test_types.py, never imported.
"""

# pyright: strict

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from copilot_runtime import (
    CopilotRuntime,
    HookContext,
    Request,
    Response,
    RuntimeHooks,
    create_copilot_runtime_handler,
)
from copilot_runtime.middleware import FilterToolCalls
from copilot_runtime_asgi import CopilotMiddleware, create_copilot_asgi_app
from copilot_runtime_django import create_copilot_urls
from copilot_runtime_flask import create_copilot_blueprint
from copilot_runtime_wsgi import create_copilot_wsgi_app

runtime = CopilotRuntime(agents={})
handler = create_copilot_runtime_handler(runtime=runtime)


def identify(request: Request) -> int:
    return 42


def three(context: HookContext, response: Response, error: Exception) -> None: ...


def text(context: HookContext) -> str:
    return "no"


CopilotRuntime(agents={"default": 42})  # error
CopilotRuntime(agents=lambda context: [context])  # error
CopilotRuntime(agents={}, identify_user=identify)  # error
CopilotRuntime(agents={}, identify_user=lambda request: 42)  # error
CopilotRuntime(agents={}, on_run_end=three)  # error
CopilotRuntime(agents={}, thread_access="all")  # error
CopilotRuntime(agents={}, middleware=[identify])  # error
CopilotRuntime(agents={}, middleware=FilterToolCalls(deny=[]))  # error
FilterToolCalls(["search"])  # error

RuntimeHooks(on_request=three)  # error
RuntimeHooks(on_before_handler=three)  # error
RuntimeHooks(on_response=three)  # error
RuntimeHooks(on_error=three)  # error
RuntimeHooks(on_request=text)  # error

create_copilot_runtime_handler(runtime=runtime, base_pth="/api")  # error
create_copilot_runtime_handler(runtime=runtime, mode="multi")  # error
create_copilot_runtime_handler(runtime=runtime, cors="yes")  # error
create_copilot_runtime_handler()  # error

create_copilot_asgi_app(runtime=runtime, base_pth="/api")  # error
create_copilot_asgi_app(runtime=runtime, mode="multi")  # error
create_copilot_asgi_app(runtime=runtime, cors="yes")  # error
create_copilot_asgi_app(runtime=runtime, handler=handler)  # error
create_copilot_asgi_app(handler=handler, mode="auto")  # error
create_copilot_asgi_app()  # error

create_copilot_wsgi_app(runtime=runtime, base_pth="/api")  # error
create_copilot_wsgi_app(runtime=runtime, mode="multi")  # error
create_copilot_wsgi_app(runtime=runtime, cors="yes")  # error
create_copilot_wsgi_app(runtime=runtime, handler=handler)  # error
create_copilot_wsgi_app(handler=handler, mode="auto")  # error
create_copilot_wsgi_app()  # error

create_copilot_blueprint(runtime=runtime, base_pth="/api")  # error
create_copilot_blueprint(runtime=runtime, mode="multi")  # error
create_copilot_blueprint(runtime=runtime, cors="yes")  # error
create_copilot_blueprint(runtime=runtime, handler=handler)  # error
create_copilot_blueprint(handler=handler, mode="auto")  # error
create_copilot_blueprint()  # error

create_copilot_urls(runtime=runtime, base_pth="/api")  # error
create_copilot_urls(runtime=runtime, mode="multi")  # error
create_copilot_urls(runtime=runtime, cors="yes")  # error
create_copilot_urls(runtime=runtime, handler=handler)  # error
create_copilot_urls(handler=handler, mode="auto")  # error
create_copilot_urls()  # error


async def other(scope: Scope, receive: Receive, send: Send) -> None: ...


CopilotMiddleware(other, path="/api", runtime=runtime, mode="multi")  # error
CopilotMiddleware(other, path="/api", runtime=runtime, base_path="/api")  # error
CopilotMiddleware(other, runtime=runtime)  # error
app = Starlette()
app.add_middleware(CopilotMiddleware, path="/api", runtime=runtime, mode="multi")  # error
app.add_middleware(CopilotMiddleware, path="/api", runtime=runtime, base_path="/api")  # error
app.add_middleware(CopilotMiddleware, runtime=runtime)  # error
