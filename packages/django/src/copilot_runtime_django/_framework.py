"""Database connections of code that no request's signals clean up after."""

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

from copilot_runtime._concurrency.framework import FrameworkContext

T = TypeVar("T")


class LazyThreadExecutor(ThreadPoolExecutor):
    """An executor with one thread, which is started when it gets its first work."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name)
        self._is_used = False

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._is_used = True
        return super().submit(function, *args, **kwargs)

    async def close(self, last: Callable[[], object]) -> None:
        """Calls ``last`` on the thread, after all other work, and ends it; does nothing if it was never started."""
        if self._is_used:
            done = self.submit(last)
            self.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(done))


class DjangoContext(FrameworkContext):
    """Each run has a thread of its own for the ORM, and none of its connections stays open."""

    @contextmanager
    def sync_agent_scope(self) -> Iterator[None]:
        try:
            yield
        finally:
            connections.close_all()

    @asynccontextmanager
    async def async_agent_scope(self) -> AsyncIterator[None]:
        # The request's own thread, which the context has brought along, ends with the request.
        thread = LazyThreadExecutor("copilotkit-orm")
        async with ThreadSensitiveContext(executor=thread):
            try:
                yield
            finally:
                await thread.close(connections.close_all)

    background_scope = async_agent_scope

    async def run_sync_function(self, function: Callable[..., T], *args: Any) -> T:
        # In the thread of this request or run, whose end closes what it has opened.
        result: T = await sync_to_async(function)(*args)
        return result


class DjangoViewContext(DjangoContext):
    """The same within a view, whose exceptions Django answers."""

    def handles_exception(self, error: Exception) -> bool:
        return isinstance(error, (Http404, PermissionDenied, SuspiciousOperation))


django_context = DjangoContext()
"""For `copilot_runtime_asgi.mount_before(..., host=django_host)`; the views have it anyway."""
