"""Whether the server of this process is shutting down, as far as it shows that to the code that it serves."""

from __future__ import annotations

import signal
from typing import NamedTuple


class ServerShutdown(NamedTuple):
    """A server that has begun to shut down."""

    limit_seconds: float | None
    """How long it waits for open responses, and 0 in development, where nobody wants to wait; None without a limit."""


def server_shutdown() -> ServerShutdown | None:
    """Returns whether the server has begun to shut down; None while it has not, or does not show it.

    WSGI has no event for this, and ASGI's comes only after the server has waited for its open responses. But uvicorn
    and gunicorn (its gthread and gevent workers) handle SIGTERM with a method of the object that knows. It is only
    looked at: signal handlers are the server's, and can be installed on the main thread alone.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if _is_a(server, "uvicorn.server", "Server") and getattr(server, "should_exit", None) is True:
        return _server_shutdown(getattr(server, "config", None), "timeout_graceful_shutdown")
    if _is_a(server, "gunicorn.workers.base", "Worker") and getattr(server, "alive", None) is False:
        return _server_shutdown(getattr(server, "cfg", None), "graceful_timeout")
    return None


def _is_a(server: object, module: str, name: str) -> bool:
    """Returns whether ``server`` is of that class, which this module does not import."""
    # Other programs' objects have an attribute `alive` as well, and runs must not end for what it means there.
    return any((base.__module__, base.__qualname__) == (module, name) for base in type(server).__mro__)


def _server_shutdown(config: object, limit: str) -> ServerShutdown:
    if getattr(config, "reload", False):
        return ServerShutdown(0.0)
    seconds = getattr(config, limit, None)
    return ServerShutdown(float(seconds) if isinstance(seconds, (int, float)) else None)
