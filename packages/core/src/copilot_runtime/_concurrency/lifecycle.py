"""Runs callbacks in a forked child and at the end of the process."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - registers its exit handler, which has to run after this one
import logging
import os
import sys
import threading
import time
import weakref
from typing import Any, NamedTuple, Protocol

from .process_local import process_id, process_lock

logger = logging.getLogger("copilot_runtime.lifecycle")


class ProcessLifecycle(Protocol):
    """An object that owns threads, tasks or connections, which neither survive a fork nor outlive the process."""

    def after_fork(self) -> None:
        """Called in a new child process: nothing that ran in the parent runs here."""

    def at_exit(self, exiting_since: float) -> None:
        """Called when the process is about to exit, while its threads and executors still work. Perhaps repeatedly.

        Args:
            exiting_since: when that was first called, for any object, by the monotonic clock.
        """


class _Exiting(NamedTuple):
    process_id: int
    since: float


_exiting: _Exiting | None = None

_lifecycles: weakref.WeakSet[ProcessLifecycle] = weakref.WeakSet()
_pid = process_id()
_noticing = process_lock()


def register_lifecycle(lifecycle: ProcessLifecycle) -> None:
    """Calls an object's `after_fork` and `at_exit` for as long as it exists; holds no reference to it."""
    _lifecycles.add(lifecycle)


def notice_fork() -> None:
    """Calls `after_fork` if this is a new child process and nobody has done so.

    To be called before a request is handled: servers written in C, such as uWSGI, fork without Python's hooks.
    """
    if process_id() != _pid:
        with _noticing.get():
            if process_id() != _pid:
                _after_fork()


def _after_fork() -> None:
    global _pid
    for lifecycle in list(_lifecycles):
        lifecycle.after_fork()
    _pid = process_id()


def end_process_runs() -> None:
    """Calls `at_exit`. To be called by a hook of a server that knows earlier than the interpreter."""
    global _exiting
    if _exiting is None or _exiting.process_id != process_id():
        _exiting = _Exiting(process_id(), time.monotonic())
    for lifecycle in list(_lifecycles):
        try:
            lifecycle.at_exit(_exiting.since)
        except Exception:  # the others have runs as well
            logger.exception("runs could not be ended at the exit of the process")


def end_runs_at_uwsgi_exit() -> None:
    """Has uWSGI call `end_process_runs` when a worker exits, also if it then skips the interpreter's own exit.

    To be called in a worker, since what the application has set as ``uwsgi.atexit`` is called as well.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    own = getattr(uwsgi, "atexit", None)

    def exit_worker() -> None:
        end_process_runs()
        if own is not None:
            own()

    uwsgi.atexit = exit_worker


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
# Not `atexit`, if it can be avoided: before that, the interpreter waits for all executors to finish, gunicorn's worker
# threads among them. A thread that sends a stream ends only with its run, whose end takes an executor that still works.
getattr(threading, "_register_atexit", atexit.register)(end_process_runs)
