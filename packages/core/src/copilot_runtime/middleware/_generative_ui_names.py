"""Names by which a run is recognised that shows user interfaces. What shows them is imported for such runs only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SANDBOXED_PAGE_TOOL = "generateSandboxedUi"
"""The tool with which a frontend offers to show pages that an agent writes (Open Generative UI)."""

PROXIED_MCP_REQUEST = "__proxiedMCPRequest"
"""The member of ``forwardedProps`` with what an app asks of its server (MCP Apps)."""

CATALOG_AVAILABLE = "a2uiCatalogAvailable"
"""The member of ``forwardedProps`` by which a frontend says that it has a catalog of components (A2UI)."""

_PROPS = frozenset((PROXIED_MCP_REQUEST, CATALOG_AVAILABLE))


def asks_for_user_interfaces(run_input: Mapping[str, Any]) -> bool:
    """Returns whether a frontend asks for user interfaces, with a run's input in wire form, whatever the options."""
    props = run_input.get("forwardedProps")
    if props and isinstance(props, Mapping) and not _PROPS.isdisjoint(props):
        return True
    tools = run_input.get("tools") or ()
    return bool(tools) and any(tool["name"] == SANDBOXED_PAGE_TOOL for tool in tools)
