"""`LangGraphAgent`: a LangGraph graph in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _validation as validation
from .._log_text import one_line
from .._optional.optional_imports import import_optional
from ._complete_history import with_object_arguments
from ._context import resolve_for_run
from ._forwarded_props import AllowedProps
from ._frontend_tools import frontend_tools_config
from ._graph_history import complete_updates, is_placeholder, last_results, missing_results
from ._graph_input import GraphInput, input_keys
from ._history import ThreadHistory
from ._interrupts import parse_resume_entries, with_resume, without_results

if TYPE_CHECKING:
    from ag_ui.core import BaseEvent, RunAgentInput

    from ._context import RunContext


logger = logging.getLogger("copilot_runtime.agents")


_CHECKPOINT_SECONDS = 2.0


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
        allowed_forwarded_props: the members of the frontend's ``forwardedProps`` that reach the graph. Each of them can
            set the member of its input schema that has its name; ``nodeName`` enters the graph at any node.
        forward_system_messages: whether ``system`` messages of the client become messages of the graph.
        forward_developer_messages: whether ``developer`` messages of the client become messages of the graph.
        config: the graph's configuration, or a function that returns it for each run from the RunContext: a plain one,
            which runs on a worker thread, or a coroutine function.
        options: further options of ``ag_ui_langgraph.LangGraphAgent``. ``emit_raw_events`` is False by default, since
            such events expose everything that passes through the graph. ``emit_interrupt_outcome`` is True by default,
            since only then a response names the interrupt that it is for.

    Raises:
        ImportError: if ag-ui-langgraph is not installed.
        TypeError: if ``graph`` is not a compiled graph, for options that ag-ui-langgraph does not have, and for options
            of the wrong type.
        ValueError: if the graph has no checkpointer.
    """

    verifies_resume = True
    """The checkpointer knows which interrupts are open, also where the store has lost the thread."""

    def __init__(
        self,
        graph: Any,
        *,
        name: str = "graph",
        description: str = "",
        config: Any = None,
        allowed_forwarded_props: Iterable[str] = ("command", "streamSubgraphs", "injectA2UITool"),
        forward_system_messages: bool = False,
        forward_developer_messages: bool = False,
        **options: Any,
    ) -> None:
        forwarded_roles = {"system": forward_system_messages, "developer": forward_developer_messages}
        for role, flag in forwarded_roles.items():
            validation.check_bool(f"LangGraphAgent: forward_{role}_messages", flag)
        props = AllowedProps.parse("LangGraphAgent", allowed_forwarded_props)
        _import("ag_ui_langgraph")
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
        omitted_roles = frozenset(role for role, is_forwarded in forwarded_roles.items() if not is_forwarded)
        self._input = GraphInput(input_keys(graph), props, omitted_roles)
        options = {"emit_raw_events": False, "emit_interrupt_outcome": True, **options}
        self._agent = _resuming_agent_class()(name=name, graph=graph, description=description, **options)

    def get_capabilities(self) -> Any:
        """Returns the capabilities that ag-ui-langgraph reports for the graph."""
        return self._agent.get_capabilities()

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[BaseEvent]:
        """Yields the events of a run.

        Closing the iterator cancels the nodes that are running. Raises GraphError if the graph fails.
        """
        input = with_object_arguments(self._input.select(input))
        agent = self._agent.clone()  # it stores the state of its run on itself
        config = dict(await resolve_for_run(self._config, context) or {})
        configurable = {**config.get("configurable", {}), **frontend_tools_config(input.tools or ())}
        agent.config = {**config, "configurable": configurable}
        thread_id = input.thread_id
        key = _checkpoint_thread_id(thread_id, context)
        if _has_resume(input):
            state = await agent.graph.aget_state(_of_thread(agent.config, key))
            input = _with_open_interrupts_only(input, _interrupts(state))
            agent.frontend_results = _frontend_results(input, state.values)
        try:
            async with contextlib.aclosing(agent.run(input.model_copy(update={"thread_id": key}))) as events:
                async for event in events:
                    if event.type == "RUN_ERROR":
                        raise GraphError(event.message)
                    if getattr(event, "thread_id", None) == key:
                        event.thread_id = thread_id
                    yield event
        except (GeneratorExit, asyncio.CancelledError):
            await _complete_checkpoint(agent.graph, _of_thread(agent.config, key), input)
            raise

    async def history(self, thread_id: str, context: RunContext | None = None) -> ThreadHistory | None:
        """Returns what the checkpointer has of a thread: messages, the state that runs show, and open interrupts."""
        agent = self._agent.clone()
        config = _of_thread(
            await resolve_for_run(self._config, context) or {}, _checkpoint_thread_id(thread_id, context)
        )
        state = await agent.graph.aget_state(config)
        if not state.values:
            return None
        utils = _import("ag_ui_langgraph.utils")
        shown = [*agent.get_schema_keys(config)["output"], *utils.DEFAULT_SCHEMA_KEYS]
        interrupts = _interrupts(state) if agent.emit_interrupt_outcome else []
        return ThreadHistory(
            messages=utils.langchain_messages_to_agui(state.values.get("messages") or ()),
            state={name: value for name, value in state.values.items() if name in shown},
            interrupts=_import("ag_ui_langgraph.interrupts").lg_interrupts_to_agui(interrupts),
        )

    async def forget_thread(self, thread_id: str, context: RunContext | None = None) -> None:
        """Deletes what the checkpointer has of a thread."""
        await self._agent.graph.checkpointer.adelete_thread(_checkpoint_thread_id(thread_id, context))


def _import(module: str) -> Any:
    return import_optional(module, feature="LangGraphAgent", extra="langgraph")


def _checkpoint_thread_id(thread_id: str, context: RunContext | None) -> str:
    return thread_id if context is None or context.user is None else f"{context.user.owner_key}/{thread_id}"


def _of_thread(config: Mapping[str, Any], checkpoint_thread_id: str) -> dict[str, Any]:
    """Returns a graph's configuration for a thread of its checkpointer."""
    return {**config, "configurable": {**config.get("configurable", {}), "thread_id": checkpoint_thread_id}}


async def _complete_checkpoint(graph: Any, config: Mapping[str, Any], input: RunAgentInput) -> None:
    """Adds results for the server's tools that a stop has kept from running: no model accepts a call without one.

    The results of those that have run are kept.
    """
    try:
        async with asyncio.timeout(_CHECKPOINT_SECONDS):
            state = await graph.aget_state(config)
            messages = state.values.get("messages") if isinstance(state.values, Mapping) else None
            if not messages or _interrupts(state):
                return
            results = missing_results(messages, without=[tool.name for tool in input.tools or ()])
            # An update drops what tasks have written beside one that was stopped, which the state shows already.
            finished = last_results(messages) if any(task.result for task in state.tasks or ()) else []
            if results or finished:
                await _update(graph, config, {"messages": [*finished, *results]}, state.next)
    except Exception as error:
        # The next run completes the history as well.
        logger.debug("the checkpoint of a stopped run could not be completed: %s", one_line(error))


async def _update(graph: Any, config: Mapping[str, Any], values: Mapping[str, Any], pending: Sequence[str]) -> None:
    """Updates a checkpoint as the last node, or as the pending one if the edges of the last do not allow it."""
    try:
        await graph.aupdate_state(config, values)
    except Exception:
        if not pending:
            raise
        await graph.aupdate_state(config, values, as_node=pending[0])


def _interrupts(state: Any) -> list[Any]:
    return [interrupt for task in state.tasks or () for interrupt in task.interrupts]


def _resuming_agent_class() -> Any:
    """Returns a subclass of AG-UI's agent that resumes each interrupt with the response to it, also one of several.

    It also keeps one result of each tool call. A client knows a result under the id of its TOOL_CALL_RESULT, which is
    not the graph's, until a run that succeeds sends a snapshot of the messages.
    """
    cancelled = _import("ag_ui_langgraph.interrupts").DEFAULT_RESUME_SENTINEL_CANCELLED
    command = _import("langgraph.types").Command
    add_messages = _import("langgraph.graph.message").add_messages

    class ResumingAgent(_import("ag_ui_langgraph").LangGraphAgent):  # type: ignore[misc]
        frontend_results: Sequence[Any] = ()
        """Results of the frontend's tools that a resumed run brings, and the checkpoint does not have."""

        def _build_command_from_agui_resume(self, entries: list[Any], **options: Any) -> Any:
            return command(
                update={"messages": [*self.frontend_results]} if self.frontend_results else None,
                resume={
                    entry.interrupt_id: {cancelled: True, "interrupt_id": entry.interrupt_id}
                    if entry.is_cancelled
                    else entry.payload
                    for entry in parse_resume_entries(entries)
                },
            )

        def langgraph_default_merge_state(self, state: Any, messages: Any, input: Any) -> Any:
            merged = super().langgraph_default_merge_state(state, messages, input)
            known = {
                getattr(each, "tool_call_id", None): each.id
                for each in state.get("messages", ())
                if not is_placeholder(each)
            }
            merged["messages"] = [
                each
                for each in merged["messages"]
                if (call_id := getattr(each, "tool_call_id", None)) is None or known.get(call_id, each.id) == each.id
            ]
            # What is resumed has calls without results: of the tools that continue, and of the frontend's beside them.
            if not _has_resume(input) and (merged["messages"] or state.get("messages")):
                channel = getattr(self.graph, "channels", {}).get("messages")
                merged["messages"] = complete_updates(
                    state.get("messages") or (),
                    merged["messages"],
                    can_replace=getattr(channel, "operator", None) is add_messages,
                )
            return merged

    return ResumingAgent


def _has_resume(input: RunAgentInput) -> bool:
    return bool(getattr(input, "resume", None)) or "resume" in _legacy_command(input)


def _legacy_command(input: RunAgentInput) -> Mapping[str, Any]:
    """Returns the command of a frontend before AG-UI's ``resume``: it names the interrupt's value, and not its id."""
    forwarded = input.forwarded_props
    command = forwarded.get("command") if isinstance(forwarded, Mapping) else None
    return command if isinstance(command, Mapping) else {}


def _with_open_interrupts_only(input: RunAgentInput, interrupts: Iterable[Any]) -> RunAgentInput:
    """Returns a run's input without responses to other interrupts than these.

    Those of the graph's own tool calls also lose the result that CopilotKit's client has added for them.
    """
    by_id = {interrupt.id: interrupt.value for interrupt in interrupts}
    entries = [entry for entry in parse_resume_entries(getattr(input, "resume", None)) if entry.interrupt_id in by_id]
    values = [by_id[entry.interrupt_id] for entry in entries]
    call_ids = {value.get("toolCallId", value.get("tool_call_id")) for value in values if isinstance(value, Mapping)}
    input = without_results(with_resume(input, entries), call_ids - {None})
    command = _legacy_command(input)
    if "resume" in command and not _is_open(command, list(by_id.values())):
        logger.warning("thread %r has no open interrupt that forwardedProps.command.resume is for", input.thread_id)
        rest = {name: value for name, value in command.items() if name not in ("resume", "interruptEvent")}
        input = input.model_copy(update={"forwarded_props": {**(input.forwarded_props or {}), "command": rest}})
    return input


def _frontend_results(input: RunAgentInput, values: Any) -> Sequence[Any]:
    """Returns the results of the frontend's tools that the graph's messages do not have, as LangChain's messages."""
    messages = values.get("messages") if isinstance(values, Mapping) else None
    frontend_tools = {tool.name for tool in input.tools or ()}
    pending = {
        call["id"]
        for message in messages or ()
        for call in getattr(message, "tool_calls", None) or ()
        if call["name"] in frontend_tools
    }
    pending.difference_update(getattr(message, "tool_call_id", None) for message in messages or ())
    results = [message for message in input.messages if message.role == "tool" and message.tool_call_id in pending]
    converted: Sequence[Any] = _import("ag_ui_langgraph.utils").agui_messages_to_langchain(results) if results else ()
    return converted


def _is_open(command: Mapping[str, Any], values: list[Any]) -> bool:
    dump = _import("ag_ui_langgraph.agent").dump_json_safe
    return bool(values) and ("interruptEvent" not in command or command["interruptEvent"] in map(dump, values))
