"""Which runs show user interfaces, and what is put around their agents for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..middleware._a2ui.runs import a2ui_middleware
from ..middleware._layers import Layer, parse_layers
from .runtime import CopilotRuntime

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput


def layers_of_run(runtime: CopilotRuntime, agent_id: str, input: RunAgentInput) -> tuple[Layer, ...]:
    """Returns the layers that a run needs around its agent, outermost first."""
    found = (find(runtime, agent_id, input) for find in _LAYERS)
    return tuple(layer for layer in found if layer is not None)


def _a2ui(runtime: CopilotRuntime, agent_id: str, input: RunAgentInput) -> Layer | None:
    middleware = a2ui_middleware(runtime.a2ui, agent_id, input)
    return None if middleware is None else _layer(middleware)


def _layer(middleware: Any) -> Layer:
    [layer] = parse_layers("middleware", (middleware,))
    return layer


_LAYERS: Sequence[Callable[[CopilotRuntime, str, RunAgentInput], Layer | None]] = (_a2ui,)
"""What finds the layer of each kind of user interface, if a run needs it."""
