"""Names by which a run is recognised that shows user interfaces. What shows them is imported for such runs only."""

from __future__ import annotations

SANDBOXED_PAGE_TOOL = "generateSandboxedUi"
"""The tool with which a frontend offers to show pages that an agent writes (Open Generative UI)."""

PROXIED_MCP_REQUEST = "__proxiedMCPRequest"
"""The member of ``forwardedProps`` with what an app asks of its server (MCP Apps)."""
