"""Complaining of what fails many times a second without filling the log."""

from __future__ import annotations

import logging

logger = logging.getLogger("copilot_runtime.engine")


class OutageLog:
    """Logs the first failure of a row, and its end. ``what`` does not work: ``the store does not ...``."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_on = False

    def failed(self, error: Exception) -> None:
        """It has failed."""
        if not self._is_on:
            self._is_on = True
            logger.warning("%s; it is tried again until it works", self._what, exc_info=error)

    def recovered(self) -> None:
        """It has worked."""
        if self._is_on:
            self._is_on = False
            logger.warning("over: %s", self._what)
