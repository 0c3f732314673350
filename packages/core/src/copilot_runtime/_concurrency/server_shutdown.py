"""Whether the server of this process is shutting down, as far as it shows that to the code that it serves."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any, NamedTuple


class ServerShutdown(NamedTuple):
    """A server that has begun to shut down."""

    limit_seconds: float | None
    """How long it waits for open responses, and 0 in development, where nobody wants to wait; None without a limit."""
    tasks: set[asyncio.Task[Any]] | None = None
    """What it waits for beside its connections. None if no task can be added."""

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
    looked at: signal handlers are the server's, and can be installed on the main thread alone.
    """
    server = _handler_object(signal.SIGTERM)
    if _is_a(server, *_UVICORN) and (getattr(server, "should_exit", None) is True or _has_closed(server)):
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
        )
    if _is_a(server, *_GUNICORN) and getattr(server, "alive", None) is False:
        return ServerShutdown(_limit(getattr(server, "cfg", None), "graceful_timeout"))
    return None


_UVICORN = ("uvicorn.server", "Server")
_GUNICORN = ("gunicorn.workers.base", "Worker")


def _handler_object(number: signal.Signals) -> object:
    """Returns the object whose method handles a signal."""
    return getattr(signal.getsignal(number), "__self__", None)


def _has_closed(server: object) -> bool:
    """Returns whether a uvicorn accepts no more connections, as after ``--limit-max-requests``."""
    listeners: list[asyncio.Server] = getattr(server, "servers", [])
    return bool(listeners) and not any(listener.is_serving() for listener in listeners)


async def _wait(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


def _is_a(server: object, module: str, name: str) -> bool:
    """Returns whether ``server`` is of that class, which this module does not import."""
    # Other programs' objects have an attribute `alive` as well, and runs must not end for what it means there.
    return any((base.__module__, base.__qualname__) == (module, name) for base in type(server).__mro__)


def _limit(config: object, option: str) -> float | None:
    """Returns how long a server waits, by that option of its configuration."""
    if getattr(config, "reload", False):
        return 0.0
    seconds = getattr(config, option, None)
    return float(seconds) if isinstance(seconds, (int, float)) else None
