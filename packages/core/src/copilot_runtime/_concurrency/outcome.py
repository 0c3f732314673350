"""What a function on a worker thread has returned or raised, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Outcome(Generic[T]):
    """A result or an exception, handed from a thread to a coroutine or to another thread.

    In place of a future's own: a future keeps its exception, whose traceback has the frames that the future is used
    in, so that both, and all that these frames refer to, would wait for the garbage collector. Futures of asyncio
    replace a TimeoutError by one without a traceback.
    """

    __slots__ = ("error", "result")

    def __init__(self, result: T | None = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error

    @classmethod
    def of(cls, function: Callable[..., T], *args: Any) -> Outcome[T]:
        """Calls a function, and returns what it returns or raises."""
        try:
            return cls(function(*args))
        except BaseException as error:
            return cls(error=error)

    def take(self) -> T:
        """Returns the result, which may have exceptions as well, or raises the exception, and forgets it."""
        error, self.error = self.error, None
        result, self.result = self.result, None
        try:
            if isinstance(error, StopIteration):  # which no coroutine can raise
                raise RuntimeError("the function raised StopIteration") from error
            if error is not None:
                raise error
        finally:
            del error
        return cast(T, result)
