"""Database connections of code that runs outside of Django's own handling of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connections
from django.http import Http404

from copilot_runtime.adapters import FrameworkContext

T = TypeVar("T")


class LazyThreadExecutor(ThreadPoolExecutor):
    """An executor with one thread, which starts with the first function that is submitted."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name)
        self._is_used = False

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._is_used = True
        return super().submit(function, *args, **kwargs)

    async def close(self, last: Callable[[], object]) -> None:
        """Calls ``last`` on the thread after all other functions, then ends the thread, if it was ever used."""
        if self._is_used:
            future = self.submit(last)
            self.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(future))


class DjangoContext(FrameworkContext):
    """Gives each run a worker thread of its own for the ORM, and closes that thread's connections afterwards."""

    @contextmanager
    def sync_agent_scope(self) -> Iterator[None]:
        try:
            yield
        finally:
            connections.close_all()

    @asynccontextmanager
    async def async_agent_scope(self) -> AsyncIterator[None]:
        # The context variables refer to the request's thread, which ends with the request.
        executor = LazyThreadExecutor("copilot-runtime-orm")
        async with ThreadSensitiveContext(executor=executor):
            try:
                yield
            finally:
                await executor.close(connections.close_all)

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
The views of this package need nothing of the kind.
"""
