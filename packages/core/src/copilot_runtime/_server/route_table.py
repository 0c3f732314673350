"""Routes, and matching a path against a table of them (docs/protocol.md, section 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from .._http.target import decode_segment
from .._http.types import Response

Endpoint = Callable[[Any], Awaitable[Response]]
"""A function of an `EndpointContext`."""

RespondAtOnce = Callable[[], Response | None]
"""Returns a response; None if it cannot without waiting for something."""

MakeAtOnce = Callable[[Any], RespondAtOnce]
"""A function of the runtime."""

RequiredAccess = Literal["read", "manage"]
"""What a route does with threads."""

EnvelopeBody = Literal["none", "optional", "required"]
"""Whether the single-route envelope of a route has a body."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """The route that a request matched.

    Attributes:
        name: the name of the route, such as ``agent/run``.
        agent_id: the decoded agent id of the path, if the route has one.
        thread_id: the decoded thread id, likewise.
        memory_id: the decoded memory id, likewise.
    """

    name: str
    agent_id: str | None = None
    thread_id: str | None = None
    memory_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A row of the route table.

    Attributes:
        pattern: the end of the paths that match; parameters are in braces.
        methods: names of the route by HTTP method.
        endpoint: what handles the request.
        at_once: makes what responds as the endpoint would, where nothing but the route matters.
        access: what the endpoint does with threads, if the runtime's ``thread_access`` has to allow it.
        envelope: the ``method`` of the single-route envelope that stands for the route, if there is one.
        envelope_body: whether that envelope must have a ``body``; an ``optional`` one must not be null.
        max_body_bytes: how much of a body the endpoint may need, 0 if it takes none; None for as much as the runtime
            accepts.
        resource: whether ``resource/request`` reaches the route.
        memories: whether the route exists only with ``expose_memory_routes``.
    """

    pattern: str
    methods: Mapping[str, str]
    endpoint: Endpoint
    at_once: MakeAtOnce | None = None
    access: RequiredAccess | None = None
    envelope: str | None = None
    envelope_body: EnvelopeBody = "none"
    max_body_bytes: int | None = 0
    resource: bool = False
    memories: bool = False

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of the pattern; parameters are in braces."""
        return tuple(self.pattern.strip("/").split("/"))

    @property
    def params(self) -> tuple[str, ...]:
        """The names of the pattern's parameters."""
        return tuple(segment[1:-1] for segment in self.segments if segment.startswith("{"))

    @property
    def allow(self) -> str:
        """The value of the ``Allow`` header of a 405."""
        return ", ".join(self.methods)

    @property
    def default_method(self) -> str:
        """The first HTTP method: the only one of a route with an envelope."""
        return next(iter(self.methods))


class PatternMatch(NamedTuple):
    """A route whose pattern matches, and the decoded parameters by name."""

    route: Route
    params: Mapping[str, str]

    def to_route_match(self, http_method: str) -> RouteMatch:
        """Returns the match as hooks see it."""
        return RouteMatch(name=self.route.methods[http_method], **self.params)


class RouteTable:
    """Routes in the order in which they are tried, which matters where patterns overlap."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        # Most patterns end in a fixed segment, so only a few have to be tried for any path.
        patterns = tuple((route, route.segments) for route in self.routes)
        self._by_parameter = tuple(pattern for pattern in patterns if _is_parameter(pattern[1][-1]))
        self._by_last_segment = {
            last: tuple(pattern for pattern in patterns if pattern[1][-1] == last or _is_parameter(pattern[1][-1]))
            for last in {segments[-1] for _, segments in patterns if not _is_parameter(segments[-1])}
        }

    def match(self, segments: Sequence[str]) -> PatternMatch | None:
        """Returns the first route whose pattern matches the last segments of a path.

        Args:
            segments: the percent-encoded segments of the path.
        """
        if not segments:
            return None
        for route, pattern in self._by_last_segment.get(segments[-1], self._by_parameter):
            params = _match_params(pattern, segments)
            if params is not None:
                return PatternMatch(route, params)
        return None


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{")


def _match_params(pattern: Sequence[str], segments: Sequence[str]) -> Mapping[str, str] | None:
    if len(segments) < len(pattern):
        return None
    params: dict[str, str] = {}
    for expected, segment in zip(pattern, segments[len(segments) - len(pattern) :], strict=True):
        if not _is_parameter(expected):
            if expected != segment:
                return None
        else:
            decoded = decode_segment(segment)
            if not decoded:
                return None
            params[expected[1:-1]] = decoded
    return params
