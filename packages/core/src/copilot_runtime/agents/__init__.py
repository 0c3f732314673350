"""Agents: what runs."""

from .builtin import BuiltInAgent, MCPServer, define_tool
from .context import RunContext
from .http import HttpAgent
from .langgraph import LangGraphAgent
from .pydantic_ai import PydanticAIAgent

__all__ = ["BuiltInAgent", "HttpAgent", "LangGraphAgent", "MCPServer", "PydanticAIAgent", "RunContext", "define_tool"]
