"""What was measured of something that grows: a series of figures by size."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

TOLERANCE = 1.3
"""How much more than it has to a figure may grow from one size to the next: caches, and a noisy machine."""


class Growth(Enum):
    """How a figure may grow; the value is what the table says."""

    CONSTANT = "not at all"
    LINEAR = "with it"

    def allowed(self, size_factor: float) -> float:
        """Returns the factor by which the figure may grow when the size grows by ``size_factor``."""
        return TOLERANCE * _NECESSARY[self](size_factor)


_NECESSARY: Mapping[Growth, Callable[[float], float]] = {
    Growth.CONSTANT: lambda size_factor: 1.0,
    Growth.LINEAR: lambda size_factor: size_factor,
}


class Point(NamedTuple):
    """The figures of all rounds for one size."""

    size: int
    figures: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    @property
    def minimum(self) -> float:
        return min(self.figures)


class Step(NamedTuple):
    """A point compared with the one before it; there is none before the first."""

    point: Point
    factor: float | None
    is_within: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """``name`` is what grows, ``figure`` what was measured, with its unit."""

    name: str
    figure: str
    growth: Growth
    points: tuple[Point, ...]

    def steps(self) -> list[Step]:
        """Returns the points, each compared with the one before it."""
        steps = [Step(self.points[0], None, True)]
        for before, point in itertools.pairwise(self.points):
            factor = point.median / before.median
            # The smaller of both: on a noisy machine, growth that is there shows in the minima too.
            surest = min(factor, point.minimum / before.minimum)
            steps.append(Step(point, factor, surest <= self.growth.allowed(point.size / before.size)))
        return steps
