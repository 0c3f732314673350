"""The only place where threads and the event loop meet.

The pipeline is written once, as ``async def``. On ASGI it is awaited. On a WSGI thread
`drive` runs it to its end right there: whatever in it calls user code or waits goes
through `call`, which in a driven pipeline blocks the thread instead of suspending, so
that the coroutine never needs a loop of its own.

Runs live on a loop in both cases: the server's own, or one background loop per process
that is started when first needed (so after a fork) and anew in a forked child.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import inspect
import logging
import os
import queue
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from .framework import FrameworkContext, current_framework, guard_stop_iteration

logger = logging.getLogger("copilot_runtime.bridge")

T = TypeVar("T")


class StreamSource(Protocol):
    """What a stream is read from. Safe to use from any thread, one reader at a time."""

    def read_available(self) -> bytes | None:
        """All that is ready, joined; ``b""`` where nothing is; None at the end."""

    def add_waiter(self, wake: Callable[[], object]) -> bool:
        """Has ``wake`` called once there is something to take.

        False where there is already: then ``wake`` may never be called.
        """

    def close(self) -> None:
        """The reader is gone. May be called more than once."""


# --- reading a source --------------------------------------------------------


class SyncStreamIterator:
    """A source read on a thread, which sleeps while there is nothing to take.

    One that nobody holds any more closes its source: a framework may put another answer in
    the place of the one that it was in. The first chunk never waits: it is ``greeting`` where
    nothing is ready. A WSGI server holds the headers back until there is a chunk (PEP 3333,
    "Handling of Headers"), and an agent may take its time.
    """

    __slots__ = ("_greeting", "_source", "_wakes")

    def __init__(self, source: StreamSource, greeting: bytes = b"") -> None:
        self._source = source
        self._greeting = greeting
        # Looked up now and not at import: gevent patches the module later than that.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __iter__(self) -> SyncStreamIterator:
        return self

    def __next__(self) -> bytes:
        source, wakes = self._source, self._wakes
        if self._greeting:
            greeting, self._greeting = self._greeting, b""
            return source.read_available() or greeting
        while True:
            chunk = source.read_available()
            if chunk:
                return chunk
            if chunk is None:
                source.close()
                raise StopIteration
            if source.add_waiter(self._wake):
                wakes.get()

    def _wake(self) -> None:
        self._wakes.put(None)

    def close(self) -> None:
        """Closes the source and ends a wait that goes on in another thread."""
        self._source.close()
        self._wakes.put(None)

    def __del__(self) -> None:
        self._source.close()


class AsyncStreamIterator:
    """A source read by a task, which is suspended while there is nothing to take.

    May be made anywhere; the loop is that of the first step. One that nobody holds any more
    closes its source.
    """

    __slots__ = ("_future", "_loop", "_source", "_thread")

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._future: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncStreamIterator:
        return self

    async def __anext__(self) -> bytes:
        source = self._source
        while True:
            chunk = source.read_available()
            if chunk:
                return chunk
            if chunk is None:
                source.close()
                raise StopAsyncIteration
            if self._loop is None:
                self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
            future = self._future = self._loop.create_future()
            if source.add_waiter(self._wake):
                await future

    def _wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._resolve()
        elif self._loop is not None:
            call_soon_threadsafe(self._loop, self._resolve)

    def _resolve(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def close(self) -> None:
        """Closes the source and ends a wait that goes on, from any thread."""
        self._source.close()
        self._wake()

    def __del__(self) -> None:
        self._source.close()


# --- calling what users give us ----------------------------------------------


# A context variable and not the running loop decides: under gevent the greenlets of
# requests and the one of the loop share an OS thread, and so asyncio's "running loop".
_in_sync_driver: contextvars.ContextVar[bool] = contextvars.ContextVar("copilotkit_driven", default=False)


_call_timeout: contextvars.ContextVar[float | None] = contextvars.ContextVar("copilotkit_patience", default=None)
"""How long a driven pipeline waits for a coroutine, in seconds."""


def in_sync_driver() -> bool:
    """Whether this code runs in a pipeline that `drive` runs on a thread."""
    return _in_sync_driver.get()


async def call_user_function(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a plain or coroutine function of the user's and gives its result.

    Awaited: coroutine functions run here, plain ones as the host says, on a thread. Driven:
    plain ones run here, on the request's own thread, and coroutines on the background loop
    with a copy of this context (what they set in context variables does not come back).
    """
    driven = _in_sync_driver.get()
    if driven or is_coroutine_function(function):
        result = function(*args)
    else:
        result = await current_framework.get().run_sync_function(function, *args)
    if not inspect.isawaitable(result):
        return result
    if driven:
        return _run_on_background_loop(result)
    return await result


async def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Calls a function of ours that may block: on a thread, or here where this is one."""
    if in_sync_driver():
        return function(*args)
    work = partial(contextvars.copy_context().run, guard_stop_iteration, function, *args)
    return await asyncio.get_running_loop().run_in_executor(_pool(), work)


# Not the loop's own executor: a store that has to wait for its file must not hold up the users'
# plain functions, which go there. By process id, since threads do not survive a fork.
_pools: dict[int, ThreadPoolExecutor] = {}
_POOL_THREADS = 8


def _pool() -> ThreadPoolExecutor:
    pool = _pools.get(os.getpid())
    return pool or _pools.setdefault(os.getpid(), ThreadPoolExecutor(_POOL_THREADS, "copilotkit-blocking"))


async def wait_notified(park: Callable[[Callable[[], object]], bool], seconds: float) -> None:
    """Waits until what ``park`` was given is called, or so many seconds; not at all where ``park`` gives False."""
    if in_sync_driver():
        wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        if park(lambda: wakes.put(None)):
            try:
                wakes.get(timeout=seconds)
            except queue.Empty:
                pass
        return
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    if park(lambda: call_soon_threadsafe(loop, event.set)):
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass


async def sleep(seconds: float) -> None:
    """Waits so many seconds."""
    await wait_notified(lambda wake: True, seconds)


class SelfCancelledError(BaseException):
    """What was awaited has cancelled itself, or tried to end the process: nobody has asked it to."""


async def with_timeout(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Awaits ``work`` for at most so many seconds. Raises TimeoutError, Abandoned, and what ``work`` raises.

    In a driven pipeline the bound is on what `call` waits for on the background loop.
    """
    if in_sync_driver():
        token = _call_timeout.set(seconds)
        try:
            return await work
        except (asyncio.CancelledError, SystemExit, KeyboardInterrupt) as ended:
            raise SelfCancelledError(repr(ended)) from ended
        finally:
            _call_timeout.reset(token)

    async def carried() -> tuple[T | None, BaseException | None]:
        try:
            return await work, None
        except (SystemExit, KeyboardInterrupt) as ended:  # let out of a task, they end the loop
            return None, ended

    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        result, error = await asyncio.wait_for(carried(), seconds)
    except asyncio.CancelledError as cancelled:
        if task is not None and task.cancelling() > before:
            raise
        raise SelfCancelledError(repr(cancelled)) from cancelled
    if error is not None:
        raise SelfCancelledError(repr(error)) from error
    return cast(T, result)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; objects with an async ``__call__`` count."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is wanted
    )


def run_sync(coroutine: Coroutine[Any, Any, T], host: FrameworkContext | None = None) -> T:
    """Runs a pipeline on this thread. It must wait for nothing but `call` and `blocking`.

    What it sets in context variables is seen until it ends, and not by the next request that
    a server has this thread serve. Raises RuntimeError, naming the place, where it suspends
    on anything else.
    """
    return contextvars.copy_context().run(_drive, coroutine, host)


def _drive(coroutine: Coroutine[Any, Any, T], framework: FrameworkContext | None) -> T:
    _in_sync_driver.set(True)
    if framework is not None:
        current_framework.set(framework)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    place = _suspension_point(coroutine)
    coroutine.close()
    raise RuntimeError(f"{place} waits for an event loop, and this thread has none: await it through bridge.call()")


def _suspension_point(coroutine: Any) -> str:
    while getattr(coroutine, "cr_await", None) is not None:
        inner = coroutine.cr_await
        if not inspect.iscoroutine(inner):
            break
        coroutine = inner
    return f"{coroutine.__qualname__} ({coroutine.cr_code.co_filename}:{coroutine.cr_frame.f_lineno})"


def _run_on_background_loop(awaitable: Awaitable[T]) -> T:
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    async def finish() -> None:
        try:
            async with current_framework.get().background_scope():
                result = await awaitable
        except BaseException as error:  # not let out: SystemExit would end the loop that all share
            answers.put((None, error))
        else:
            answers.put((result, None))

    create_task_threadsafe(background_loop(), finish())
    try:
        result, error = answers.get(timeout=_call_timeout.get())
    except queue.Empty:
        raise TimeoutError("it took too long") from None
    if error is not None:
        raise error
    return cast(T, result)


class LazyThreadExecutor(ThreadPoolExecutor):
    """One thread, made when it is first given something to do."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name)
        self._is_used = False

    def submit(self, function: Callable[..., T], /, *args: Any, **named: Any) -> Future[T]:
        self._is_used = True
        return super().submit(function, *args, **named)

    async def end(self, last: Callable[[], object]) -> None:
        """Has it do ``last``, after all that it was given, whoever still waits for that; nothing if it was not used."""
        if self._is_used:
            done = self.submit(last)
            self.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(done))


# --- loops and tasks ---------------------------------------------------------

_tasks: set[asyncio.Task[Any]] = set()


def target_loop() -> asyncio.AbstractEventLoop:
    """The loop on which what this request starts will live."""
    return background_loop() if in_sync_driver() else asyncio.get_running_loop()


def call_soon_threadsafe(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> bool:
    """Has a loop call a function soon, from any thread. False where that loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:  # closed: nobody is left to be told
        return False
    return True


def is_running_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is a task or callback of ``loop`` (and not of a request's thread)."""
    return not in_sync_driver() and asyncio._get_running_loop() is loop


def create_task_threadsafe(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, object]) -> None:
    """Starts a task on a loop, from any thread, with a copy of the caller's context."""
    context = contextvars.copy_context()
    context.run(_in_sync_driver.set, False)

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    if is_running_on(loop):
        start()
    elif not call_soon_threadsafe(loop, start):
        coroutine.close()
        raise RuntimeError("the event loop of this request has been closed")


def start_thread(function: Callable[..., object], *args: Any, name: str) -> None:
    """Starts a daemon thread with a copy of the caller's context."""
    context = contextvars.copy_context()
    context.run(_in_sync_driver.set, True)
    threading.Thread(target=context.run, args=(function, *args), name=name, daemon=True).start()


class _BackgroundLoop:
    """The process's own loop, on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()

    def start(self) -> None:
        self.loop.call_soon(self.ready.set)
        threading.Thread(target=self._run, name="copilotkit-loop", daemon=True).start()

    def _run(self) -> None:
        while not self.loop.is_closed():
            try:
                self.loop.run_forever()
                return
            except BaseException:  # a task raised SystemExit: the others have nothing to do with it
                logger.exception("a task tried to end the process; the background loop goes on")


# By process id, so that a forked child starts its own. One atomic step decides who
# starts it: a lock made before gevent patches the threading module must not be held
# while starting a thread, since that switches greenlets.
_backgrounds: dict[int, _BackgroundLoop] = {}


def background_loop() -> asyncio.AbstractEventLoop:
    """The process's background loop, started on first use."""
    running = _backgrounds.get(os.getpid())
    if running is None:
        mine = _BackgroundLoop()
        running = _backgrounds.setdefault(os.getpid(), mine)
        if running is mine:
            mine.start()
        else:
            mine.loop.close()
    if not running.ready.is_set():
        running.ready.wait()
    return running.loop


def running_background_loop() -> asyncio.AbstractEventLoop | None:
    """The background loop where this process has one."""
    running = _backgrounds.get(os.getpid())
    return None if running is None else running.loop


# --- the process's life ------------------------------------------------------


class ProcessLifecycle(Protocol):
    """What has to be told of a fork and of the process's end."""

    def after_fork(self) -> None:
        """This is a new child: what ran in the parent does not run here."""

    def at_exit(self) -> None:
        """The process is about to end."""


_lifecycles: weakref.WeakSet[ProcessLifecycle] = weakref.WeakSet()


def register_lifecycle(life: ProcessLifecycle) -> None:
    """Has an object told of forks and of the process's end, for as long as it lives."""
    _lifecycles.add(life)


def _after_fork() -> None:
    for life in list(_lifecycles):
        life.after_fork()


def _at_exit() -> None:
    for life in list(_lifecycles):
        life.at_exit()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
