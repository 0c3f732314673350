"""Matching a path against a table of routes (docs/protocol.md, section 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .._http.target import decode_segment


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """What a request was found to be for. ``method`` is the hook name of the route; ids are decoded."""

    name: str
    agent_id: str | None = None
    thread_id: str | None = None
    memory_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route: its pattern, and everything that follows from it.

    ``envelope`` is whether the single-route envelope has the name as a method, with
    ``params`` and ``body`` of it being required or not; ``resource`` whether
    ``resource/request`` reaches the route.
    """

    pattern: str
    methods: Mapping[str, str]
    """HTTP method to hook name."""
    endpoint: Callable[..., Any]
    envelope: str | None = None
    envelope_body: str = "none"
    resource: bool = False
    memories: bool = False

    @property
    def segments(self) -> tuple[str, ...]:
        """The pieces of the pattern; ids are in braces."""
        return tuple(self.pattern.strip("/").split("/"))

    @property
    def params(self) -> tuple[str, ...]:
        """The names of the pattern's ids."""
        return tuple(piece[1:-1] for piece in self.segments if piece.startswith("{"))

    @property
    def allow(self) -> str:
        """The ``Allow`` field of a 405."""
        return ", ".join(self.methods)


class PatternMatch(NamedTuple):
    """A row, and the decoded ids by name."""

    row: Route
    ids: Mapping[str, str]

    def to_route_match(self, http_method: str) -> RouteMatch:
        """The route as hooks see it."""
        return RouteMatch(name=self.row.methods[http_method], **self.ids)


class RouteTable:
    """Rows in order of recognition."""

    def __init__(self, rows: Iterable[Route]) -> None:
        self.rows = tuple(rows)
        # Most rows end in a fixed word, so only a few have to be looked at for any path.
        self._by_parameter = tuple((row, row.segments) for row in self.rows if row.segments[-1].startswith("{"))
        self._by_last_segment: dict[str, tuple[tuple[Route, tuple[str, ...]], ...]] = {}
        for word in {row.segments[-1] for row in self.rows} - {pieces[-1] for _, pieces in self._by_parameter}:
            self._by_last_segment[word] = tuple(
                (row, row.segments) for row in self.rows if row.segments[-1] == word or row.segments[-1].startswith("{")
            )

    def match(self, pieces: Sequence[str]) -> PatternMatch | None:
        """The first row whose pattern the last pieces have, if their ids can be decoded."""
        if not pieces:
            return None
        for row, pattern in self._by_last_segment.get(pieces[-1], self._by_parameter):
            ids = _ids(pattern, pieces)
            if ids is not None:
                return PatternMatch(row, ids)
        return None


def _ids(pattern: Sequence[str], pieces: Sequence[str]) -> Mapping[str, str] | None:
    if len(pieces) < len(pattern):
        return None
    ids: dict[str, str] = {}
    for wanted, piece in zip(pattern, pieces[len(pieces) - len(pattern) :], strict=True):
        if not wanted.startswith("{"):
            if wanted != piece:
                return None
        else:
            decoded = decode_segment(piece)
            if not decoded:
                return None
            ids[wanted[1:-1]] = decoded
    return ids
