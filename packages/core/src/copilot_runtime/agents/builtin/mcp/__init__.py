"""Tools that MCP servers offer: Model Context Protocol, https://modelcontextprotocol.io."""

from .opening import open_mcp_servers
from .server import MCPServer

__all__ = ["MCPServer", "open_mcp_servers"]
