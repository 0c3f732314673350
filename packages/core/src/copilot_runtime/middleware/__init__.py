"""Middleware: code around the runs of an agent, whatever kind of agent it is."""

from typing import TYPE_CHECKING

from .._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from ._events import RunEvents
    from ._input import change_input
    from ._types import Middleware, MiddlewareFunction, MiddlewareObject, Next
    from ._use import MiddlewareAgent, use
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "._events": ("RunEvents",),
            "._input": ("change_input",),
            "._types": ("Middleware", "MiddlewareFunction", "MiddlewareObject", "Next"),
            "._use": ("MiddlewareAgent", "use"),
        },
    )

__all__ = [
    "Middleware",
    "MiddlewareAgent",
    "MiddlewareFunction",
    "MiddlewareObject",
    "Next",
    "RunEvents",
    "change_input",
    "use",
]
