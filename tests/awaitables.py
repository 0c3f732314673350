"""What servers and middleware return where ASGI wants an awaitable: whatever `await` takes."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

Function = Callable[..., Coroutine[Any, Any, Any]]


class _Steps:
    """Awaitable, and an iterator that has nothing but its next step, such as those of granian."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._steps = coroutine.__await__()

    def __await__(self) -> Iterator[Any]:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._steps)


def _as_generator(function: Function) -> Callable[..., Any]:
    @types.coroutine
    def call(*args: Any) -> Generator[Any, Any, Any]:
        return (yield from function(*args).__await__())

    return call


AWAITABLES: dict[str, Callable[[Function], Callable[..., Any]]] = {
    "coroutine": lambda function: function,
    "generator": _as_generator,
    "task": lambda function: lambda *args: asyncio.ensure_future(function(*args)),
    "iterator": lambda function: lambda *args: _Steps(function(*args)),
}
"""Functions from a coroutine function to a function that returns another awaitable, by what that is."""
