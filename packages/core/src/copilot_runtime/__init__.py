"""A CopilotKit runtime for Python: the core, which knows no web framework."""

from ._engine import EndedRun
from ._http.cors import CorsConfig
from ._http.forward_headers import ForwardHeaders
from ._http.types import (
    EventStream,
    FormPart,
    Headers,
    Request,
    Response,
    form_parts,
    raw_target,
    read_limited,
)
from ._server.handler import (
    CopilotHandler,
    checked_handler,
    create_copilot_runtime_handler,
    handler_for,
    handler_of,
)
from ._server.hooks import HookContext, RespondWith, RuntimeHooks
from ._server.route_table import Route
from ._server.runtime import CopilotRuntime, FactoryContext
from ._users import User
from ._version import __version__
from .agents._context import RunContext

__all__ = [
    "CopilotHandler",
    "CopilotRuntime",
    "CorsConfig",
    "EndedRun",
    "EventStream",
    "FactoryContext",
    "FormPart",
    "ForwardHeaders",
    "Headers",
    "HookContext",
    "Request",
    "RespondWith",
    "Response",
    "Route",
    "RunContext",
    "RuntimeHooks",
    "User",
    "__version__",
    "checked_handler",
    "create_copilot_runtime_handler",
    "form_parts",
    "handler_for",
    "handler_of",
    "raw_target",
    "read_limited",
]
