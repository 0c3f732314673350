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

from copilotkit_runtime.host import Host

T = TypeVar("T")


class DjangoHost(Host):
    """Each run has a thread of its own for the ORM, and none of its connections stays open."""

    @contextmanager
    def thread(self) -> Iterator[None]:
        try:
            yield
        finally:
            connections.close_all()

    @asynccontextmanager
    async def task(self) -> AsyncIterator[None]:
        # The request's own thread, which the context has brought along, ends with the request.
        thread = _Thread()
        async with ThreadSensitiveContext(executor=thread):
            try:
                yield
            finally:
                await thread.end()

    errand = task

    async def plain(self, function: Callable[..., T], *args: Any) -> T:
        # In the thread of this request or run, whose end closes what it has opened.
        result: T = await sync_to_async(function)(*args)
        return result


class ViewHost(DjangoHost):
    """The same within a view, whose exceptions Django answers."""

    def answers(self, error: Exception) -> bool:
        return isinstance(error, (Http404, PermissionDenied, SuspiciousOperation))


class _Thread(ThreadPoolExecutor):
    """One thread for `sync_to_async`, made when first needed: most agents never do."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="copilotkit-orm")
        self._is_used = False

    def submit(self, function: Callable[..., T], /, *args: Any, **named: Any) -> Future[T]:
        self._is_used = True
        return super().submit(function, *args, **named)

    async def end(self) -> None:
        """Closes its connections once it has done what it was given, whoever still waits for that."""
        if self._is_used:
            closed = self.submit(connections.close_all)
            self.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(closed))


django_host = DjangoHost()
"""For `copilotkit_runtime_asgi.mount_before(..., host=django_host)`; the views have it anyway."""
