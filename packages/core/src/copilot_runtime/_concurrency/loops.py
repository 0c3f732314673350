"""Event loops: which one this code belongs to, the process's background loop, and tasks and threads on them.

Runs live on a loop: the server's own under ASGI, and under WSGI one background loop per process. That one is
started when it is first needed (so after a fork), and anew in a forked child.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from .process_local import ProcessLocal, process_rlock
from .wake import wake_relay

logger = logging.getLogger("copilot_runtime.loops")

# A context variable and not the running loop decides: under gevent the greenlets of
# requests and the one of the loop share an OS thread, and so asyncio's "running loop".
in_sync_driver_var: contextvars.ContextVar[bool] = contextvars.ContextVar("copilot_in_sync_driver", default=False)


def in_sync_driver() -> bool:
    """Returns whether this code runs in a pipeline that `run_sync` runs on a thread, without an event loop."""
    return in_sync_driver_var.get()


def target_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop on which what this request starts will live."""
    return background_loop() if in_sync_driver_var.get() else asyncio.get_running_loop()


def running_loop(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Returns ``loop`` if it runs, and otherwise the background loop; always that one if this code runs on it."""
    # Not another loop of this code, which may be about to end as well.
    background = running_background_loop()
    is_lasting = background is not None and is_running_on(background)
    return loop if loop.is_running() and not is_lasting else background_loop()


class _Inbox:
    """The functions that other threads have an event loop call, in order, with one wake for all that come before it.

    A wake is a system call, for which a thread releases the interpreter's lock and then has to wait for it again. Of 16
    worker threads that begin runs, one in seven wakes the loop.
    """

    __slots__ = ("__weakref__", "_functions", "_is_scheduled")

    def __init__(self) -> None:
        self._functions: deque[tuple[contextvars.Context, Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_scheduled = False

    def put(self, loop: asyncio.AbstractEventLoop, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Has the loop call a function. Raises RuntimeError if the loop is closed."""
        self._functions.append((contextvars.copy_context(), function, args))
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                loop.call_soon_threadsafe(self._call_all, loop)
            except BaseException:  # such as what a signal handler raises
                self._is_scheduled = False
                raise

    def _call_all(self, loop: asyncio.AbstractEventLoop) -> None:
        # Before the count: whoever adds a function after it schedules another call.
        self._is_scheduled = False
        count = len(self._functions)
        try:
            while count:
                count -= 1
                context, function, args = self._functions.popleft()
                context.run(function, *args)
        finally:
            if count:  # a function has raised, which the loop reports
                self._is_scheduled = True
                loop.call_soon(self._call_all, loop)


_inboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Inbox]] = weakref.WeakKeyDictionary()
"""An inbox with functions is kept by its loop, which drops it when it is closed: a function may refer to the loop."""


# Reentrant: an abandoned stream is closed wherever the garbage collector happens to run.
_inboxes_lock = process_rlock()


def _find_inbox(loop: asyncio.AbstractEventLoop) -> _Inbox | None:
    reference = _inboxes.get(loop)
    return None if reference is None else reference()


def _create_inbox(loop: asyncio.AbstractEventLoop) -> _Inbox:
    created = _Inbox()
    with _inboxes_lock.get():
        # Another thread may have been faster. With two, the second call of a thread could come before its first.
        inbox = _find_inbox(loop)
        if inbox is None:
            inbox = created
            _inboxes[loop] = weakref.ref(created)
    return inbox


def call_soon_threadsafe(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> bool:
    """Has a loop call a function soon, from any thread. Returns False if the loop is closed."""
    if loop.is_closed():
        return False
    try:
        (_find_inbox(loop) or _create_inbox(loop)).put(loop, function, args)
    except RuntimeError:  # it has been closed meanwhile
        return False
    return True


def is_running_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether this is a task or callback of ``loop`` (and not code on a request's thread)."""
    return not in_sync_driver_var.get() and asyncio._get_running_loop() is loop


def would_block_loop() -> bool:
    """Returns whether an event loop stands still while this code waits."""
    loop = asyncio._get_running_loop()
    if loop is None or in_sync_driver():
        return False
    # Below gevent, the background loop seems to run wherever this is called.
    return loop is not running_background_loop() or threading.get_ident() == _background.get().thread_id


_tasks: set[asyncio.Task[Any]] = set()
"""Strong references to tasks that wait: an event loop itself holds its tasks weakly."""


def create_task_threadsafe(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, object],
    *,
    after_first_step: Callable[[], object] | None = None,
) -> None:
    """Starts a task on a loop, from any thread, with a copy of the caller's context.

    Args:
        loop: the loop.
        coroutine: what the task runs.
        after_first_step: called on the loop when the task has ended or waits for the first time.

    Raises:
        RuntimeError: the loop is closed.
    """
    if is_running_on(loop):
        _start_task(loop, coroutine, None, after_first_step)
    elif not call_soon_threadsafe(loop, _start_task, loop, coroutine, copy_loop_context(), after_first_step):
        coroutine.close()
        raise RuntimeError("the event loop of this request has been closed")


def hold_task(task: asyncio.Task[Any]) -> None:
    """Keeps a task in memory until it is done. To be called on its loop, or once that no longer runs."""
    if not task.done():  # or the loop, which may be closed, would have to call back
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


def _start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, object],
    context: contextvars.Context | None,
    after_first_step: Callable[[], object] | None,
) -> None:
    task = loop.create_task(coroutine, context=context)  # without a context, it takes a copy of this one
    loop.call_soon(_hold_if_pending, task, after_first_step)  # after the task's first step: a loop calls in order


def _hold_if_pending(task: asyncio.Task[Any], after_first_step: Callable[[], object] | None) -> None:
    # Not before: most runs are done by now, and a done callback takes one more turn of the loop.
    hold_task(task)
    if after_first_step is not None:
        after_first_step()


def copy_loop_context() -> contextvars.Context:
    """Returns a copy of the caller's context, for code that runs on an event loop."""
    context = contextvars.copy_context()
    if in_sync_driver_var.get():
        context.run(in_sync_driver_var.set, False)
    return context


def run_in_context(context: contextvars.Context, function: Callable[..., object], *args: Any) -> None:
    """Calls a function in a copy of a context, in which `in_sync_driver` returns the same as here."""
    context = context.copy()
    context.run(in_sync_driver_var.set, in_sync_driver())
    context.run(function, *args)


def start_thread(function: Callable[..., object], *args: Any, name: str) -> None:
    """Starts a daemon thread with a copy of the caller's context."""
    context = contextvars.copy_context()
    context.run(in_sync_driver_var.set, True)
    threading.Thread(target=context.run, args=(function, *args), name=name, daemon=True).start()


class _BackgroundLoop:
    """The process's own event loop, on a thread of its own."""

    loop: asyncio.AbstractEventLoop
    """Set once it is ``ready``."""
    thread_id: int | None = None
    """That of its OS thread or, below gevent, of its greenlet."""
    _inbox: _Inbox
    """Kept for as long as the loop, or nearly every run would create one."""

    def __init__(self) -> None:
        self.ready = threading.Event()

    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        wake_relay.get().watch(self.loop)
        self._inbox = _create_inbox(self.loop)
        self.loop.call_soon(self.ready.set)
        try:
            threading.Thread(target=self._run, name="copilot-runtime-loop", daemon=True).start()
        except BaseException:
            self.loop.close()
            self.ready.set()  # those who wait for it find it closed
            raise

    def _run(self) -> None:
        self.thread_id = threading.get_ident()
        while not self.loop.is_closed():
            try:
                self.loop.run_forever()
                return
            except BaseException:  # the other tasks have nothing to do with it
                logger.exception("a task raised SystemExit; the background loop keeps running")
            finally:
                wake_relay.get().end_turn()


_background: ProcessLocal[_BackgroundLoop] = ProcessLocal(_BackgroundLoop, _BackgroundLoop.start)


def background_loop() -> asyncio.AbstractEventLoop:
    """Returns the process's background loop, which is started on first use."""
    background = _background.get()
    if not background.ready.is_set():
        background.ready.wait()
    return background.loop


def running_background_loop() -> asyncio.AbstractEventLoop | None:
    """Returns the background loop if this process has started one."""
    background = _background.get_existing()
    return background.loop if background is not None and background.ready.is_set() else None
