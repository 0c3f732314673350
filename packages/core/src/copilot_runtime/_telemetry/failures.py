"""Failures of the application's samplers, processors and propagators."""

from __future__ import annotations

import logging

from .._log_text import log_failure

logger = logging.getLogger("copilot_runtime.engine")

_reported: set[type[BaseException]] = set()


def report_failure(error: Exception) -> None:
    """Logs an exception, the first of its type: they may come with each span, and must not fail what is traced."""
    if type(error) not in _reported:
        _reported.add(type(error))
        log_failure(logger, error, "OpenTelemetry failed; further errors of this type are not logged")
