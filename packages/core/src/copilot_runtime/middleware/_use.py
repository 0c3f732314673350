"""`use`: an agent with middleware around it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._pydantic_models import BaseModel
from ..agents._agent_checks import agent_problem
from ..agents._base import AGENT, CallStyle, agent_callable, clone_agent, describe_agent, inspect_agent, verifies_resume
from ..agents._context import RunContext
from ..agents._wire_input import InputBody
from ._call import Call, RunWorkers, is_async
from ._events import RunEvents
from ._layers import MIDDLEWARE, Layer, parse_layers

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ._types import Middleware


def use(agent: Any, *middlewares: Middleware) -> MiddlewareAgent:
    """Returns an agent that runs another one inside of middlewares, and is in all else like that one.

    Args:
        agent: the agent.
        middlewares: the middlewares, outermost first.

    Raises:
        TypeError: for what is not an agent or not a middleware.
    """
    problem = agent_problem(agent)
    if problem is not None:
        raise TypeError(f"use: {problem}")
    return wrap(agent, parse_layers("use: middlewares", middlewares))


def wrap(agent: Any, layers: Sequence[Layer]) -> MiddlewareAgent:
    """Returns an agent with layers around it, outermost first."""
    kinds = (*(layer.signature.kind for layer in layers), inspect_agent(agent_callable(agent)).kind)
    styles = tuple(_style(kinds[index:]) for index in range(len(kinds)))
    agent_class = _PlainAgent if styles[0] is CallStyle.PLAIN else _AsyncAgent
    return agent_class(agent, layers, styles)


def _style(kinds: Sequence[CallStyle]) -> CallStyle:
    """Returns how the outermost function is called: what is for both styles, in the style of what is inside."""
    return next((kind for kind in kinds if kind is not CallStyle.DIRECT), CallStyle.ASYNC_GENERATOR)


class MiddlewareAgent:
    """An agent with middlewares around it, as `use` returns it. It has all public attributes of the agent inside."""

    _agent: Any
    _layers: Sequence[Layer]
    _styles: Sequence[CallStyle]

    def __init__(self, agent: Any, layers: Sequence[Layer], styles: Sequence[CallStyle]) -> None:
        self._agent = agent
        self._layers = layers
        self._styles = styles
        self.verifies_resume: bool = verifies_resume(agent)

    def __getattr__(self, name: str) -> Any:
        if name == "__name__":
            return describe_agent(self._agent)[1]
        if name.startswith("_"):  # above all what copy and pickle look for before there is an agent
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        return getattr(self._agent, name)

    def clone(self) -> MiddlewareAgent:
        """Returns the same middlewares around a clone of the agent, if it can be cloned."""
        clone = wrap(clone_agent(self._agent), self._layers)
        vars(clone).update((name, value) for name, value in vars(self).items() if not name.startswith("_"))
        return clone

    def run(self, input: RunAgentInput, context: RunContext | None = None) -> Any:
        """Returns the events of the outermost middleware."""
        raise NotImplementedError

    def _call(self, input: RunAgentInput, context: RunContext, workers: RunWorkers) -> Call:
        return _Chain(self._agent, self._layers, self._styles, workers).call(0, input, context)


class _AsyncAgent(MiddlewareAgent):
    """Its outermost middleware is asynchronous."""

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[Any]:
        context = context or RunContext()
        call = self._call(input, context, RunWorkers(context))
        async with aclosing(call.read()) as events:
            async for event in events:
                yield event


class _PlainAgent(MiddlewareAgent):
    """Its outermost middleware is a plain function, so the run is on a worker thread, as far as that function is."""

    def run(self, input: RunAgentInput, context: RunContext | None = None) -> Any:
        context = context or RunContext()
        call = self._call(input, context, RunWorkers(context))
        returned = call.call_on_own_thread()
        return call.read_returned(returned) if is_async(returned) else call.read_returned_plain(returned)


@dataclasses.dataclass(frozen=True, slots=True)
class _Chain:
    """The functions of one run: those of the middlewares, and that of the agent inside."""

    agent: Any
    layers: Sequence[Layer]
    styles: Sequence[CallStyle]
    workers: RunWorkers

    def call(self, index: int, input: RunAgentInput, context: RunContext) -> Call:
        """Returns the call of the function with an index: of a middleware, or else of the agent."""
        opened: list[RunEvents] = []
        if index < len(self.layers):
            convention, (function, signature) = MIDDLEWARE, self.layers[index]
            arguments: tuple[Any, ...] = (input, self._next(index + 1, context, opened))
        else:
            convention, function = AGENT, agent_callable(self.agent)
            signature = inspect_agent(function)
            arguments = (input,)
        if signature.takes_context:
            arguments = (*arguments, context)
        return Call(function, signature, self.styles[index], convention, arguments, opened, self.workers)

    def _next(self, index: int, own_context: RunContext, opened: list[RunEvents]) -> Callable[..., RunEvents]:
        def next(input: RunAgentInput, context: RunContext | None = None) -> RunEvents:
            if not isinstance(input, BaseModel):
                raise TypeError(
                    f"next({type(input).__name__}): a middleware must call next with the input of the run, such as "
                    "next(input), or with a changed copy of it"
                )
            # Of a context that a middleware has made, too: its agent belongs to this run, and is stopped with it.
            control = own_context._control
            context = dataclasses.replace(context or own_context, body=InputBody(input), _control=control)
            events = RunEvents(self.call(index, input, context), input)
            opened.append(events)
            return events

        return next
