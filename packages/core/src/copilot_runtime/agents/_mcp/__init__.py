"""Tools of MCP servers (Model Context Protocol, https://modelcontextprotocol.io)."""

from .server import MCPServer
from .sessions import open_mcp_servers

__all__ = ["MCPServer", "open_mcp_servers"]
