"""A CopilotKit runtime for Python: the core, which knows no web framework."""

from .agents.context import RunContext
from .cors import CorsConfig
from .engine import EndedRun
from .forwarding import ForwardHeaders
from .handler import CopilotHandler, checked_handler, create_copilot_runtime_handler, handler_for, handler_of
from .hooks import HookContext, RespondWith, RuntimeHooks
from .http import EventStream, FormPart, Headers, Request, Response, form_parts, raw_target, read_limited
from .identity import User
from .routing import Route
from .runtime import CopilotRuntime, FactoryContext
from .version import __version__

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
