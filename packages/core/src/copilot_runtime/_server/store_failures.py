"""Logs requests that failed because of the store: an outage, which fails all of them, must not flood the log."""

from __future__ import annotations

import logging
import time

from .._engine.endings import describe_error

logger = logging.getLogger("copilot_runtime.handler")

TRACEBACK_SECONDS = 10.0
"""How long failures of the same kind are logged without a traceback after one with it."""


class StoreFailureLog:
    """Logs each failure in a line, and some of them with a traceback."""

    def __init__(self) -> None:
        self._shown_at: dict[type[BaseException], float] = {}

    def log(self, error: BaseException) -> None:
        """Logs a failure."""
        now = time.monotonic()
        shown_at = self._shown_at.get(type(error))
        is_repeated = shown_at is not None and now - shown_at < TRACEBACK_SECONDS
        if not is_repeated:
            self._shown_at[type(error)] = now
        logger.error("the store failed: %s", describe_error(error), exc_info=None if is_repeated else error)
