"""Database connections of code that runs outside of Django's own handling of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Self, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404

from copilot_runtime.adapters import FrameworkContext

from ._test_connections import Connections, connections_of_test, shared_connections

T = TypeVar("T")


class LazyThreadExecutor(ThreadPoolExecutor):
    """An executor with one thread, which starts with the first function that is submitted.

    Args:
        name: the thread's name.
        scope: entered on the thread before the first function, and left after the last.
    """

    def __init__(self, name: str, scope: AbstractContextManager[None]) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name, initializer=scope.__enter__)
        self._scope = scope
        self._is_used = False

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._is_used = True
        return super().submit(function, *args, **kwargs)

    async def close(self) -> None:
        """Leaves the scope after all functions, then ends the thread, if it was ever used."""
        if self._is_used:
            future = self.submit(self._scope.__exit__, None, None, None)
            self.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(future))


class DjangoContext(FrameworkContext):
    """Gives each run a worker thread of its own for the ORM, and closes that thread's connections afterwards.

    Args:
        shared: connections of a test, which those threads use instead and leave open.
    """

    def __init__(self, shared: Connections | None = None) -> None:
        self._shared: Connections = shared or {}

    def for_request(self) -> Self:
        shared = connections_of_test()
        return type(self)(shared) if shared else self

    def sync_agent_scope(self) -> AbstractContextManager[None]:
        return shared_connections(self._shared)

    @asynccontextmanager
    async def async_agent_scope(self) -> AsyncIterator[None]:
        # The context variables refer to the request's thread, which ends with the request.
        executor = LazyThreadExecutor("copilot-runtime-orm", shared_connections(self._shared))
        async with ThreadSensitiveContext(executor=executor):
            try:
                yield
            finally:
                await executor.close()

    background_scope = async_agent_scope

    async def run_sync_function(self, function: Callable[..., T], *args: Any) -> T:
        # On the thread of this request or run, whose connections are closed at its end.
        result: T = await sync_to_async(function)(*args)
        return result


class DjangoViewContext(DjangoContext):
    """The same within a view, where Django turns some exceptions into responses."""

    def handles_exception(self, error: Exception) -> bool:
        return isinstance(error, (Http404, PermissionDenied, SuspiciousOperation))


django_context = DjangoContext()
"""For ``CopilotMiddleware(application, path=..., runtime=..., framework=django_context)`` in ``asgi.py``.

With it, hooks and agents of a runtime in front of Django can use the ORM, and their database connections are closed.
The views of this package need nothing of the kind. ``TestClient(runtime, framework=django_context)`` is for tests of
agents that use the ORM.
"""
