"""Compares what was measured with the bars."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from .bars import Bar, Figure, Kind
from .shared import Results, Rows


class Comparison(NamedTuple):
    """How a server's figure compares with another one's.

    ``own`` is the median of the server's own figure. Figures are compared within each round: ``median``, ``low`` and
    ``high`` are of all rounds. ``minima`` compares the smallest figure of each server, which is the steadiest on a
    machine that has other work.
    """

    own: float
    median: float
    low: float
    high: float
    minima: float


def _by_round(rows: Rows, figure: Figure) -> Mapping[int, float]:
    return {row["turn"]: row[figure.key] * figure.factor for row in rows if row.get(figure.key) is not None}


def compare(own_rows: Rows, other_rows: Rows, figure: Figure, kind: Kind) -> Comparison | None:
    """Returns how two servers compare, or None if no round has a figure of both."""
    own, other = _by_round(own_rows, figure), _by_round(other_rows, figure)
    rounds = own.keys() & other.keys()
    if not rounds:
        return None
    results = [kind.compare(own[turn], other[turn]) for turn in rounds]
    return Comparison(
        own=statistics.median(own.values()),
        median=statistics.median(results),
        low=min(results),
        high=max(results),
        minima=kind.compare(min(own.values()), min(other.values())),
    )


class Verdict(Enum):
    """How a bar came out; the value is what the table says, with by how much it falls short as ``{by}``."""

    MET = "met"
    MET_BY_MINIMA = "short{by}, but met by the minima"
    SHORT = "short{by}"
    ERRORS = "short: errors"
    MISSING = "short: no figure"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A bar, and what was measured."""

    bar: Bar
    comparison: Comparison | None
    verdict: Verdict


def _verdict(bar: Bar, comparison: Comparison | None, rows: Rows) -> Verdict:
    if comparison is None:
        return Verdict.MISSING
    if any(row.get("errors") or row.get("missing") for row in rows):
        return Verdict.ERRORS
    if comparison.median <= bar.limit:
        return Verdict.MET
    return Verdict.MET_BY_MINIMA if comparison.minima <= bar.limit else Verdict.SHORT


def outcome(bar: Bar, results: Results) -> Outcome:
    """Returns how a bar came out. A server with errors meets none, and neither does one without figures."""
    servers = results.get(bar.workload, {})
    own = servers.get(bar.server, ())
    comparison = compare(own, servers.get(bar.other or bar.server, ()), bar.figure, bar.kind)
    return Outcome(bar, comparison, _verdict(bar, comparison, own))


def outcomes(bars: Iterable[Bar], results: Results) -> list[Outcome]:
    """Returns how each of the bars came out."""
    return [outcome(bar, results) for bar in bars]
