"""Agents, and the tools of `BuiltInAgent`."""

from typing import TYPE_CHECKING

from .._lazy_exports import lazy_exports
from ._base import Agent
from ._context import RunContext

if TYPE_CHECKING:
    from ._builtin import BuiltInAgent
    from ._frontend_tools import frontend_tools_middleware
    from ._history import ThreadHistory
    from ._http_agent import HttpAgent
    from ._langgraph import LangGraphAgent
    from ._mcp import MCPServer
    from ._pydantic_ai import PydanticAIAgent
    from ._questions import Answer, Interruption, Question, interrupt
    from ._tools import Attachment, Interrupt, Tool, ToolError, define_tool
    from ._types import AgentEvents, AgentFunction
else:
    # Few applications use more than one kind of agent. Those of `BuiltInAgent` and `HttpAgent` take 0.2 s to import.
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "._builtin": ("BuiltInAgent",),
            "._frontend_tools": ("frontend_tools_middleware",),
            "._history": ("ThreadHistory",),
            "._http_agent": ("HttpAgent",),
            "._langgraph": ("LangGraphAgent",),
            "._mcp": ("MCPServer",),
            "._pydantic_ai": ("PydanticAIAgent",),
            "._questions": ("Answer", "Interruption", "Question", "interrupt"),
            "._tools": ("Attachment", "Interrupt", "Tool", "ToolError", "define_tool"),
            "._types": ("AgentEvents", "AgentFunction"),
        },
    )

__all__ = [
    "Agent",
    "AgentEvents",
    "AgentFunction",
    "Answer",
    "Attachment",
    "BuiltInAgent",
    "HttpAgent",
    "Interrupt",
    "Interruption",
    "LangGraphAgent",
    "MCPServer",
    "PydanticAIAgent",
    "Question",
    "RunContext",
    "ThreadHistory",
    "Tool",
    "ToolError",
    "define_tool",
    "frontend_tools_middleware",
    "interrupt",
]
