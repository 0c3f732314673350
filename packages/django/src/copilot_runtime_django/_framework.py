"""Database connections of code that no request's signals clean up after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connections
from django.http import Http404

from copilot_runtime._concurrency.bridge import LazyThread
from copilot_runtime._concurrency.framework import Host

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
        thread = LazyThread("copilotkit-orm")
        async with ThreadSensitiveContext(executor=thread):
            try:
                yield
            finally:
                await thread.end(connections.close_all)

    errand = task

    async def plain(self, function: Callable[..., T], *args: Any) -> T:
        # In the thread of this request or run, whose end closes what it has opened.
        result: T = await sync_to_async(function)(*args)
        return result


class ViewHost(DjangoHost):
    """The same within a view, whose exceptions Django answers."""

    def answers(self, error: Exception) -> bool:
        return isinstance(error, (Http404, PermissionDenied, SuspiciousOperation))


django_host = DjangoHost()
"""For `copilot_runtime_asgi.mount_before(..., host=django_host)`; the views have it anyway."""
