"""What the runtime reports: requests, runs, calls of stores, models, tools and remote agents.

Imported only by runtimes that have ``opentelemetry=...``: everything else looks at one attribute or context variable.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind

from .._version import __version__
from . import names
from .failures import report_failure
from .metrics import Metrics
from .options import OpenTelemetry
from .spans import TracedOperation
from .values import Labels, attribute_text

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))


class EndedRunReport(Protocol):
    """What is reported of a run when it has ended."""

    @property
    def agent_id(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def error_code(self) -> str: ...
    @property
    def duration_seconds(self) -> float: ...
    @property
    def events(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def usage(self) -> Sequence[Mapping[str, Any]]: ...
    def tokens(self, kind: str, /) -> int | None:
        """Returns how many ``input`` or ``output`` tokens there were; None if that is not known."""


class CountedEngine(Protocol):
    """The runs and streams of a process."""

    def count_live_runs(self) -> int:
        """Returns how many runs are active."""

    def count_open_streams(self) -> int:
        """Returns how many streams are open."""


_observed: weakref.WeakKeyDictionary[CountedEngine, Telemetry] = weakref.WeakKeyDictionary()
"""The engines of all runtimes: a provider has each instrument once, with the callback of the first that creates it."""


class Telemetry:
    """The tracer and the instruments of one runtime.

    Args:
        options: which providers to use.
    """

    def __init__(self, options: OpenTelemetry) -> None:
        self._tracer = trace.get_tracer(
            "copilot_runtime", __version__, tracer_provider=options.tracer_provider, schema_url=_SCHEMA_URL
        )
        self._meter_provider = options.meter_provider
        self._error_types, self._models, self._providers = Labels(), Labels(), Labels()
        meter = metrics.get_meter(
            "copilot_runtime", __version__, meter_provider=options.meter_provider, schema_url=_SCHEMA_URL
        )
        self._metrics = Metrics(
            meter,
            lambda: sum(engine.count_live_runs() for engine in self._engines_of_provider()),
            lambda: sum(engine.count_open_streams() for engine in self._engines_of_provider()),
        )

    def observe(self, engine: CountedEngine) -> None:
        """Has an engine's active runs and open streams counted."""
        _observed[engine] = self

    def _engines_of_provider(self) -> list[CountedEngine]:
        provider = self._find_meter_provider()
        return [engine for engine, other in list(_observed.items()) if other._find_meter_provider() is provider]

    def _find_meter_provider(self) -> Any:
        return metrics.get_meter_provider() if self._meter_provider is None else self._meter_provider

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        measured: Mapping[str, Any] | None = None,
        parent: otel_context.Context | None = None,
    ) -> TracedOperation:
        return TracedOperation(self._start_span(name, kind, attributes, parent), measured, parent)

    def _start_span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, Any], parent: otel_context.Context | None = None
    ) -> Span:
        try:
            return self._tracer.start_span(name, parent, kind, attributes)
        except Exception as error:
            report_failure(error)
            return trace.INVALID_SPAN

    # --- requests ---

    def begin_request(self, method: str, path: str, headers: Mapping[str, str]) -> TracedOperation:
        """Begins the span of a request.

        It is a child of the current span, such as one of the application's own instrumentation of its framework;
        without one, of the span that ``traceparent`` names.
        """
        known = method if method in _METHODS else "_OTHER"
        attributes = {names.REQUEST_METHOD: known, names.URL_PATH: attribute_text(path)}
        name = "HTTP" if known == "_OTHER" else known
        if trace.get_current_span().get_span_context().is_valid:
            return self._begin(name, SpanKind.INTERNAL, attributes)
        parent = None
        try:
            parent = propagate.extract(headers)
        except Exception as error:  # of a propagator of the application, by what a client has sent
            report_failure(error)
        return self._begin(name, SpanKind.SERVER, attributes, parent=parent)

    def name_request(self, request: TracedOperation, method: str, route: str, pattern: str) -> None:
        """Names the span of a request whose route is known, by the route's name and the pattern of its path."""
        request.span.update_name(f"{method} {pattern}")
        request.span.set_attribute(names.ROUTE, pattern)
        request.span.set_attribute(names.RUNTIME_ROUTE, route)

    def end_request(self, request: TracedOperation, status: int) -> None:
        """Ends the span of a request."""
        request.span.set_attribute(names.RESPONSE_STATUS, status)
        request.end(str(status) if status >= 500 else "")

    # --- runs ---

    def begin_run(
        self, *, agent_id: str, thread_id: str, run_id: str, owner_hash: str | None, is_suggestion: bool
    ) -> TracedOperation:
        """Begins the span of a run."""
        attributes: dict[str, Any] = {
            names.OPERATION: "invoke_agent",
            names.AGENT_NAME: attribute_text(agent_id),
            names.CONVERSATION: attribute_text(thread_id),
            names.RUN_ID: attribute_text(run_id),
        }
        if owner_hash is not None:
            attributes[names.USER_HASH] = owner_hash
        if is_suggestion:
            attributes[names.SUGGESTION] = True
        measured = {names.AGENT_NAME: attribute_text(agent_id)}
        return self._begin(f"invoke_agent {attribute_text(agent_id)}", SpanKind.INTERNAL, attributes, measured)

    def note_first_event(self, run: TracedOperation) -> None:
        """Records that a run has its first event after RUN_STARTED."""
        self._metrics.first_event.record(run.seconds, run.attributes, run.context)

    def end_run(self, run: TracedOperation | None, report: EndedRunReport) -> None:
        """Ends the span of a run, and counts it; None for a run that another process had begun."""
        attributes = {names.AGENT_NAME: attribute_text(report.agent_id)}
        error = {names.ERROR_TYPE: self._error_types.limit(report.error_code)} if report.error_code else {}
        outcome = {**attributes, names.RUN_OUTCOME: report.outcome, **error}
        context = None if run is None else run.context
        measured = self._metrics
        measured.runs.add(1, outcome, context)
        measured.run_duration.record(report.duration_seconds, outcome, context)
        measured.events.add(report.events, attributes, context)
        for entry in report.usage:
            for member, kind in (("inputTokens", "input"), ("outputTokens", "output")):
                count = entry.get(member)
                if isinstance(count, int) and count > 0:
                    model = {
                        name: labels.limit(value)
                        for name, labels, value in (
                            (names.PROVIDER, self._providers, entry.get("provider")),
                            (names.REQUEST_MODEL, self._models, entry.get("model")),
                        )
                        if isinstance(value, str)
                    }
                    measured.tokens.add(count, {**attributes, **model, names.TOKEN_TYPE: kind}, context)
        if run is None:
            return
        run.span.set_attributes(
            {
                names.RUN_OUTCOME: report.outcome,
                names.RUN_EVENTS: report.events,
                names.RUN_BYTES: report.bytes,
                **{
                    name: count
                    for name, kind in ((names.INPUT_TOKENS, "input"), (names.OUTPUT_TOKENS, "output"))
                    if (count := report.tokens(kind)) is not None
                },
            }
        )
        run.end(attribute_text(report.error_code) or ("lost" if report.outcome == "lost" else ""))

    def count_lost_lease(self, agent_id: str) -> None:
        """Counts a run that another process has ended or taken over."""
        self._metrics.leases_lost.add(1, {names.AGENT_NAME: attribute_text(agent_id)})

    # --- calls ---

    @contextlib.contextmanager
    def store_call(self, kind: str, operation: str, *, is_remote: bool) -> Iterator[None]:
        """Measures a call of the store, and traces it if it is part of a request or run: flushes are of neither."""
        attributes = {names.DB_SYSTEM: kind, names.DB_OPERATION: operation}
        has_parent = trace.get_current_span().get_span_context().is_valid
        span_kind = SpanKind.CLIENT if is_remote else SpanKind.INTERNAL
        span = self._start_span(f"store {operation}", span_kind, attributes) if has_parent else None
        call = TracedOperation(span or trace.INVALID_SPAN, attributes)
        try:
            with call.current() if span is not None else contextlib.nullcontext():
                yield
        except BaseException as error:
            call.end(type(error).__name__)
            raise
        finally:
            call.end()
            self._metrics.store_duration.record(call.seconds, call.attributes)

    def begin_model_call(self, provider: str, model: str) -> TracedOperation:
        """Begins the span of a call of a model."""
        name = attribute_text(model)  # which a client may choose, with `overridable_properties`
        attributes = {names.OPERATION: "chat", names.PROVIDER: provider, names.REQUEST_MODEL: name}
        measured = {**attributes, names.REQUEST_MODEL: self._models.limit(model)}
        return self._begin(f"chat {name}", SpanKind.CLIENT, attributes, measured)

    def end_model_call(
        self, call: TracedOperation, counts: Mapping[str, int], finish_reasons: Sequence[str], error_type: str = ""
    ) -> None:
        """Ends it, with the counts of tokens by AG-UI's names."""
        if finish_reasons:
            call.span.set_attribute(names.FINISH_REASONS, [attribute_text(reason) for reason in finish_reasons])
        for member, name, kind in (
            ("inputTokens", names.INPUT_TOKENS, "input"),
            ("outputTokens", names.OUTPUT_TOKENS, "output"),
        ):
            if (count := counts.get(member)) is not None:
                call.span.set_attribute(name, count)
                self._metrics.model_tokens.record(count, {**call.attributes, names.TOKEN_TYPE: kind}, call.context)
        seconds = call.seconds
        if call.end(error_type):
            self._metrics.model_duration.record(seconds, call.attributes, call.context)

    @contextlib.contextmanager
    def tool_call(self, tool: str) -> Iterator[TracedOperation]:
        """Traces a call of a tool."""
        name = attribute_text(tool)
        attributes = {names.OPERATION: "execute_tool", names.TOOL_NAME: name, names.TOOL_TYPE: "function"}
        call = self._begin(f"execute_tool {name}", SpanKind.INTERNAL, attributes)
        try:
            with call.current():
                yield call
        except BaseException as error:
            call.end(type(error).__name__)
            raise
        finally:
            call.end()

    def begin_upstream_call(self, url: str) -> TracedOperation:
        """Begins the span of a request to a remote agent; ``url`` has no credentials."""
        parts = urlsplit(url)
        attributes: dict[str, Any] = {names.REQUEST_METHOD: "POST", names.URL_FULL: url}
        if parts.hostname:
            attributes[names.SERVER_ADDRESS] = parts.hostname
            attributes[names.SERVER_PORT] = parts.port or (443 if parts.scheme == "https" else 80)
        return self._begin("POST", SpanKind.CLIENT, attributes)

    def trace_headers(self, call: TracedOperation) -> dict[str, str]:
        """Returns the header fields that continue a trace, such as ``traceparent``."""
        carrier: dict[str, str] = {}
        try:
            propagate.inject(carrier, call.context)
        except Exception as error:
            report_failure(error)
        return carrier
