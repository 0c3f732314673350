"""A CopilotKit runtime for Python: the core, which knows no web framework."""

from ._engine import EndedRun
from ._http.body import make_form_parts, read_body
from ._http.cors import CorsConfig
from ._http.forward_headers import ForwardHeaders
from ._http.headers import Headers
from ._http.streaming import EventStream
from ._http.target import split_raw_target
from ._http.types import (
    FormPart,
    Request,
    Response,
)
from ._server.handler import (
    CopilotHandler,
    build_handler,
    coerce_handler,
    create_copilot_runtime_handler,
    ensure_handler,
)
from ._server.hooks import HookContext, RespondWith, RuntimeHooks
from ._server.route_table import (
    RouteMatch,
)
from ._server.runtime import AgentsContext, CopilotRuntime
from ._users import User
from ._version import __version__
from .agents._context import RunContext

__all__ = [
    "AgentsContext",
    "CopilotHandler",
    "CopilotRuntime",
    "CorsConfig",
    "EndedRun",
    "EventStream",
    "FormPart",
    "ForwardHeaders",
    "Headers",
    "HookContext",
    "Request",
    "RespondWith",
    "Response",
    "RouteMatch",
    "RunContext",
    "RuntimeHooks",
    "User",
    "__version__",
    "build_handler",
    "coerce_handler",
    "create_copilot_runtime_handler",
    "ensure_handler",
    "make_form_parts",
    "read_body",
    "split_raw_target",
]
