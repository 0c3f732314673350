"""Agents: what runs."""

from ._builtin import BuiltInAgent, MCPServer, define_tool
from ._context import RunContext
from ._http_agent import HttpAgent
from ._langgraph import LangGraphAgent
from ._pydantic_ai import PydanticAIAgent

__all__ = ["BuiltInAgent", "HttpAgent", "LangGraphAgent", "MCPServer", "PydanticAIAgent", "RunContext", "define_tool"]
