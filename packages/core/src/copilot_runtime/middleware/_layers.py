"""Middlewares as they are called, checked once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..agents._base import AgentSignature, CallConvention

MIDDLEWARE = CallConvention("a middleware", ("input", "next"))


class Layer(NamedTuple):
    """The function of a middleware, and how to call it."""

    function: Callable[..., Any]
    signature: AgentSignature


def parse_layers(option: str, middlewares: Iterable[Any]) -> tuple[Layer, ...]:
    """Returns the layers of middlewares. Raises TypeError for what is not one.

    Args:
        option: what the middlewares were passed as, for messages.
        middlewares: the middlewares, outermost first.
    """
    if not isinstance(middlewares, Iterable) or isinstance(middlewares, str | bytes):
        raise TypeError(f"{option}={middlewares!r}: must be a list of middlewares, such as [{_example(middlewares)}]")
    return tuple(_parse(f"{option}[{index}]", each) for index, each in enumerate(middlewares))


def _parse(place: str, middleware: Any) -> Layer:
    if inspect.isclass(middleware):
        name = middleware.__name__
        raise TypeError(f"{place}: the class {name} is not a middleware: use an instance of it, {name}(...)")
    run = getattr(middleware, "run", None)
    function = run if callable(run) else middleware
    if not callable(function):
        raise TypeError(
            f"{place}: {type(middleware).__name__} is not a middleware: expected a function of {MIDDLEWARE.forms}, or "
            "an object with such a method run()"
        )
    signature = MIDDLEWARE.inspect(function)
    problem = signature.problem or _agent_problem(function)
    if problem is not None:
        raise TypeError(f"{place}: {problem}")
    return Layer(function, signature)


def _agent_problem(function: Callable[..., Any]) -> str | None:
    """Returns what to write if a function is that of an agent, which can be called like a middleware by mistake."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin may have none
        return None
    if names[1:2] != ["context"]:
        return None
    return f"an agent is not a middleware: {MIDDLEWARE.role} must accept {MIDDLEWARE.forms}"


def _example(middleware: Any) -> str:
    return getattr(middleware, "__name__", "guardrail")
