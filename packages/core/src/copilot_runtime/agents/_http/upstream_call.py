"""A call of a remote agent, as it is traced."""

from __future__ import annotations

from ..._telemetry.current import current_telemetry

HeaderFields = list[tuple[bytes, bytes]]


class UpstreamCall:
    """The span of a call of a remote agent; does nothing if the runtime is not traced.

    Args:
        url: the URL of the agent, without credentials.
    """

    def __init__(self, url: str) -> None:
        self._telemetry = telemetry = current_telemetry.get()
        self._call = None if telemetry is None else telemetry.begin_upstream_call(url)
        self._error_type = ""

    def add_trace(self, headers: HeaderFields) -> HeaderFields:
        """Returns the header fields of the request, with those that continue the trace in place of the client's."""
        if self._telemetry is None or self._call is None:
            return headers
        added = {
            name.lower().encode(): value.encode() for name, value in self._telemetry.trace_headers(self._call).items()
        }
        kept = [field for field in headers if field[0].lower() not in added]
        return [*kept, *added.items()]

    def note_status(self, status: int) -> None:
        """Records the status of the response."""
        if self._call is not None:
            self._call.span.set_attribute("http.response.status_code", status)

    def note_error(self, error_type: str) -> None:
        """Records why the call fails."""
        self._error_type = error_type

    def end(self) -> None:
        """Ends the span."""
        if self._call is not None:
            self._call.end(self._error_type)
