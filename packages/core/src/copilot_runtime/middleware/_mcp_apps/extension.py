"""The MCP extension ``io.modelcontextprotocol/ui``: what a client says of itself, and what a tool says of its app."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from ...agents._mcp.sdk import Extensions, JSONObject

logger = logging.getLogger("copilot_runtime.middleware")

EXTENSIONS: Extensions = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}
"""What sessions advertise, so that servers know that their apps are shown."""

Caller = Literal["model", "app"]


def resource_uri(tool: JSONObject) -> str | None:
    """Returns the URI of the resource with a tool's app; None if it has no app."""
    # The second one is the form of the extension's drafts.
    uri = _ui(tool).get("resourceUri", _meta(tool).get("ui/resourceUri"))
    return uri if isinstance(uri, str) else None


def may_call(caller: Caller, tool: JSONObject) -> bool:
    """Returns whether a tool is for the model, or for the app. Unless it says otherwise, it is for both."""
    visibility = _ui(tool).get("visibility")
    return visibility is None or (isinstance(visibility, list) and caller in visibility)


def _ui(tool: JSONObject) -> Mapping[str, Any]:
    ui = _meta(tool).get("ui")
    return ui if isinstance(ui, Mapping) else {}


def _meta(tool: JSONObject) -> Mapping[str, Any]:
    meta: Mapping[str, Any] = tool.get("_meta") or {}
    return meta
