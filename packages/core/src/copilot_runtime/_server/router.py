"""What a request is for: by its path, by the single-route envelope in its body, or by either."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic_core import to_json

from .._http.target import (
    segments_below,
)
from .._http.types import Request, Response
from .endpoints import ROUTES, error_response
from .route_table import (
    PatternMatch,
    Route,
    RouteMatch,
)

Mode = Literal["auto", "multi-route", "single-route"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest:
    """A request whose route is known. ``request`` is the inner one where there was an envelope.

    ``lacks_body`` is for the endpoint's turn: hooks that know the route come first.
    """

    row: Route
    route: RouteMatch
    request: Request
    single_route: bool = False
    missing_body: bool = False


class Refused(Exception):
    """The request is for nothing that there is. ``route`` is what was found all the same."""

    def __init__(self, response: Response, route: RouteMatch | None = None) -> None:
        super().__init__()
        self.response = response
        self.route = route


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """How one handler tells what requests are for."""

    mode: Mode
    base_path: str | None
    expose_memory_routes: bool

    def resolve(self, request: Request) -> ResolvedRequest:
        """The route of a request. Raises Refused."""
        pieces = segments_below(request, self.base_path)
        if pieces is None:
            raise Refused(error_response(404, "Not found"))
        return _MODES[self.mode](self, request, pieces)

    def _by_path(self, request: Request, pieces: list[str]) -> ResolvedRequest:
        match = ROUTES.match(pieces)
        if match is not None:
            return self._resolve_match(match, request)
        if request.method == "POST" and _envelope(request) is not None:
            raise Refused(
                error_response(
                    404,
                    "Not found",
                    code="single_route_envelope_against_multi_route_runtime",
                    message="This runtime answers at REST paths and got a single-route envelope. Set "
                    "useSingleEndpoint={false} in the frontend, or mode='auto' here.",
                )
            )
        raise Refused(error_response(404, "Not found"))

    def _by_envelope(self, request: Request, pieces: list[str]) -> ResolvedRequest:
        if request.method != "POST":
            raise Refused(_not_allowed("POST"))
        if not _is_json(request):
            raise Refused(_invalid("Single-route endpoint expects JSON payloads", 415))
        try:
            envelope = request.json()
        except ValueError:
            raise Refused(_invalid("Invalid JSON payload")) from None
        return self._open_envelope(envelope if isinstance(envelope, dict) else {}, request)

    def _by_path_or_envelope(self, request: Request, pieces: list[str]) -> ResolvedRequest:
        match = ROUTES.match(pieces)
        if match is not None:
            return self._resolve_match(match, request)
        is_base = not pieces
        if is_base or (request.method == "POST" and _envelope(request) is not None):
            return self._by_envelope(request, pieces)
        raise Refused(error_response(404, "Not found"))

    def _resolve_match(self, match: PatternMatch, request: Request, *, single_route: bool = False) -> ResolvedRequest:
        row = match.row
        if row.memories and not self.expose_memory_routes:
            raise Refused(error_response(404, "Not found"), match.to_route_match(next(iter(row.methods))))
        if request.method not in row.methods:
            raise Refused(_not_allowed(row.allow), match.to_route_match(next(iter(row.methods))))
        return ResolvedRequest(
            row=row, route=match.to_route_match(request.method), request=request, single_route=single_route
        )

    def _open_envelope(self, envelope: Mapping[str, Any], request: Request) -> ResolvedRequest:
        method = envelope.get("method")
        if not method:
            raise Refused(_invalid("Missing method field"))
        if method == "resource/request":
            return self._resource(envelope, request)
        row = _BY_ENVELOPE.get(method) if isinstance(method, str) else None
        if row is None:
            shown = method if isinstance(method, str) else to_json(method).decode()
            raise Refused(_invalid(f"Unsupported method '{shown}'"))
        ids = {name: _param(envelope, _camel(name)) for name in row.params}
        (http_method,) = row.methods
        lacks_body = (row.envelope_body == "required" and envelope.get("body") is None) or (
            row.envelope_body == "optional" and "body" in envelope and envelope["body"] is None
        )
        return ResolvedRequest(
            row=row,
            route=PatternMatch(row, ids).to_route_match(http_method),
            request=request.replace(
                method=http_method, body=_body(envelope), query_string=_query(envelope) if http_method == "GET" else ""
            ),
            single_route=True,
            missing_body=lacks_body,
        )

    def _resource(self, envelope: Mapping[str, Any], request: Request) -> ResolvedRequest:
        path, method = _param(envelope, "path"), _param(envelope, "httpMethod")
        if not path.startswith("/") or path.startswith(("//", "/\\")):
            raise Refused(_invalid("Resource path must be Runtime-relative"))
        path, _, query = path.partition("?")
        match = ROUTES.match([piece for piece in path.split("/") if piece])
        if match is None or not match.row.resource:
            raise Refused(error_response(404, "Not found"))
        inner = request.replace(
            method=method.strip().upper(),
            path=request.path.rstrip("/") + path,
            query_string=query,
            body=_body(envelope),
        )
        return self._resolve_match(match, inner, single_route=True)


_MODES: Mapping[str, Callable[[Router, Request, list[str]], ResolvedRequest]] = {
    "auto": Router._by_path_or_envelope,
    "multi-route": Router._by_path,
    "single-route": Router._by_envelope,
}

_BY_ENVELOPE: Mapping[str, Route] = {row.envelope: row for row in ROUTES.rows if row.envelope is not None}


def missing_body() -> Response:
    """The answer to an envelope whose body is missing."""
    return _invalid("Missing request body for JSON handler")


def _is_json(request: Request) -> bool:
    return "application/json" in (request.headers.get("content-type") or "").lower()


def _envelope(request: Request) -> Mapping[str, Any] | None:
    """The body as an envelope, where it looks like one."""
    if not _is_json(request):
        return None
    try:
        given = request.json()
    except ValueError:
        return None
    method = given.get("method") if isinstance(given, dict) else None
    return given if isinstance(method, str) and method in {*_BY_ENVELOPE, "resource/request"} else None


def _param(envelope: Mapping[str, Any], name: str) -> str:
    params = envelope.get("params")
    value = params.get(name) if isinstance(params, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise Refused(_invalid(f"Missing or invalid parameter '{name}'"))
    return value


def _body(envelope: Mapping[str, Any]) -> bytes:
    body = envelope.get("body")
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else to_json(body)


def _query(envelope: Mapping[str, Any]) -> str:
    params = envelope.get("params")
    if not isinstance(params, dict):
        return ""
    return urlencode([(name, value) for name, value in params.items() if isinstance(value, str)])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _invalid(message: str, status: int = 400) -> Response:
    return error_response(status, "invalid_request", message=message)


def _not_allowed(allow: str) -> Response:
    answer = error_response(405, "Method not allowed")
    return answer.replace(headers=answer.headers.set("allow", allow))
