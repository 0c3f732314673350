"""Agents, and the tools of `BuiltInAgent`."""

from ._base import Agent, AgentEvents, AgentFunction
from ._builtin import BuiltInAgent, Interrupt, MCPServer, Tool, ToolError, define_tool
from ._context import RunContext
from ._frontend_tools import frontend_tools_middleware
from ._http_agent import HttpAgent
from ._langgraph import LangGraphAgent
from ._pydantic_ai import PydanticAIAgent

__all__ = [
    "Agent",
    "AgentEvents",
    "AgentFunction",
    "BuiltInAgent",
    "HttpAgent",
    "Interrupt",
    "LangGraphAgent",
    "MCPServer",
    "PydanticAIAgent",
    "RunContext",
    "Tool",
    "ToolError",
    "define_tool",
    "frontend_tools_middleware",
]
