"""Runs the pipeline on a thread or on an event loop, and calls user code from either.

The pipeline is written once, as ``async def``. On ASGI it is awaited. On a WSGI thread `run_sync` runs it to its
end right there: whatever in it calls user code or waits goes through the functions of this module, which block the
thread in that case instead of suspending, so that the coroutine never needs an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

from .framework import FrameworkContext, current_framework
from .loops import background_loop, call_soon_threadsafe, create_task_threadsafe, in_sync_driver, in_sync_driver_var
from .process_local import ProcessLocal
from .waiters import Notify
from .wake import wake_relay
from .worker_pools import HOOKS, READS, WorkerPool, current_pool, run_in_executor

T = TypeVar("T")

_call_timeout: contextvars.ContextVar[float | None] = contextvars.ContextVar("copilot_call_timeout", default=None)
"""How long `run_sync` waits for a coroutine on the background loop, in seconds."""


# --- user code ---------------------------------------------------------------


async def call_user_function(function: Callable[..., Any], *args: Any, pool: WorkerPool = HOOKS) -> Any:
    """Calls a plain or coroutine function of the application and returns its result.

    Args:
        function: the function.
        *args: its arguments.
        pool: the worker threads for plain functions of this kind, unless the framework has its own.

    On an event loop, coroutine functions run right here, and plain ones as the framework wants it, on a thread.
    Below `run_sync`, plain ones run right here, on the request's own thread, and coroutines on the background loop,
    with a copy of this context (what they set in context variables is not seen here).
    """
    is_sync = in_sync_driver()
    if is_sync or is_coroutine_function(function):
        result = function(*args)
    else:
        current_pool.set(pool)
        result = await current_framework.get().run_sync_function(function, *args)
    if not inspect.isawaitable(result):
        return result
    if is_sync:
        return _run_on_background_loop(result)
    return await result


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Returns whether calling ``function`` returns a coroutine; objects with an async ``__call__`` count."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is wanted
    )


# --- blocking and waiting ----------------------------------------------------


async def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Calls a function of the runtime that may block: on a pool thread, or right here if this is no event loop."""
    if in_sync_driver():
        return function(*args)
    return await run_in_executor(_pool.get(), function, *args)


def start_blocking(function: Callable[..., object], *args: Any) -> None:
    """Has a pool thread call a function of the runtime that may block, and raises nothing."""
    _pool.get().submit(function, *args)


async def run_off_loop(function: Callable[..., T], *args: Any) -> T:
    """Calls a function of the runtime that computes for long: on a worker thread, or right here if this is no loop."""
    if in_sync_driver():
        return function(*args)
    return await READS.call(function, *args)


# Not the loop's own executor: a store that has to wait for its file must not hold up the users'
# plain functions, which go there.
_POOL_THREADS = 8
_pool = ProcessLocal(lambda: ThreadPoolExecutor(_POOL_THREADS, "copilot-runtime-blocking"))


async def wait_notified(add_waiter: Callable[[Notify], bool], timeout_seconds: float) -> None:
    """Waits until the callback that ``add_waiter`` gets is called, or for ``timeout_seconds``.

    Does not wait if ``add_waiter`` returns False: what is waited for has happened already.
    """
    if in_sync_driver():
        notified: queue.SimpleQueue[None] = queue.SimpleQueue()
        if add_waiter(lambda: notified.put(None)):
            try:
                notified.get(timeout=timeout_seconds)
            except queue.Empty:
                pass
        return
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    if add_waiter(lambda: call_soon_threadsafe(loop, event.set)):
        try:
            await asyncio.wait_for(event.wait(), timeout_seconds)
        except TimeoutError:
            pass


async def wait_while(is_pending: Callable[[], bool], add_waiter: Callable[[Notify], object], deadline: float) -> None:
    """Waits until ``is_pending`` returns False, or until ``deadline`` on the monotonic clock.

    ``add_waiter`` adds a callback for the next change.
    """

    def add_if_pending(notify: Notify) -> bool:
        add_waiter(notify)
        return is_pending()

    while is_pending() and (left := deadline - time.monotonic()) > 0:
        await wait_notified(add_if_pending, left)


async def sleep(seconds: float) -> None:
    """Waits for ``seconds``, on a thread or on an event loop."""
    if in_sync_driver():
        time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop here
    else:
        await asyncio.sleep(seconds)


class SelfCancelledError(BaseException):
    """The awaited code cancelled itself or raised SystemExit or KeyboardInterrupt, although nobody cancelled it."""


async def with_timeout(timeout_seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Awaits ``work`` for at most ``timeout_seconds``.

    Below `run_sync` the limit is on what `call_user_function` waits for on the background loop. Raises TimeoutError,
    SelfCancelledError, and whatever ``work`` raises.
    """
    if in_sync_driver():
        token = _call_timeout.set(timeout_seconds)
        try:
            return await work
        except (asyncio.CancelledError, SystemExit, KeyboardInterrupt) as ended:
            raise SelfCancelledError(repr(ended)) from ended
        finally:
            _call_timeout.reset(token)

    async def carry() -> tuple[T | None, BaseException | None]:
        try:
            return await work, None
        except (SystemExit, KeyboardInterrupt) as ended:  # raised out of a task, they end the loop
            return None, ended

    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        result, error = await asyncio.wait_for(carry(), timeout_seconds)
    except asyncio.CancelledError as cancelled:
        if task is not None and task.cancelling() > before:
            raise
        raise SelfCancelledError(repr(cancelled)) from cancelled
    if error is not None:
        raise SelfCancelledError(repr(error)) from error
    return cast(T, result)


# --- running the pipeline on a thread ----------------------------------------


def run_sync(coroutine: Coroutine[Any, Any, T], framework: FrameworkContext | None = None) -> T:
    """Runs a pipeline to its end on this thread and returns its result.

    The coroutine must wait for nothing but the functions of this module. What it sets in context variables is seen
    until it ends, and not by the next request that a server has this thread serve. Raises what the coroutine raises,
    and RuntimeError, naming the place, where it suspends on anything else.
    """
    return contextvars.copy_context().run(_run_in_context, coroutine, framework)


def _run_in_context(coroutine: Coroutine[Any, Any, T], framework: FrameworkContext | None) -> T:
    in_sync_driver_var.set(True)
    if framework is not None:
        current_framework.set(framework.for_request())
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    place = _suspension_point(coroutine)
    coroutine.close()
    raise RuntimeError(f"{place} waits for an event loop, and this thread has none: use call_user_function()")


def _suspension_point(coroutine: Any) -> str:
    while getattr(coroutine, "cr_await", None) is not None:
        inner = coroutine.cr_await
        if not inspect.iscoroutine(inner):
            break
        coroutine = inner
    return f"{coroutine.__qualname__} ({coroutine.cr_code.co_filename}:{coroutine.cr_frame.f_lineno})"


def _run_on_background_loop(awaitable: Awaitable[T]) -> T:
    requests_thread = _RequestThread()

    async def finish() -> None:
        _request_thread.set(requests_thread)
        try:
            async with current_framework.get().background_scope():
                result = await awaitable
        except BaseException as error:  # not raised here: SystemExit would end the loop that all requests share
            requests_thread.end(None, error)
        else:
            requests_thread.end(result, None)

    create_task_threadsafe(background_loop(), finish())
    result, error = requests_thread.work(_call_timeout.get())
    if error is not None:
        raise error
    return cast(T, result)


class _RequestThread:
    """The worker thread of a request, which waits for a coroutine on the background loop and works for it meanwhile.

    What belongs to the request may be of use on that thread only.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        self._has_ended = False

    def end(self, result: object, error: BaseException | None) -> None:
        self._outcome, self._has_ended = (result, error), True
        wake_relay.get().wake(self._end_work)

    def _end_work(self) -> bool:
        self._queue.put(None)
        return False

    def work(self, timeout_seconds: float | None) -> tuple[Any, BaseException | None]:
        """Calls functions until the coroutine has ended, and returns how. Raises TimeoutError."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        try:
            while function := self._queue.get(
                timeout=None if deadline is None else max(0, deadline - time.monotonic())
            ):
                function()
        except queue.Empty:
            self._has_ended = True
            raise TimeoutError("it took too long") from None
        return self._outcome

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Has the thread call a function. Raises RuntimeError if the thread does not wait any more."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._queue.put(run)
        # Asked afterwards, since the thread may have stopped waiting just before, and nobody would call the function.
        if self._has_ended and future.cancel():
            raise RuntimeError("the request has been answered")
        return future


_request_thread: contextvars.ContextVar[_RequestThread | None] = contextvars.ContextVar(
    "copilot_request_thread", default=None
)
"""The thread that waits for this coroutine, if it runs on the background loop for a request."""


async def run_on_request_thread(function: Callable[..., T], *args: Any) -> T:
    """Calls a function on the worker thread of the request that waits for this coroutine; right here if none does."""
    thread = _request_thread.get()
    return function(*args) if thread is None else await asyncio.wrap_future(thread.submit(function, *args))


def wait_for_request_thread(function: Callable[..., T], *args: Any) -> T:
    """Does the same from a thread that such a coroutine has started."""
    thread = _request_thread.get()
    return function(*args) if thread is None else thread.submit(function, *args).result()
