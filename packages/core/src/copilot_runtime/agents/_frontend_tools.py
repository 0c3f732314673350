"""`frontend_tools_middleware`: the frontend's tools for a graph of LangChain's ``create_agent``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from .._optional.optional_imports import import_optional

if TYPE_CHECKING:
    from ag_ui.core import Tool

CONFIG_KEY = "copilot_runtime_frontend_tools"
"""Where `LangGraphAgent` puts the tools of a run, in the ``configurable`` part of the graph's configuration."""

_ALL_CALLS = "copilot_runtime_tool_calls"
"""The member of the graph's state that holds all calls of the last message, while only the server's tools run."""


def frontend_tools_middleware() -> Any:
    """Returns middleware for LangChain's ``create_agent`` that offers the frontend's tools to the model.

    When the model calls one of them, the run ends, so that the frontend runs the tool and starts another run with the
    result. Tools of the server that the model calls at the same time run first. For a graph that `LangGraphAgent` runs.

    Raises:
        ImportError: if LangChain 1.0 or newer is not installed.
    """
    agents = _import("langchain.agents.middleware")
    messages = _import("langchain_core.messages")
    private = _import("langchain.agents.middleware.types").PrivateStateAttr
    # Not a class statement: its annotations would be strings, whose names LangChain could not resolve.
    annotations = {**agents.AgentState.__annotations__, _ALL_CALLS: NotRequired[Annotated[list[Any], private]]}
    state_class = TypedDict("FrontendToolsState", annotations)  # type: ignore[misc]

    def last_answer(state: Mapping[str, Any]) -> Any:
        return next((each for each in reversed(state["messages"]) if isinstance(each, messages.AIMessage)), None)

    class FrontendToolsMiddleware(agents.AgentMiddleware):  # type: ignore[misc, name-defined]
        state_schema = state_class

        def __init__(self) -> None:
            super().__init__()
            self._server_tools: set[str] = set()

        def _with_frontend_tools(self, request: Any) -> Any:
            self._server_tools.update(map(_tool_name, request.tools))
            offered = [tool for tool in _frontend_tools() if tool["function"]["name"] not in self._server_tools]
            return request.override(tools=[*request.tools, *offered])

        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(self._with_frontend_tools(request))

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(self._with_frontend_tools(request))

        @agents.hook_config(can_jump_to=["end"])  # type: ignore[untyped-decorator]
        def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            answer = last_answer(state)
            calls = [] if answer is None else answer.tool_calls
            names = {tool["function"]["name"] for tool in _frontend_tools()} - self._server_tools
            for_server = [call for call in calls if call["name"] not in names]
            if len(for_server) == len(calls):
                return None
            if not for_server:
                return {"jump_to": "end"}
            # The node of the server's tools would answer the other calls with an error.
            only_server = answer.model_copy(update={"tool_calls": for_server})
            return {"messages": [only_server], _ALL_CALLS: list(calls)}

        def _restore_calls(self, state: Any) -> dict[str, Any] | None:
            calls, answer = state.get(_ALL_CALLS), last_answer(state)
            if not calls or answer is None:
                return None
            return {"messages": [answer.model_copy(update={"tool_calls": calls})], _ALL_CALLS: []}

        @agents.hook_config(can_jump_to=["end"])  # type: ignore[untyped-decorator]
        def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            restored = self._restore_calls(state)
            if restored is None:
                return None
            if isinstance(state["messages"][-1], messages.HumanMessage):
                # The run that has called these tools was stopped, and the user has gone on.
                return {_ALL_CALLS: []}
            return {**restored, "jump_to": "end"}

        def after_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            return self._restore_calls(state)  # where a tool of the server has ended the run

    return FrontendToolsMiddleware()


def frontend_tools_config(tools: Sequence[Tool]) -> dict[str, Any]:
    """Returns the ``configurable`` members that offer tools to the graph of a run."""
    return {CONFIG_KEY: [_to_function(tool) for tool in tools]}


def _frontend_tools() -> list[dict[str, Any]]:
    """Returns the frontend's tools of the run whose node calls this."""
    config = _import("langgraph.config").get_config()
    tools: list[dict[str, Any]] = config.get("configurable", {}).get(CONFIG_KEY, [])
    return tools


def _to_function(tool: Tool) -> dict[str, Any]:
    """Returns a tool in the form of OpenAI's API, which the models of LangChain accept."""
    parameters = tool.parameters or {"type": "object", "properties": {}}
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }


def _tool_name(tool: Any) -> str:
    if isinstance(tool, Mapping):
        return str(tool.get("function", tool).get("name"))
    return str(tool.name)


def _import(module: str) -> Any:
    return import_optional(module, feature="frontend_tools_middleware", requirement="langchain>=1")
