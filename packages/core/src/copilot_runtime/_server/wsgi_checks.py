"""Warnings about WSGI servers that cannot stream or share state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .._concurrency.lifecycle import end_runs_at_uwsgi_exit
from .._concurrency.server_shutdown import note_server
from .runtime import CopilotRuntime

logger = logging.getLogger("copilot_runtime.wsgi")

_ONE_AT_A_TIME = (
    "this worker handles one request at a time, so a stream blocks it%s. Use threads: gunicorn -k gthread --threads N, "
    "with N the number of chats that you expect at once and a few to spare."
)
_SYNC_TIMEOUT = ", and gunicorn's sync worker ends every stream after --timeout"
_MANY_PROCESSES = (
    "this server has several processes and the runtime's store is local to each: stop, connect and /threads reach the "
    "right process only by chance. Use a store that processes share, or one process: "
    "gunicorn -w 1 -k gthread --threads N."
)
_SERVER_VARIABLES = ("SERVER_SOFTWARE", "GATEWAY_INTERFACE", "REMOTE_PORT", "uwsgi.version", "mod_wsgi.version")
"""Every server sets one of these, which say what it is or on which connection the request came. Test clients, which
call the application in process, set none of them, whether Werkzeug's, Flask's, Django's or WebTest's."""


class WSGIDeploymentChecks:
    """Checks the environ (PEP 3333) of the first request that comes from a server, and not from a test client.

    Args:
        runtime: the runtime that the WSGI application serves.
    """

    def __init__(self, runtime: CopilotRuntime) -> None:
        self._runtime = runtime
        self._is_done = False

    def check(self, environ: Mapping[str, Any]) -> None:
        """Logs a warning for each thing that will not work. Does nothing on further calls."""
        if self._is_done or not any(name in environ for name in _SERVER_VARIABLES):
            return
        self._is_done = True
        note_server()
        if "uwsgi.version" in environ:
            end_runs_at_uwsgi_exit()
        if not environ.get("wsgi.multithread", True):
            is_gunicorn = str(environ.get("SERVER_SOFTWARE", "")).startswith("gunicorn")
            logger.warning(_ONE_AT_A_TIME, _SYNC_TIMEOUT if is_gunicorn else "")
        if environ.get("wsgi.multiprocess", False) and self._runtime.is_single_process:
            logger.warning(_MANY_PROCESSES)
