"""Matching a path against a table of routes (CONTRACT.md, section 2)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from .._http.types import Request

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


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


def decode_segment(piece: str) -> str | None:
    """A piece of a path, percent-decoded once (RFC 3986, section 2.1); None where it is malformed."""
    if "%" not in piece:
        return piece
    if _BAD_ESCAPE.search(piece):
        return None
    try:
        return unquote_to_bytes(piece).decode("utf-8")
    except UnicodeDecodeError:
        return None


def segments_below(request: Request, base_path: str | None) -> list[str] | None:
    """The pieces of the path below the base path; None where the path is outside of it.

    A given base path is looked for below the mount first and then in the whole path.
    Without one, whatever the application is mounted at is the base.
    """
    inner = _strip_prefix(request.path, request.root_path)
    if base_path is None:
        return _pieces(request.path if inner is None else inner)
    for path in (inner, request.path):
        if path is not None:
            rest = _strip_prefix(path, base_path)
            if rest is not None:
                return _pieces(rest)
    return None


def _strip_prefix(path: str, prefix: str) -> str | None:
    prefix = prefix.rstrip("/")
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
        return path[len(prefix) :]
    return None


def _pieces(path: str) -> list[str]:
    return [piece for piece in path.split("/") if piece]


def normalize_base_path(base_path: str | None) -> str | None:
    """A base path as it stands in a request's path. Raises ValueError for one without a leading slash."""
    if base_path is None:
        return None
    if not isinstance(base_path, str) or not base_path.startswith("/") or "?" in base_path or "#" in base_path:
        raise ValueError(f"base_path={base_path!r}: give a path that begins with '/', such as '/api/copilotkit'")
    return quote(base_path.rstrip("/"), safe="/%:@!$&'()*+,;=-._~")
