"""The contexts that a web framework enters around user code that runs outside of its requests."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

from .worker_pools import current_pool

T = TypeVar("T")

NO_SCOPE = contextlib.nullcontext()
"""Of whatever has no contexts. It need not be entered, but may be, any number of times: it has no state."""


class FrameworkContext:
    """What a framework does around code that outlives its requests. This base class does nothing.

    An adapter whose framework has contexts to enter or connections to close subclasses it, and passes an instance to
    `copilot_runtime.adapters.run_sync` or `FrameworkScope`. What a request starts keeps its framework.
    """

    def check_playground(self) -> None:
        """Raises if the framework is set up for production. Called for a handler that serves the playground."""

    def for_request(self) -> FrameworkContext:
        """Returns the context of one request. Called on the request's thread by `run_sync`."""
        return self

    def sync_agent_scope(self) -> AbstractContextManager[object]:
        """Returns the context to enter on the worker thread of a synchronous agent."""
        return NO_SCOPE

    def async_agent_scope(self) -> AbstractAsyncContextManager[object]:
        """Returns the context to enter around an asynchronous agent, in the task of its run."""
        return NO_SCOPE

    def background_scope(self) -> AbstractAsyncContextManager[object]:
        """Returns the context to enter around async code that a request waits for and the framework does not run.

        That is an async hook on the background loop (WSGI), or the whole pipeline behind `CopilotMiddleware`.
        """
        return NO_SCOPE

    def handles_exception(self, error: Exception) -> bool:
        """Returns whether an exception raised by a hook is the framework's way to answer a request."""
        return False

    async def run_sync_function(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a plain function of the application, which may block, from an event loop."""
        return await current_pool.get().call(self._call_in_scope, function, *args)

    def _call_in_scope(self, function: Callable[..., T], *args: Any) -> T:
        with self.sync_agent_scope():
            return guard_stop_iteration(function, *args)


def guard_stop_iteration(function: Callable[..., T], *args: Any) -> T:
    """Calls a function and turns its StopIteration into a RuntimeError.

    A future cannot carry StopIteration: the awaiting task would wait forever.
    """
    try:
        return function(*args)
    except StopIteration as stop:
        raise RuntimeError("the function raised StopIteration") from stop


current_framework: contextvars.ContextVar[FrameworkContext] = contextvars.ContextVar(
    "copilot_framework",
    default=FrameworkContext(),  # noqa: B039 - it has no state
)
"""The framework of this request, or of what it has started."""


class FrameworkScope:
    """Sets the framework of an awaited pipeline for as long as the block lasts. To be entered once.

    Not a generator, which takes three times as long, for each request.
    """

    __slots__ = ("_framework", "_token")

    _token: contextvars.Token[FrameworkContext]

    def __init__(self, framework: FrameworkContext) -> None:
        self._framework = framework

    def __enter__(self) -> None:
        self._token = current_framework.set(self._framework)

    def __exit__(self, *error: object) -> None:
        current_framework.reset(self._token)
