"""`PydanticAIAgent`: a Pydantic AI agent in this process."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from .._optional.optional_imports import import_optional
from ._complete_history import with_complete_history
from ._context import resolve_for_run

if TYPE_CHECKING:
    from ag_ui.core import BaseEvent, RunAgentInput

    from ._context import RunContext


class PydanticAIAgent:
    """Runs a ``pydantic_ai.Agent`` with Pydantic AI's own AG-UI adapter (extra ``pydantic-ai``).

    Args:
        agent: the ``pydantic_ai.Agent``.
        deps: the agent's dependencies, or a function that returns them for each run from the RunContext: a plain one,
            which runs on a worker thread, or a coroutine function. Dependencies that hold the frontend's state
            (``StateDeps``) are copied for each run, so that runs do not share it.
        description: reported by ``/info``.
        run: further options of ``AGUIAdapter.run_stream``, such as ``{"usage_limits": UsageLimits(request_limit=5)}``.
        adapter: options of ``AGUIAdapter``. With a ``conversation_store``, each user's conversations are kept apart,
            unless a ``conversation_scope`` is set as well.

    Raises:
        ImportError: if Pydantic AI is not installed.
        TypeError: if ``agent`` is not a Pydantic AI agent, and for options that Pydantic AI does not have.
    """

    def __init__(
        self,
        agent: Any,
        *,
        deps: Any = None,
        description: str = "",
        run: Mapping[str, Any] | None = None,
        adapter: Mapping[str, Any] | None = None,
    ) -> None:
        self._adapter = _raising_adapter()
        if not isinstance(agent, _import("pydantic_ai.agent").AbstractAgent):
            raise TypeError(f"PydanticAIAgent: agent must be a pydantic_ai.Agent, got {agent!r}")
        self.description = description
        self._agent = agent
        self._deps = deps
        self._run_options = _with_deferred_output(agent, run or {})
        self._adapter_options = dict(adapter or {})
        inspect.signature(self._adapter).bind(agent=agent, run_input=None, **self._adapter_options)
        inspect.signature(self._adapter.run_stream).bind(None, deps=None, **self._run_options)

    @property
    def verifies_resume(self) -> bool:
        """Whether Pydantic AI knows itself which calls wait for an approval: with a conversation store."""
        return "conversation_store" in self._adapter_options

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[BaseEvent]:
        """Yields the events of a run.

        Closing the iterator cancels the request to the model. Raises whatever fails in the run.
        """
        options = self._adapter_options
        if "conversation_store" in options and context is not None and context.user is not None:
            options = {"conversation_scope": context.user.owner_key, **options}
        input = _without_file_ids(input)
        if "conversation_store" not in options:  # which has what the client does not send
            input = with_complete_history(input)
        adapter = self._adapter(agent=self._agent, run_input=input, **options)
        deps = await resolve_for_run(self._deps, context)
        if isinstance(deps, _import("pydantic_ai.ui").StateHandler):
            deps = copy.copy(deps)  # the adapter sets the state on it
        async with contextlib.aclosing(adapter.run_stream(deps=deps, **self._run_options)) as events:
            async for event in events:
                yield event


def _import(module: str) -> Any:
    return import_optional(module, feature="PydanticAIAgent", extra="pydantic-ai")


def _without_file_ids(input: RunAgentInput) -> RunAgentInput:
    """Returns an input without the binary parts that only name a file.

    Pydantic AI leaves such files out with AG-UI 1.0, and fails with 0.1. The client sends its history with every run.
    """
    if not any(map(_has_file_ids, input.messages)):
        return input
    return input.model_copy(update={"messages": [_without_file_ids_in(message) for message in input.messages]})


def _without_file_ids_in(message: Any) -> Any:
    if not _has_file_ids(message):
        return message
    return message.model_copy(update={"content": [part for part in message.content if not _is_file_id(part)]})


def _has_file_ids(message: Any) -> bool:
    return isinstance(message.content, list) and any(map(_is_file_id, message.content))


def _is_file_id(part: Any) -> bool:
    return part.type == "binary" and not (part.url or part.data)


def _with_deferred_output(agent: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a run, in which a call that needs an approval may end it.

    Pydantic AI accepts no output type for a run of an agent with output validators. Such an agent needs
    DeferredToolRequests among its own output types.
    """
    innermost = agent
    while hasattr(innermost, "wrapped"):
        innermost = innermost.wrapped
    if getattr(innermost, "_output_validators", None):
        return dict(options)
    output_type = options.get("output_type") or agent.output_type
    return {**options, "output_type": [output_type, _import("pydantic_ai").DeferredToolRequests]}


def _raising_adapter() -> Any:
    """Returns a subclass of Pydantic AI's adapter that raises failures, whose text it would send to the client."""

    class RaisingAdapter(_import("pydantic_ai.ui.ag_ui").AGUIAdapter):  # type: ignore[misc]
        def build_event_stream(self) -> Any:
            stream = super().build_event_stream()
            original_on_error = stream.on_error

            async def on_error(error: Exception) -> AsyncGenerator[BaseEvent]:
                async for event in original_on_error(error):  # which also marks the run as failed
                    if event.type != "RUN_ERROR":
                        yield event
                raise error

            stream.on_error = on_error
            return stream

    return RaisingAdapter
