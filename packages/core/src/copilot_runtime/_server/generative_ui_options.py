"""Validates the options of `CopilotRuntime` for generative user interfaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from .. import _validation as validation

if TYPE_CHECKING:
    from ..middleware import A2UI, MCPApps


def validate_a2ui(a2ui: A2UI | None, agents: object) -> A2UI | None:
    """Returns the option. Raises TypeError, and ValueError for an unknown agent."""
    if a2ui is None:
        return None
    if not callable(getattr(a2ui, "applies_to", None)):  # not isinstance, which would import the class
        raise TypeError(f"a2ui={a2ui!r}: must be an A2UI, such as A2UI() or A2UI(agents=['default'])")
    check_agent_ids("A2UI: agents", a2ui.agents, agents)
    return a2ui


def validate_mcp_apps(apps: MCPApps | None, agents: object) -> MCPApps | None:
    """Returns the option; None if it names no server. Raises TypeError, and ValueError for an unknown agent."""
    if apps is None:
        return None
    if not callable(getattr(apps, "servers_of", None)):  # not isinstance, which would import the class
        raise TypeError(f"mcp_apps={apps!r}: must be an MCPApps, such as MCPApps(servers=[MCPServer(url)])")
    check_agent_ids("MCPApps: agents", apps.agents, agents)
    for server in apps.servers:
        check_agent_ids("MCPServer: agents", server.agents, agents)
    return apps if apps.servers else None


def validate_open_generative_ui(option: Any, agents: object) -> bool | frozenset[str]:
    """Returns the option. Raises TypeError, and ValueError for an unknown agent."""
    if isinstance(option, bool):
        return option
    if isinstance(option, Mapping):
        raise TypeError(f"open_generative_ui={option!r}: must be True, or a list of ids of agents, such as ['default']")
    names = validation.check_names("open_generative_ui", option)
    check_agent_ids("open_generative_ui", names, agents)
    return frozenset(names)


def check_agent_ids(option: str, names: Collection[str] | None, agents: object) -> None:
    """Raises ValueError if an option names an agent that there is not, as far as that is known."""
    known = list(agents) if isinstance(agents, Mapping) else None
    unknown = [] if known is None else [name for name in names or () if name not in known]
    if unknown:
        there_are = ", ".join(map(str, known or ()))
        raise ValueError(f"{option}={names!r}: there is no agent {unknown[0]!r}; there are {there_are}")
