"""Whether the server of this process is shutting down, as far as it shows that to the code that it serves."""

from __future__ import annotations

import signal
from typing import Any, NamedTuple


class ServerShutdown(NamedTuple):
    """A server that has begun to shut down. ``limit_seconds`` is how long it waits for open responses, if limited."""

    limit_seconds: float | None


def server_shutdown() -> ServerShutdown | None:
    """Returns whether the server has begun to shut down; None while it has not, or does not show it.

    WSGI has no event for this, and ASGI's comes only after the server has waited for its open responses. But uvicorn
    and gunicorn (its gthread and gevent workers) handle SIGTERM with a method of the object that knows. It is only
    looked at: signal handlers are the server's, and can be installed on the main thread alone.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if getattr(server, "should_exit", None) is True:  # uvicorn.Server
        return ServerShutdown(_number(server, "config", "timeout_graceful_shutdown"))
    if getattr(server, "alive", None) is False:  # gunicorn.workers.base.Worker
        return ServerShutdown(_number(server, "cfg", "graceful_timeout"))
    return None


def _number(server: Any, *names: str) -> float | None:
    value = server
    for name in names:
        value = getattr(value, name, None)
    return float(value) if isinstance(value, (int, float)) else None
