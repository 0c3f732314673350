"""`LangGraphAgent`: a graph of LangGraph, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from .._optional.optional_imports import import_optional
from ._context import resolve_for_run

if TYPE_CHECKING:
    from ag_ui.core import BaseEvent, RunAgentInput

    from ._context import RunContext


class GraphError(Exception):
    """A graph has failed; the text is LangGraph's, whose log has the cause."""


class LangGraphAgent:
    """Runs a compiled graph of LangGraph on ag-ui-langgraph (extra ``langgraph``).

    ``graph`` has a checkpointer with asynchronous methods, which keeps what it has of each
    thread under the thread's id, and under the user's where there are users. ``config`` is
    the graph's configuration, or a function of the `RunContext`, plain (then it is called
    on a thread) or a coroutine function, that gives it for each run. ``options`` are
    further ones of ``ag_ui_langgraph.LangGraphAgent``; ``emit_raw_events`` is off unless
    given, for those events show everything that goes through the graph.

    Raises ImportError where ag-ui-langgraph is not installed, TypeError for what is no
    compiled graph and for options that it does not have, ValueError without a checkpointer.
    """

    def __init__(
        self, graph: Any, *, name: str = "graph", description: str = "", config: Any = None, **options: Any
    ) -> None:
        package = import_optional("ag_ui_langgraph", feature="LangGraphAgent", extra="langgraph")
        if not callable(getattr(graph, "astream_events", None)):
            raise TypeError(f"LangGraphAgent needs a compiled graph, such as graph.compile(...) gives, not {graph!r}")
        if isinstance(graph.checkpointer, bool | None):
            raise ValueError("LangGraphAgent needs a graph with a checkpointer: graph.compile(checkpointer=...)")
        self.description = description
        self._config = config
        options = {"emit_raw_events": False, **options}
        self._agent = package.LangGraphAgent(name=name, graph=graph, description=description, **options)

    def get_capabilities(self) -> Any:
        """What ag-ui-langgraph says of the graph."""
        return self._agent.get_capabilities()

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[BaseEvent]:
        """The run's events. Raises GraphError where it fails; closing the iterator cancels the nodes that run."""
        agent = self._agent.clone()  # it keeps its run in itself
        agent.config = dict(await resolve_for_run(self._config, context) or {})
        thread = input.thread_id
        key = thread if context is None or context.user is None else f"{context.user.owner_key}/{thread}"
        async with contextlib.aclosing(agent.run(input.model_copy(update={"thread_id": key}))) as events:
            async for event in events:
                if event.type == "RUN_ERROR":
                    raise GraphError(event.message)
                if getattr(event, "thread_id", None) == key:
                    event.thread_id = thread
                yield event
