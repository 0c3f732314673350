"""`LangGraphAgent`: a LangGraph graph in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from .._optional.optional_imports import import_optional
from ._context import resolve_for_run
from ._frontend_tools import frontend_tools_config

if TYPE_CHECKING:
    from ag_ui.core import BaseEvent, RunAgentInput

    from ._context import RunContext


class GraphError(Exception):
    """A graph failed. The text is LangGraph's, whose log has the cause."""


class LangGraphAgent:
    """Runs a compiled LangGraph graph with ag-ui-langgraph (extra ``langgraph``).

    The graph's checkpointer, which must have asynchronous methods, files a thread under its id, or under the user's
    key and its id if the runtime identifies users.

    Args:
        graph: the compiled graph.
        name: the agent's name for ag-ui-langgraph.
        description: reported by ``/info``.
        config: the graph's configuration, or a function that returns it for each run from the RunContext: a plain one,
            which runs on a worker thread, or a coroutine function.
        options: further options of ``ag_ui_langgraph.LangGraphAgent``. ``emit_raw_events`` is False by default, since
            such events expose everything that passes through the graph.

    Raises:
        ImportError: if ag-ui-langgraph is not installed.
        TypeError: if ``graph`` is not a compiled graph, and for options that ag-ui-langgraph does not have.
        ValueError: if the graph has no checkpointer.
    """

    def __init__(
        self, graph: Any, *, name: str = "graph", description: str = "", config: Any = None, **options: Any
    ) -> None:
        ag_ui_langgraph = import_optional("ag_ui_langgraph", feature="LangGraphAgent", extra="langgraph")
        if not callable(getattr(graph, "astream_events", None)):
            raise TypeError(
                "LangGraphAgent: graph must be a compiled graph, as graph.compile(...) returns, not "
                f"{type(graph).__name__}"
            )
        if not hasattr(graph, "checkpointer"):
            # A RemoteGraph, whose server has the checkpoints; ag-ui-langgraph reads and writes them itself.
            raise TypeError(
                f"LangGraphAgent: graph must be a compiled graph of this process, not {type(graph).__name__}: "
                "serve the graph as an AG-UI endpoint, and use HttpAgent(url)"
            )
        if isinstance(graph.checkpointer, bool | None):
            raise ValueError("LangGraphAgent: graph must have a checkpointer: graph.compile(checkpointer=...)")
        self.description = description
        self._config = config
        options = {"emit_raw_events": False, **options}
        self._agent = ag_ui_langgraph.LangGraphAgent(name=name, graph=graph, description=description, **options)

    def get_capabilities(self) -> Any:
        """Returns the capabilities that ag-ui-langgraph reports for the graph."""
        return self._agent.get_capabilities()

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[BaseEvent]:
        """Yields the events of a run.

        Closing the iterator cancels the nodes that are running. Raises GraphError if the graph fails.
        """
        agent = self._agent.clone()  # it stores the state of its run on itself
        config = dict(await resolve_for_run(self._config, context) or {})
        configurable = {**config.get("configurable", {}), **frontend_tools_config(input.tools or ())}
        agent.config = {**config, "configurable": configurable}
        thread_id = input.thread_id
        key = thread_id if context is None or context.user is None else f"{context.user.owner_key}/{thread_id}"
        async with contextlib.aclosing(agent.run(input.model_copy(update={"thread_id": key}))) as events:
            async for event in events:
                if event.type == "RUN_ERROR":
                    raise GraphError(event.message)
                if getattr(event, "thread_id", None) == key:
                    event.thread_id = thread_id
                yield event
