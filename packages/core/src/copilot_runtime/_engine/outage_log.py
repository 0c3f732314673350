"""Logs the first failure of an outage and its recovery, so that a broken store does not flood the log."""

from __future__ import annotations

import logging

logger = logging.getLogger("copilot_runtime.engine")


class OutageLog:
    """Logs when something that is tried again and again begins to fail, and when it works again.

    Args:
        what: what is tried, such as ``polling for stop requests``.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_failing = False

    def failed(self, error: Exception) -> None:
        """Logs the first failure in a row."""
        if not self._is_failing:
            self._is_failing = True
            logger.warning("%s failed, retrying", self._what, exc_info=error)

    def recovered(self) -> None:
        """Logs the first success after a failure."""
        if self._is_failing:
            self._is_failing = False
            logger.warning("%s recovered", self._what)
