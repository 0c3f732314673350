"""What a web framework wants around the user's code that runs outside of its requests."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class FrameworkContext:
    """A framework, to the code that outlives its requests. This one wants nothing.

    An adapter whose framework has contexts to enter or connections to close subclasses it
    and gives an instance to `copilot_runtime.bridge.drive` or `hosted`. What a request
    starts keeps its host.
    """

    def sync_agent_scope(self) -> AbstractContextManager[object]:
        """Entered by a thread around the user's code that it was made for: a synchronous agent."""
        return contextlib.nullcontext()

    def async_agent_scope(self) -> AbstractAsyncContextManager[object]:
        """Entered by a run's task around an asynchronous agent."""
        return contextlib.nullcontext()

    def background_scope(self) -> AbstractAsyncContextManager[object]:
        """Entered around what a request awaits outside of the framework's own handling of requests.

        That is a coroutine on the background loop for which the request's thread waits, and the
        whole pipeline where an adapter serves requests that the framework does not see.
        """
        return contextlib.nullcontext()

    def handles_exception(self, error: Exception) -> bool:
        """Whether an exception of a hook's is the framework's way to answer a request: then it is the framework's."""
        return False

    async def run_sync_function(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a plain function of the user's, which may block, from an event loop."""
        return await asyncio.to_thread(self._call_in_scope, function, *args)

    def _call_in_scope(self, function: Callable[..., T], *args: Any) -> T:
        with self.sync_agent_scope():
            return guard_stop_iteration(function, *args)


def guard_stop_iteration(function: Callable[..., T], *args: Any) -> T:
    """Calls a function; its StopIteration becomes a RuntimeError.

    A future cannot carry StopIteration: what waits for it would wait for ever.
    """
    try:
        return function(*args)
    except StopIteration as stop:
        raise RuntimeError("the function raised StopIteration") from stop


_NONE = FrameworkContext()
current_framework: contextvars.ContextVar[FrameworkContext] = contextvars.ContextVar("copilotkit_host", default=_NONE)
"""The host of this request, or of what it has started."""


@contextlib.contextmanager
def framework_scope(host: FrameworkContext) -> Iterator[None]:
    """Within it, an awaited pipeline has this host."""
    token = current_framework.set(host)
    try:
        yield
    finally:
        current_framework.reset(token)
