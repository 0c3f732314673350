"""Traces and metrics: the one place that knows OpenTelemetry, and what the rest of the runtime reports to it."""
