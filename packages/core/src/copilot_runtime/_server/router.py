"""Finds the route of a request: by its path, by the single-route envelope in its body, or by either."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

from pydantic_core import to_json

from .._http.kept_results import KeptResults, total_length
from .._http.target import segments_below, split_segments
from .._http.types import Request, Response
from .errors import HTTPError, error_response
from .route_table import Endpoint, PatternMatch, RespondAtOnce, Route, RouteMatch
from .routes import ROUTES
from .runtime import CopilotRuntime

Mode = Literal["auto", "multi-route", "single-route"]


class ResolvedRoute(NamedTuple):
    """The route of a request.

    Attributes:
        route: the row of the route table.
        match: the name of the route, and the ids of the path.
        endpoint: what handles the request.
        inner: the request that an envelope stands for; None for a request that came without one.
    """

    route: Route
    match: RouteMatch
    endpoint: Endpoint
    inner: Request | None = None


class RequestHead(NamedTuple):
    """What the head of a request tells about its route.

    Attributes:
        segments: the segments of the path below the mount; None if the path is elsewhere.
        match: the route of the path, if it has one.
        route_match: the same as hooks see it, if the route has the request's method.
        resolved: the route of the request; None if `Router.resolve` has to look at more than this.
        max_body_bytes: how much of its body the request may need. 0 is for none: that is also what a request needs that
            no route answers. None is for as much as the runtime accepts.
    """

    segments: Sequence[str] | None
    match: PatternMatch | None
    route_match: RouteMatch | None
    resolved: ResolvedRoute | None
    max_body_bytes: int | None


_Target = tuple[str, str, str]
"""The method, path and root path of a request."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Finds the routes of requests.

    Attributes:
        mode: which of paths and envelopes to look at.
        base_path: where the runtime is mounted; None for wherever the server has mounted it, or anywhere.
        expose_memory_routes: whether the hosted backend's memory routes exist.
    """

    mode: Mode
    base_path: str | None
    expose_memory_routes: bool
    # The same targets come again and again, and to find their route takes longer than all else that is done with most
    # requests before their endpoint is called.
    _heads: KeptResults[_Target, RequestHead] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        heads = KeptResults(self._read_target, size=total_length)
        object.__setattr__(self, "_heads", heads)

    def read_head(self, request: Request) -> RequestHead:
        """Returns what can be said about a request without its body."""
        head = self._heads[request.method, request.path, request.root_path]
        if head.route_match is None and request.method == "POST" and _is_json(request):
            return head._replace(max_body_bytes=None)  # it may be an envelope
        return head

    def responder(self, runtime: CopilotRuntime, method: str, path: str, root_path: str) -> RespondAtOnce | None:
        """Returns what responds to a request without a body, if its route needs nothing else of it."""
        resolved = self._heads[method, path, root_path].resolved
        make = None if resolved is None else resolved.route.at_once
        return None if make is None else make(runtime)

    def _read_target(self, target: _Target) -> RequestHead:
        """Returns what the target of a request tells about its route."""
        method, path, root_path = target
        segments = segments_below(path, root_path, self.base_path)
        match = ROUTES.match(segments) if self.mode != "single-route" and segments is not None else None
        kept = None if segments is None else tuple(segments)
        if match is None or method not in match.route.methods:
            return RequestHead(kept, match, None, None, 0)
        route, route_match = match.route, match.to_route_match(method)
        resolved = None if route.memories else ResolvedRoute(route, route_match, route.endpoint)
        return RequestHead(kept, match, route_match, resolved, route.max_body_bytes)

    def resolve(self, request: Request, head: RequestHead) -> ResolvedRoute:
        """Returns the route of a request whose head does not tell it, and whose body has been read if that needs it.

        Args:
            request: the request.
            head: what `read_head` has returned for it.

        Raises:
            HTTPError: the request has no route.
        """
        try:
            if head.segments is None:
                raise _not_found()
            return _MODES[self.mode](self, request, head)
        except HTTPError as error:
            if head.max_body_bytes != 0 and _is_graphql(request):
                raise _graphql_not_supported(error.route) from error
            raise

    def _by_path(self, request: Request, head: RequestHead) -> ResolvedRoute:
        if head.match is not None:
            return self._resolve_match(head.match, request, head.route_match)
        if request.method == "POST" and _parse_envelope(request) is not None:
            code = "single_route_envelope_against_multi_route_runtime"
            raise HTTPError(error_response(404, "Not found", code=code, message=_ENVELOPE_NOT_SERVED))
        raise _not_found()

    def _by_envelope(self, request: Request, head: RequestHead) -> ResolvedRoute:
        if request.method != "POST":
            raise _method_not_allowed("POST")
        if not _is_json(request):
            raise _invalid("Single-route endpoint expects JSON payloads", status=415)
        try:
            envelope = request.json()
        except ValueError:
            raise _invalid("Invalid JSON payload") from None
        return self._open_envelope(envelope if isinstance(envelope, dict) else {}, request)

    def _by_path_or_envelope(self, request: Request, head: RequestHead) -> ResolvedRoute:
        if head.match is not None:
            return self._resolve_match(head.match, request, head.route_match)
        is_base = not head.segments
        if is_base or (request.method == "POST" and _parse_envelope(request) is not None):
            return self._by_envelope(request, head)
        raise _not_found()

    def _resolve_match(
        self,
        match: PatternMatch,
        request: Request,
        route_match: RouteMatch | None = None,
        *,
        inner: Request | None = None,
    ) -> ResolvedRoute:
        route = match.route
        if route.memories and not self.expose_memory_routes:
            raise _not_found(match.to_route_match(route.default_method))
        if request.method not in route.methods:
            raise _method_not_allowed(route.allow, match.to_route_match(route.default_method))
        route_match = route_match or match.to_route_match(request.method)
        return ResolvedRoute(route, route_match, route.endpoint, inner)

    def _open_envelope(self, envelope: Mapping[str, Any], request: Request) -> ResolvedRoute:
        method = envelope.get("method")
        if not method:
            raise _invalid("Missing method field")
        if method == "resource/request":
            return self._open_resource_request(envelope, request)
        route = _ROUTES_BY_ENVELOPE.get(method) if isinstance(method, str) else None
        if route is None:
            name = method if isinstance(method, str) else to_json(method).decode()
            raise _invalid(f"Unsupported method '{name}'")
        params = {name: _string_param(envelope, _camel_case(name)) for name in route.params}
        http_method = route.default_method
        return ResolvedRoute(
            route=route,
            match=PatternMatch(route, params).to_route_match(http_method),
            endpoint=_missing_body if _lacks_body(route, envelope) else route.endpoint,
            inner=request.replace(
                method=http_method,
                body=_inner_body(envelope),
                query_string=_inner_query(envelope) if http_method == "GET" else "",
            ),
        )

    def _open_resource_request(self, envelope: Mapping[str, Any], request: Request) -> ResolvedRoute:
        target, method = _string_param(envelope, "path"), _string_param(envelope, "httpMethod")
        if not target.startswith("/") or target.startswith(("//", "/\\")):
            raise _invalid("Resource path must be Runtime-relative")
        path, _, query = target.partition("?")
        match = ROUTES.match(split_segments(path))
        if match is None or not match.route.resource:
            raise _not_found()
        inner = request.replace(
            method=method.strip().upper(),
            path=request.path.rstrip("/") + path,
            query_string=query,
            body=_inner_body(envelope),
        )
        return self._resolve_match(match, inner, inner=inner)


_MODES: Mapping[str, Callable[[Router, Request, RequestHead], ResolvedRoute]] = {
    "auto": Router._by_path_or_envelope,
    "multi-route": Router._by_path,
    "single-route": Router._by_envelope,
}

_ROUTES_BY_ENVELOPE: Mapping[str, Route] = {
    route.envelope: route for route in ROUTES.routes if route.envelope is not None
}
_ENVELOPE_METHODS = frozenset((*_ROUTES_BY_ENVELOPE, "resource/request"))


def _is_json(request: Request) -> bool:
    return "application/json" in (request.headers.get("content-type") or "").lower()


def _parse_envelope(request: Request) -> Mapping[str, Any] | None:
    """Returns the body if it looks like an envelope."""
    if not _is_json(request):
        return None
    try:
        body = request.json()
    except ValueError:
        return None
    method = body.get("method") if isinstance(body, dict) else None
    return body if isinstance(method, str) and method in _ENVELOPE_METHODS else None


_GRAPHQL_OPERATION = re.compile(r"\s*(?:(?:query|mutation|subscription|fragment)\b[^{]*)?\{")


def _is_graphql(request: Request) -> bool:
    """Whether this is what CopilotKit's frontends before 1.50 send, to whichever path they were configured with."""
    if request.method != "POST" or not _is_json(request):
        return False
    try:
        body = request.json()
    except ValueError:
        return False
    query = body.get("query") if isinstance(body, dict) and "method" not in body else None
    return isinstance(query, str) and _GRAPHQL_OPERATION.match(query) is not None


def _string_param(envelope: Mapping[str, Any], name: str) -> str:
    params = envelope.get("params")
    value = params.get(name) if isinstance(params, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"Missing or invalid parameter '{name}'")
    return value


def _lacks_body(route: Route, envelope: Mapping[str, Any]) -> bool:
    if envelope.get("body") is not None:
        return False
    return route.envelope_body == "required" or (route.envelope_body == "optional" and "body" in envelope)


def _inner_body(envelope: Mapping[str, Any]) -> bytes:
    body = envelope.get("body")
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else to_json(body)


def _inner_query(envelope: Mapping[str, Any]) -> str:
    params = envelope.get("params")
    if not isinstance(params, dict):
        return ""
    return urlencode([(name, value) for name, value in params.items() if isinstance(value, str)])


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


# --- errors ---

_ENVELOPE_NOT_SERVED = (
    "This runtime serves REST paths and received a single-route envelope. Set useSingleEndpoint={false} in the "
    "frontend, or mode='auto' here."
)


_GRAPHQL_NOT_SUPPORTED = (
    "This is a GraphQL request, which CopilotKit's frontend packages before 1.50 send. This runtime requires 1.50 or "
    "newer: upgrade @copilotkit/react-core and the other @copilotkit packages of the frontend."
)


async def _missing_body(context: object) -> Response:
    """Takes the place of the endpoint, since hooks that know the route come before this error."""
    raise _invalid("Missing request body for JSON handler")


def _not_found(route: RouteMatch | None = None) -> HTTPError:
    return HTTPError(error_response(404, "Not found"), route)


def _method_not_allowed(allow: str, route: RouteMatch | None = None) -> HTTPError:
    return HTTPError(error_response(405, "Method not allowed", headers={"allow": allow}), route)


def _graphql_not_supported(route: RouteMatch | None) -> HTTPError:
    # ``errors`` is where a GraphQL client looks.
    errors = [{"message": _GRAPHQL_NOT_SUPPORTED}]
    body = error_response(400, "graphql_not_supported", message=_GRAPHQL_NOT_SUPPORTED, errors=errors)
    return HTTPError(body, route)


def _invalid(message: str, status: int = 400) -> HTTPError:
    return HTTPError(error_response(status, "invalid_request", message=message))
