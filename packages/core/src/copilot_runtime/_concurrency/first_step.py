"""Takes the first step of an awaitable at once, since most of those that might wait do not."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def awaited(awaitable: Awaitable[T]) -> T:
    """Awaits whatever `await` takes: a generator of `types.coroutine`, too, which has no ``__await__`` itself."""
    return await awaitable


class FirstStep(Generic[T]):
    """An awaitable that has taken its first step.

    What is to limit a wait, such as a timer, is needed only for one that is not done by then.

    Args:
        awaitable: the awaitable. What its first step raises is raised here.
    """

    __slots__ = ("_rest", "_signal", "is_done", "result")

    is_done: bool
    """Whether that step was the last one."""

    result: T
    """The result, if it is done."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        try:
            self._rest: Any = awaitable.__await__()
        except AttributeError:
            self._rest = awaited(awaitable).__await__()
        try:
            self._signal = next(self._rest)
        except StopIteration as stop:
            self.is_done, self.result = True, stop.value
        else:
            self.is_done = False

    @classmethod
    def taken(cls, rest: Iterator[Any], signal: Any) -> FirstStep[T]:
        """Returns one whose first step was taken elsewhere and was not the last one.

        Args:
            rest: what the awaitable's ``__await__`` has returned.
            signal: what its first step has yielded.
        """
        step = cls.__new__(cls)
        step._rest, step._signal, step.is_done = rest, signal, False
        return step

    def __await__(self) -> Generator[Any, Any, T]:
        """Waits for the rest. To be awaited once, in the task that has taken the first step, if it is not done."""
        signal = self._signal
        while True:
            try:
                yield signal
            except BaseException as raised:  # above all a cancellation, which is for what waits to handle
                throw = getattr(self._rest, "throw", None)
                if throw is None:  # which not every iterator has, as `await` knows
                    raise
                try:
                    signal = throw(raised)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
            else:
                return (yield from self._rest)  # type: ignore[no-any-return]
