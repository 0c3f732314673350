"""Things that belong to one event loop: connections, above all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """One thing to each event loop: made when it is first asked for, closed with its loop.

    ``make`` is called on the loop, and what it raises reaches the caller of `get`;
    ``close`` is awaited there.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._make = make
        self._close = close
        # By loop, yet not weakly: connections hold their loop, which keeps it alive.
        self._open: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[T]]] = {}

    async def get(self) -> T:
        """The running loop's one."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            for other in [other for other in list(self._open) if other.is_closed()]:
                self._open.pop(other, None)
            keeper = _lifetime(self._make, self._close)
            self._open[loop] = (await anext(keeper), keeper)
        return self._open[loop][0]

    async def aclose(self) -> None:
        """Closes the running loop's one. The next `get` makes another."""
        _, keeper = self._open.pop(asyncio.get_running_loop(), (None, None))
        if keeper is not None:
            await keeper.aclose()


async def _lifetime(make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> AsyncGenerator[T]:
    # A suspended generator is what an event loop closes by itself, when it is shut down
    # or when the last reference to the owner goes: see loop.shutdown_asyncgens(). It knows
    # the two functions only: a reference to the owner would keep that alive.
    made = make()
    try:
        yield made
    finally:
        await close(made)
