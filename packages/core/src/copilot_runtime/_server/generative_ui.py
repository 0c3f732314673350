"""Which runs show user interfaces: what is put around their agents, or answers in the place of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..agents._forwarded_props import has_tool_choice
from ..middleware._a2ui.runs import a2ui_middleware
from ..middleware._generative_ui_names import PROXIED_MCP_REQUEST, SANDBOXED_PAGE_TOOL
from ..middleware._layers import Layer, parse_layers
from .errors import HTTPError, InvalidRunInput, error_response
from .runtime import CopilotRuntime

Wire: TypeAlias = Mapping[str, Any]
"""The input of a run in wire form: to look at it there has no models built that the agent may not need."""


def layers_of_run(runtime: CopilotRuntime, agent_id: str, wire: Wire) -> tuple[Layer, ...]:
    """Returns the layers that a run needs around its agent, outermost first."""
    found = (find(runtime, agent_id, wire) for find in _LAYERS)
    return tuple(layer for layer in found if layer is not None)


def proxied_request(runtime: CopilotRuntime, agent_id: str, wire: Wire) -> Any:
    """Returns the agent that answers what an app asks of its server, if that is what a run is for; else None.

    Raises InvalidRunInput, and HTTPError if the agent has no apps.
    """
    props = wire.get("forwardedProps")
    request = props.get(PROXIED_MCP_REQUEST) if isinstance(props, Mapping) else None
    if request is None:
        return None
    servers = () if runtime.mcp_apps is None else runtime.mcp_apps.servers_of(agent_id)
    if not servers:
        setting = " Pass mcp_apps=MCPApps(servers=[...]) to CopilotRuntime." if runtime.debug else ""
        message = (
            f"There are no MCP servers with apps for the agent '{agent_id}', so forwardedProps.{PROXIED_MCP_REQUEST} "
            f"cannot be answered.{setting}"
        )
        raise HTTPError(error_response(422, "mcp_apps_not_configured", message=message))
    from ..middleware._mcp_apps.proxied_requests import ProxiedRequest, ProxiedRequestAgent

    try:
        return ProxiedRequestAgent(servers, ProxiedRequest.parse(request))
    except ValueError as error:
        raise InvalidRunInput(str(error)) from None


def _a2ui(runtime: CopilotRuntime, agent_id: str, wire: Wire) -> Layer | None:
    middleware = a2ui_middleware(runtime.a2ui, agent_id, wire.get("forwardedProps"))
    return None if middleware is None else _layer(middleware)


def _mcp_apps(runtime: CopilotRuntime, agent_id: str, wire: Wire) -> Layer | None:
    servers = () if runtime.mcp_apps is None else runtime.mcp_apps.servers_of(agent_id)
    # A frontend that chooses the tool, as for suggestions, must not start those of a server.
    if not servers or has_tool_choice(wire.get("forwardedProps")):
        return None
    from ..middleware._mcp_apps.tool_calls import MCPAppsMiddleware

    return _layer(MCPAppsMiddleware(servers))


def _open_generative_ui(runtime: CopilotRuntime, agent_id: str, wire: Wire) -> Layer | None:
    is_shown = runtime.shows_sandboxed_pages(agent_id)
    if not is_shown and not any(tool["name"] == SANDBOXED_PAGE_TOOL for tool in wire.get("tools", ())):
        return None
    from ..middleware._open_generative_ui import refuse_pages, show_pages

    return _layer(show_pages if is_shown else refuse_pages)


def _layer(middleware: Any) -> Layer:
    [layer] = parse_layers("middleware", (middleware,))
    return layer


_LAYERS: Sequence[Callable[[CopilotRuntime, str, Wire], Layer | None]] = (
    _a2ui,
    _mcp_apps,
    _open_generative_ui,
)
"""What finds the layer of each kind of user interface, if a run needs it."""
