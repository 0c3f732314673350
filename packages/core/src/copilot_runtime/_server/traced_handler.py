"""A handler whose requests are traced."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .._http.cors import CorsDecision
from .._http.stream_source import StreamSource
from .._http.streaming import EventStream
from .._http.types import Request, Response
from .._telemetry.current import scoped
from .handler import CopilotHandler
from .routes import ROUTES

if TYPE_CHECKING:
    from .._telemetry.spans import TracedOperation
    from .._telemetry.telemetry import Telemetry

_request_span: ContextVar[TracedOperation | None] = ContextVar("copilot_request_span", default=None)

_PATTERNS = {name: route.pattern for route in ROUTES.routes for name in route.methods.values()}


class TracedHandler(CopilotHandler):
    """A handler that reports its requests.

    A class of its own, so that a handler without telemetry has nothing of it. The span of a request that is answered
    with a stream ends with the stream.
    """

    async def __call__(self, request: Request) -> Response:
        telemetry = self.runtime.telemetry
        if telemetry is None or (self._health is not None and self._is_probe(request)):
            return await super().__call__(request)
        operation = telemetry.begin_request(request.method, request.path, request.headers)
        try:
            with scoped(_request_span, operation), operation.current():
                response = await super().__call__(request)
        except BaseException as error:
            operation.end(type(error).__name__)
            raise
        if isinstance(response.body, EventStream):
            source = _TracedSource(response.body.source, telemetry, operation, response.status)
            return response.replace(body=EventStream(source))
        telemetry.end_request(operation, response.status)
        return response

    def respond_at_once(self, method: str, path: str, root_path: str) -> Response | None:
        """Returns None: a request that is traced needs its headers."""
        return None

    async def _handle(self, state: Any, decision: CorsDecision) -> Response:
        sent = state.request  # an envelope, and not the request that it stands for
        try:
            return await super()._handle(state, decision)
        finally:
            operation, telemetry = _request_span.get(), self.runtime.telemetry
            # A request that a hook, `identify_user` or a limit has refused has its route as well, if its path has one.
            route = state.route or self._router.read_head(sent).route_match
            if operation is not None and telemetry is not None and route is not None:
                name = route.name
                prefix = self.base_path or state.request.root_path
                pattern = f"{prefix.rstrip('/')}{_PATTERNS.get(name, '')}"
                telemetry.name_request(operation, sent.method, name, pattern)


class _TracedSource:
    """The source of a stream, at whose end the span of its request ends."""

    def __init__(self, source: StreamSource, telemetry: Telemetry, operation: TracedOperation, status: int) -> None:
        self._source = source
        self._telemetry = telemetry
        self._operation = operation
        self._status = status
        self._is_closed = False

    @property
    def is_at_end(self) -> bool:
        return self._source.is_at_end

    @property
    def is_starting(self) -> bool:
        return self._source.is_starting

    def read_available(self) -> bytes | None:
        return self._source.read_available()

    def read_whole(self) -> bytes | None:
        return self._source.read_whole()

    def add_waiter(self, notify: Callable[[], object], *, is_brief: bool = False, is_lasting: bool = False) -> bool:
        return self._source.add_waiter(notify, is_brief=is_brief, is_lasting=is_lasting)

    @property
    def is_pushed(self) -> bool:
        return self._source.is_pushed

    def mark_pushed(self, count: int) -> None:
        self._source.mark_pushed(count)

    def read_more(self) -> bytes | None:
        return self._source.read_more()

    def mark_sending(self) -> None:
        self._source.mark_sending()

    def mark_sent(self) -> None:
        self._source.mark_sent()

    def on_stalled(self, abort: Callable[[], object]) -> None:
        self._source.on_stalled(abort)

    def cut(self) -> None:
        self._source.cut()

    def close(self) -> None:
        self._source.close()
        if not self._is_closed:
            self._is_closed = True
            self._telemetry.end_request(self._operation, self._status)
