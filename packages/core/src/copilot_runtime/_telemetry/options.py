"""`OpenTelemetry`: how a runtime is traced and measured."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenTelemetry:
    """Traces and metrics of a runtime, by OpenTelemetry's API: ``CopilotRuntime(opentelemetry=OpenTelemetry(...))``.

    Needs the extra ``otel``. What becomes of the spans and metrics is up to the application's SDK; without one, they
    cost little and go nowhere.

    Args:
        tracer_provider: an OpenTelemetry ``TracerProvider``; None for the global one, also if it is set later.
        meter_provider: an OpenTelemetry ``MeterProvider``; likewise.
    """

    tracer_provider: Any = None
    meter_provider: Any = None
