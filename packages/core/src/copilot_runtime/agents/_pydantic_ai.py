"""`PydanticAIAgent`: an agent of Pydantic AI, in this process."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from .._optional.optional_imports import import_optional
from ._context import resolve_for_run

if TYPE_CHECKING:
    from ag_ui.core import BaseEvent, RunAgentInput

    from ._context import RunContext


class PydanticAIAgent:
    """Runs a ``pydantic_ai.Agent`` through Pydantic AI's own AG-UI adapter (extra ``pydantic-ai``).

    ``deps`` is what the agent depends on, or a function of the `RunContext`, plain (then it
    is called on a thread) or a coroutine function, that gives it for each run. Deps that
    hold the frontend's state (``StateDeps``) are copied for each run, so that runs do not
    share it. ``run`` are further options of ``AGUIAdapter.run_stream``, such as
    ``{"usage_limits": UsageLimits(request_limit=5)}``; ``adapter`` those of ``AGUIAdapter``.
    A ``conversation_store`` among these keeps the conversations of each user apart, unless
    it is given a ``conversation_scope``.

    Raises ImportError where Pydantic AI is not installed, TypeError for what is not its
    agent and for options that it does not have.
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
        self._adapter = _adapter()
        if not isinstance(agent, _module("pydantic_ai.agent").AbstractAgent):
            raise TypeError(f"PydanticAIAgent needs a pydantic_ai.Agent, not {agent!r}")
        self.description = description
        self._agent = agent
        self._deps = deps
        self._run_options = dict(run or {})
        self._adapter_options = dict(adapter or {})
        inspect.signature(self._adapter).bind(agent=agent, run_input=None, **self._adapter_options)
        inspect.signature(self._adapter.run_stream).bind(None, deps=None, **self._run_options)

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[BaseEvent]:
        """The run's events. Raises whatever fails in it; closing the iterator cancels the model's request."""
        options = self._adapter_options
        if "conversation_store" in options and context is not None and context.user is not None:
            options = {"conversation_scope": context.user.owner_key, **options}
        adapter = self._adapter(agent=self._agent, run_input=input, **options)
        deps = await resolve_for_run(self._deps, context)
        if isinstance(deps, _module("pydantic_ai.ui").StateHandler):
            deps = copy.copy(deps)  # the adapter writes the state into it
        async with contextlib.aclosing(adapter.run_stream(deps=deps, **self._run_options)) as events:
            async for event in events:
                yield event


def _module(name: str) -> Any:
    return import_optional(name, feature="PydanticAIAgent", extra="pydantic-ai")


def _adapter() -> Any:
    """Pydantic AI's adapter, but that failures are raised instead of told, text and all, to the client."""

    class RaisingAdapter(_module("pydantic_ai.ui.ag_ui").AGUIAdapter):  # type: ignore[misc]
        def build_event_stream(self) -> Any:
            stream = super().build_event_stream()
            told = stream.on_error

            async def on_error(error: Exception) -> AsyncGenerator[BaseEvent]:
                async for event in told(error):  # which also notes that the run has failed
                    if event.type != "RUN_ERROR":
                        yield event
                raise error

            stream.on_error = on_error
            return stream

    return RaisingAdapter
