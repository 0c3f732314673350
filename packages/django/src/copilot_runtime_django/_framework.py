"""Database connections of code that runs outside of Django's own handling of requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Self, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404

from copilot_runtime.adapters import FrameworkContext

from ._playground import refuse_playground_in_production
from ._test_connections import Connections, connections_of_test, shared_connections

T = TypeVar("T")


class _ORMThread(Executor):
    """An executor with one thread, which is created for the first function: most requests and runs have none.

    Args:
        shared: connections that the thread uses instead of its own.
    """

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._used: tuple[ThreadPoolExecutor, AbstractContextManager[None]] | None = None

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        with self._lock:
            if self._used is None:
                scope = shared_connections(self._shared)
                executor = ThreadPoolExecutor(
                    max_workers=1, thread_name_prefix="copilot-runtime-orm", initializer=scope.__enter__
                )
                self._used = executor, scope
        return self._used[0].submit(function, *args, **kwargs)

    def close(self) -> Awaitable[object] | None:
        """Closes the connections after all functions, then ends the thread. Returns what waits for that.

        None if it was never used.
        """
        if self._used is None:
            return None
        executor, scope = self._used
        future = executor.submit(scope.__exit__, None, None, None)
        executor.shutdown(wait=False)
        return asyncio.shield(asyncio.wrap_future(future))


class _ORMScope(ThreadSensitiveContext):
    """Has asynchronous code use a worker thread of its own for the ORM.

    The context variables may refer to the thread of a request, which ends with the request.
    """

    def __init__(self, shared: Connections) -> None:
        self._thread = _ORMThread(shared)
        super().__init__(executor=self._thread)

    async def __aexit__(self, *error: Any) -> None:
        try:
            closing = self._thread.close()
            if closing is not None:
                await closing
        finally:
            await super().__aexit__(*error)  # type: ignore[no-untyped-call]


class DjangoContext(FrameworkContext):
    """Gives each run a worker thread of its own for the ORM, and closes that thread's connections afterwards.

    Args:
        shared: connections of a test, which those threads use instead and leave open.
    """

    def __init__(self, shared: Connections | None = None) -> None:
        self._shared: Connections = shared or {}

    def check_playground(self) -> None:
        refuse_playground_in_production()

    def for_request(self) -> Self:
        shared = connections_of_test()
        return type(self)(shared) if shared else self

    def sync_agent_scope(self) -> AbstractContextManager[None]:
        return shared_connections(self._shared)

    def async_agent_scope(self) -> AbstractAsyncContextManager[object]:
        return _ORMScope(self._shared)

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
