"""Values that belong to one event loop, such as HTTP clients with their connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """A value per event loop, created on first use and closed with its loop; compare `threading.local`.

    Args:
        create: creates the value, on the loop. What it raises is raised by `get`.
        close: closes the value, awaited on the loop.
    """

    def __init__(self, create: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._create = create
        self._close = close
        # Strong references to loops, since weak ones would not help: a connection refers to its loop as well.
        self._open: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[T]]] = {}

    async def get(self) -> T:
        """Returns the running loop's value."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            for other in [other for other in list(self._open) if other.is_closed()]:
                self._open.pop(other, None)
            lifetime = _lifetime(self._create, self._close)
            self._open[loop] = (await anext(lifetime), lifetime)
        return self._open[loop][0]

    async def aclose(self) -> None:
        """Closes the running loop's value; the next `get` creates another."""
        _, lifetime = self._open.pop(asyncio.get_running_loop(), (None, None))
        if lifetime is not None:
            await lifetime.aclose()


async def _lifetime(create: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> AsyncGenerator[T]:
    # An event loop finalises suspended asynchronous generators: in loop.shutdown_asyncgens(), and when the last
    # reference to one is dropped. So this one must not refer to the LoopLocal that holds it.
    value = create()
    try:
        yield value
    finally:
        await close(value)


class SharedValue(LoopLocal[T]):
    """The same value for every event loop, which its owner closes."""

    def __init__(self, value: T) -> None:
        self._value = value

    async def get(self) -> T:
        """Returns the value."""
        return self._value

    async def aclose(self) -> None:
        """Does nothing."""
