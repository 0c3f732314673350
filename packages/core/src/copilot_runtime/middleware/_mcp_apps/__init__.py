"""MCP Apps: user interfaces of MCP servers, shown in the chat (https://modelcontextprotocol.io/extensions/apps)."""

from .apps import MCPApps

__all__ = ["MCPApps"]
