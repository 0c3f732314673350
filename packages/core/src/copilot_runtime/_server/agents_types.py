"""Types of what is passed as ``agents``. Imported when they are used, as `agents._types` is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..agents._base import Agent
from ..agents._types import AgentFunction
from .agents_context import AgentsContext

AgentMapping = Mapping[str, Agent | AgentFunction]
"""Agents by id."""

AgentsFactory = Callable[[AgentsContext], Awaitable[AgentMapping] | AgentMapping]
"""A plain or coroutine function that returns the agents of a request."""

Agents = AgentMapping | AgentsFactory
"""What ``CopilotRuntime(agents=...)`` accepts: agents by id, or a function that returns them for a request."""
