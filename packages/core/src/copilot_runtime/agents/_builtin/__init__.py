"""`BuiltInAgent`: an agent from a model's name, which needs no package but ``openai``."""

from __future__ import annotations

from .agent import BuiltInAgent
from .mcp import MCPServer
from .tools import Interrupt, Tool, ToolError, define_tool

__all__ = ["BuiltInAgent", "Interrupt", "MCPServer", "Tool", "ToolError", "define_tool"]
