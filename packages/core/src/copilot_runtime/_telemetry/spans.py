"""Spans of the runtime: begun in one place and ended in another, on whatever thread, once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from .failures import report_failure
from .names import ERROR_TYPE

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span


class TracedOperation:
    """A span, the time since it began, and the attributes that its metrics share with it.

    Not made the current span by itself: what begins and ends it may belong to different contexts, as the steps of an
    asynchronous generator do.

    Args:
        span: the span, which has begun.
        attributes: those of its metrics.
        parent: the context of its parent; None for the current one.
    """

    def __init__(self, span: Span, attributes: Mapping[str, Any] | None = None, parent: Context | None = None) -> None:
        self.span = span
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.context: Context = set_span_in_context(span, parent)
        self._began_at = time.perf_counter()
        self._has_ended = False

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.perf_counter() - self._began_at

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes the span the current one for as long as the block lasts, in one context."""
        token = otel_context.attach(self.context)
        try:
            yield
        finally:
            # Not in another context, where a coroutine is dropped with its loop: that would be logged as an error.
            if otel_context.get_current() is self.context:
                otel_context.detach(token)

    def end(self, error_type: str = "") -> bool:
        """Ends the span, as failed with an ``error_type``. Returns False the second time."""
        if self._has_ended:
            return False
        self._has_ended = True
        if error_type:
            self.span.set_attribute(ERROR_TYPE, error_type)
            self.attributes[ERROR_TYPE] = error_type
            # No description: texts of exceptions may hold what is secret.
            self.span.set_status(Status(StatusCode.ERROR))
        try:
            self.span.end()
        except Exception as error:  # of a processor of the application
            report_failure(error)
        return True
