"""What an agent is, and how to look at one without running it.

An agent is a function ``f(input)`` or ``f(input, context)``, or an object with such a
method ``run``, that gives an iterator or async iterator of AG-UI events.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import weakref
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

from pydantic import BaseModel

from .._concurrency import driver

logger = logging.getLogger("copilot_runtime.agents")


class CallStyle(Enum):
    """How an agent's function is to be called."""

    ASYNC_GENERATOR = auto()
    COROUTINE = auto()
    PLAIN = auto()
    """May block, so it is called on a thread of the run's own."""


@dataclasses.dataclass(frozen=True, slots=True)
class AgentSignature:
    """What a function's signature tells."""

    kind: CallStyle
    takes_context: bool


_shapes: weakref.WeakKeyDictionary[Any, AgentSignature] = weakref.WeakKeyDictionary()


def agent_callable(agent: Any) -> Callable[..., Any]:
    """The function that runs an agent. Raises TypeError for what is no agent."""
    if not inspect.isclass(agent):  # a class is an agent that nobody has made yet
        run = getattr(agent, "run", None)
        if callable(run):
            return run  # type: ignore[no-any-return]
        if callable(agent):
            return agent  # type: ignore[no-any-return]
    raise TypeError(f"{agent!r} is no agent: give a function of (input) or (input, context), or an object with run()")


def inspect_agent(function: Callable[..., Any]) -> AgentSignature:
    """How to call an agent's function; looked at once a function."""
    underlying = getattr(function, "__func__", function)
    try:
        shape = _shapes.get(underlying)
    except TypeError:  # cannot be hashed or weakly referenced
        return _shape(function)
    if shape is None:
        shape = _shape(function)
        try:
            _shapes[underlying] = shape
        except TypeError:
            pass
    return shape


def _shape(function: Callable[..., Any]) -> AgentSignature:
    # These see through functools.partial; an object that is called has its method looked at.
    called = (function, getattr(function, "__call__", function))  # noqa: B004
    if any(map(inspect.isasyncgenfunction, called)):
        kind = CallStyle.ASYNC_GENERATOR
    elif any(map(inspect.iscoroutinefunction, called)):
        kind = CallStyle.COROUTINE
    else:
        kind = CallStyle.PLAIN
    return AgentSignature(kind, _accepts_context(function))


def _accepts_context(function: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    # A second parameter with a default is an option of the agent's own, unless it is called context.
    return len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "context")


def clone_agent(agent: Any) -> Any:
    """An agent for one request: its ``clone()`` where it has that."""
    clone = getattr(agent, "clone", None)
    return clone() if callable(clone) else agent


def description_of(agent: Any) -> str:
    """What ``/info`` says of an agent."""
    described = _attribute(agent, "description")
    return described.encode("utf-8", "replace").decode() if isinstance(described, str) else ""


def class_name_of(agent: Any) -> str:
    """The class of an agent that is an object, the name of one that is a function."""
    name = _attribute(agent, "__name__")
    return name if isinstance(name, str) else type(agent).__name__


def headers_of(agent: Any) -> tuple[tuple[str, str], ...]:
    """The headers that the server has set on an agent."""
    headers = getattr(agent, "headers", None)
    if not headers:
        return ()
    return tuple(headers.items() if hasattr(headers, "items") else headers)


def capability_source(agent: Any) -> Any:
    """What an agent's capabilities are to be had from; None where it reports none."""
    given = _attribute(agent, "get_capabilities")
    return _attribute(agent, "capabilities") if given is None else given


async def resolve_capabilities(source: Any) -> Mapping[str, Any] | None:
    """What an agent says it can do. Raises whatever the agent raises."""
    given = await driver.call_user_function(source) if callable(source) else source
    if isinstance(given, BaseModel):
        return given.model_dump(mode="json", by_alias=True, exclude_none=True)
    return given if isinstance(given, Mapping) else None


def _attribute(agent: Any, name: str) -> Any:
    """An attribute; None where there is none, or where a property of somebody's raises."""
    try:
        return getattr(agent, name, None)
    except Exception:
        logger.warning("%s of an agent cannot be read", name, exc_info=True)
        return None
