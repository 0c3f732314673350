"""Middleware: code around the runs of an agent, whatever kind of agent it is."""

from typing import TYPE_CHECKING

from .._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from ._a2ui.options import A2UI, A2UIRecovery
    from ._backward_compatibility import BackwardCompatibility
    from ._events import RunEvents
    from ._filter_tool_calls import FilterToolCalls
    from ._input import change_input
    from ._mcp_apps import MCPApps
    from ._mcp_tools import MCPTools
    from ._types import Middleware, MiddlewareFunction, MiddlewareObject, Next
    from ._use import MiddlewareAgent, use
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "._a2ui.options": ("A2UI", "A2UIRecovery"),
            "._backward_compatibility": ("BackwardCompatibility",),
            "._events": ("RunEvents",),
            "._filter_tool_calls": ("FilterToolCalls",),
            "._input": ("change_input",),
            "._mcp_apps": ("MCPApps",),
            "._mcp_tools": ("MCPTools",),
            "._types": ("Middleware", "MiddlewareFunction", "MiddlewareObject", "Next"),
            "._use": ("MiddlewareAgent", "use"),
        },
    )

__all__ = [
    "A2UI",
    "A2UIRecovery",
    "BackwardCompatibility",
    "FilterToolCalls",
    "MCPApps",
    "MCPTools",
    "Middleware",
    "MiddlewareAgent",
    "MiddlewareFunction",
    "MiddlewareObject",
    "Next",
    "RunEvents",
    "change_input",
    "use",
]
