"""A CopilotKit runtime for Python: the core, which is independent of web frameworks.

This package has what applications use; `copilot_runtime.adapters` has what adapters of web frameworks need.
"""

from typing import TYPE_CHECKING

from ._engine import EndedRun, RunEndHook
from ._http.cors import AllowedOrigins, CorsConfig
from ._http.form import FormPart
from ._http.forward_headers import ForwardHeaders
from ._http.headers import Headers
from ._http.streaming import EventStream
from ._http.types import Request, Response
from ._lazy_exports import lazy_exports as _lazy_exports
from ._log_text import escape_log_records as _escape_log_records
from ._server.access import ThreadAccess
from ._server.agents_context import AgentsContext
from ._server.handler import CopilotHandler
from ._server.handlers import create_copilot_runtime_handler
from ._server.hooks import ErrorHook, HookContext, RequestHook, RespondWith, ResponseHook, RuntimeHooks
from ._server.input_limits import InputLimits
from ._server.route_table import RouteMatch
from ._server.runtime import CopilotRuntime, IdentifyUser
from ._server.store_override import notify_pytest_plugin as _notify_pytest_plugin
from ._telemetry.options import OpenTelemetry
from ._users import User
from ._version import __version__
from .agents._context import RunContext

if TYPE_CHECKING:
    from ._server.agents_types import Agents, AgentsFactory
    from .middleware import A2UI, A2UIRecovery, MCPApps
else:
    __getattr__, __dir__ = _lazy_exports(
        __name__,
        {
            "._server.agents_types": ("Agents", "AgentsFactory"),
            ".middleware": ("A2UI", "A2UIRecovery", "MCPApps"),
        },
    )

__all__ = [
    "A2UI",
    "A2UIRecovery",
    "Agents",
    "AgentsContext",
    "AgentsFactory",
    "AllowedOrigins",
    "CopilotHandler",
    "CopilotRuntime",
    "CorsConfig",
    "EndedRun",
    "ErrorHook",
    "EventStream",
    "FormPart",
    "ForwardHeaders",
    "Headers",
    "HookContext",
    "IdentifyUser",
    "InputLimits",
    "MCPApps",
    "OpenTelemetry",
    "Request",
    "RequestHook",
    "RespondWith",
    "Response",
    "ResponseHook",
    "RouteMatch",
    "RunContext",
    "RunEndHook",
    "RuntimeHooks",
    "ThreadAccess",
    "User",
    "__version__",
    "create_copilot_runtime_handler",
]

_escape_log_records()
_notify_pytest_plugin()
