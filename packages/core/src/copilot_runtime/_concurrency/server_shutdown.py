"""Whether the server of this process is shutting down, as far as it shows that to the code that it serves."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading

# Not that of `signal`, which raises and catches an exception for a handler without a name: 20 times a second here.
from _signal import getsignal  # type: ignore[import-not-found]
from typing import Any, NamedTuple

from .process_local import process_id


class ServerShutdown(NamedTuple):
    """A server that has begun to shut down."""

    limit_seconds: float | None
    """How long it waits for open responses, and 0 if nobody wants to wait; None without a limit."""
    tasks: set[asyncio.Task[Any]] | None = None
    """What it waits for beside its connections. None if no task can be added."""
    accepts_requests: bool = False
    """Whether requests that still reach it are as welcome as ever: it only makes room for a new process after a number
    of requests, and passes on the last one of them when it has begun to shut down."""
    exit_seconds: float | None = None
    """How long the process may take to exit after that before it is killed. None if nobody kills it."""

    def wait_for(self, task: asyncio.Task[Any]) -> None:
        """Has the server wait for a task of the running loop too, for no longer than it waits for its responses.

        uvicorn ends with the signal itself, which leaves no time for exit handlers. An application whose framework
        passes on no lifespan events, such as one below Starlette's ``mount``, has no other time to end its runs.
        """
        # Signal handlers run on the main thread only, and so does the loop of a server that has one.
        if self.tasks is not None and threading.current_thread() is threading.main_thread():
            # Not the task itself, because the server cancels what it has waited for too long.
            waiting: asyncio.Task[Any] = asyncio.ensure_future(_wait(task))
            self.tasks.add(waiting)
            waiting.add_done_callback(self.tasks.discard)


def server_shutdown() -> ServerShutdown | None:
    """Returns whether the server has begun to shut down; None while it has not, or does not show it.

    WSGI has no event for this, and ASGI's comes only after the server has waited for its open responses. But uvicorn
    and gunicorn (its gthread and gevent workers) handle SIGTERM with a method of the object that knows. It is only
    looked at: signal handlers are the server's, and can be installed on the main thread alone. gunicorn's hooks, where
    they are used, are called with the worker, which is then known whatever it does with signals.
    """
    server = _handler_object(signal.SIGTERM)
    if _is_a(server, *_UVICORN) and (getattr(server, "should_exit", None) is True or _has_closed(server)):
        return _uvicorn_shutdown(server)
    worker = server if _is_a(server, *_GUNICORN) else _noted_worker()
    if worker is not None and getattr(worker, "alive", None) is False:
        return _gunicorn_shutdown(worker)
    return None


def ends_by_signal() -> bool:
    """Returns whether this process's server ends by the signal that it has received, without exit handlers: uvicorn."""
    return _is_a(_handler_object(signal.SIGTERM), *_UVICORN)


def note_gunicorn_worker(worker: object) -> None:
    """Notes the gunicorn worker of this process."""
    global _worker
    _worker = (process_id(), worker)


def note_quick_shutdown() -> None:
    """Notes that this process's server ends without waiting: nobody wants it to."""
    global _quick_process_id
    _quick_process_id = process_id()


def note_server() -> None:
    """Notes that this process answers requests of a server, and not only those of a script or of tests."""
    global _serving_process_id
    _serving_process_id = process_id()


def waits_at_exit() -> bool:
    """Returns whether this process may take its time to exit.

    That is one with a server, unless nobody wants to wait: reloaders end it whenever the application's code changes.
    """
    if _quick_process_id == process_id():
        return False
    has_server = _serving_process_id == process_id() or server_shutdown() is not None
    return has_server and not any(os.environ.get(name) == "true" for name in ("RUN_MAIN", "WERKZEUG_RUN_MAIN"))


_UVICORN = ("uvicorn.server", "Server")
_GUNICORN = ("gunicorn.workers.base", "Worker")

_worker: tuple[int, object] | None = None
_quick_process_id: int | None = None
_serving_process_id: int | None = None


def _noted_worker() -> object | None:
    return _worker[1] if _worker is not None and _worker[0] == process_id() else None


def _uvicorn_shutdown(server: object) -> ServerShutdown:
    worker = _handler_object(getattr(signal, "SIGUSR1", signal.SIGTERM))
    limits = [
        _limit(getattr(server, "config", None), "timeout_graceful_shutdown"),
        # A uvicorn that is a worker of gunicorn does not know when gunicorn kills it.
        _limit(getattr(worker, "cfg", None), "graceful_timeout") if _is_a(worker, *_GUNICORN) else None,
    ]
    tasks = getattr(getattr(server, "server_state", None), "tasks", None)
    return ServerShutdown(
        min((limit for limit in limits if limit is not None), default=None),
        tasks if isinstance(tasks, set) else None,
        accepts_requests=getattr(server, "should_exit", None) is not True,
    )


def _gunicorn_shutdown(worker: object) -> ServerShutdown:
    config = getattr(worker, "cfg", None)
    served, limit = getattr(worker, "nr", 0), getattr(worker, "max_requests", 0)
    return ServerShutdown(
        0.0 if _quick_process_id == process_id() else _limit(config, "graceful_timeout"),
        accepts_requests=0 < limit <= served,
        # Once the worker no longer runs, it does not show that it is alive.
        exit_seconds=_limit(config, "timeout") or None,
    )


def _handler_object(number: signal.Signals) -> object:
    """Returns the object whose method handles a signal."""
    return getattr(getsignal(number), "__self__", None)


def _has_closed(server: object) -> bool:
    """Returns whether a uvicorn accepts no more connections, as after ``--limit-max-requests``."""
    listeners: list[asyncio.Server] = getattr(server, "servers", [])
    return bool(listeners) and not any(listener.is_serving() for listener in listeners)


async def _wait(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


def _is_a(server: object, module: str, name: str) -> bool:
    """Returns whether ``server`` is of that class, which this module does not import."""
    return _has_class(type(server).__mro__, module, name)


@functools.lru_cache(maxsize=8)  # as the server is looked at 20 times a second
def _has_class(bases: tuple[type, ...], module: str, name: str) -> bool:
    # Other programs' objects have an attribute `alive` as well, and runs must not end for what it means there.
    return any((base.__module__, base.__qualname__) == (module, name) for base in bases)


def _limit(config: object, option: str) -> float | None:
    """Returns how long a server waits, by that option of its configuration."""
    if getattr(config, "reload", False):
        return 0.0
    seconds = getattr(config, option, None)
    return float(seconds) if isinstance(seconds, (int, float)) else None
