"""Telling, once, of a WSGI server that cannot do what the runtime needs."""

from __future__ import annotations

import logging
from typing import Any

from .runtime import CopilotRuntime

logger = logging.getLogger("copilot_runtime.wsgi")

_ONE_AT_A_TIME = (
    "this worker serves one request at a time, so a stream blocks it%s. Use threads: gunicorn -k gthread --threads N, "
    "with N the number of chats you expect at once and a few to spare."
)
_SYNC_TIMEOUT = ", and gunicorn's sync worker kills every stream at --timeout"
_MANY_PROCESSES = (
    "this server has several processes and the runtime's store is one process's own: stop, connect and /threads reach "
    "the right process only by chance. Give the runtime a store that processes share, or run one process: "
    "gunicorn -w 1 -k gthread --threads N."
)


class WSGIDeploymentChecks:
    """Looks at the environ (PEP 3333) of a runtime's first request."""

    def __init__(self, runtime: CopilotRuntime) -> None:
        self._runtime = runtime
        self._is_given = False

    def check(self, environ: dict[str, Any]) -> None:
        """Warns where something will go wrong."""
        if self._is_given:
            return
        self._is_given = True
        if not environ.get("wsgi.multithread", True):
            is_gunicorn = str(environ.get("SERVER_SOFTWARE", "")).startswith("gunicorn")
            logger.warning(_ONE_AT_A_TIME, _SYNC_TIMEOUT if is_gunicorn else "")
        if environ.get("wsgi.multiprocess", False) and self._runtime.is_single_process:
            logger.warning(_MANY_PROCESSES)
