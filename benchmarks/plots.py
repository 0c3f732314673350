"""Plots of the results, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from .growth.series import Series
from .outcomes import Outcome, Verdict
from .tables import significant

_COLOURS = {Verdict.MET: "#2a7", Verdict.MET_BY_MINIMA: "#c90"}
_SHORT = "#c33"
_STYLE = (
    "<style>text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.axis{stroke:#999}.grid{stroke:#ddd}"
    ".may{stroke:#999;stroke-dasharray:4}.end{text-anchor:end}.middle{text-anchor:middle}</style>"
)


def _svg(width: float, height: float, parts: Iterable[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    body = "\n".join(parts)
    background = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{_STYLE}\n{background}\n{body}\n</svg>\n'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'


# --- bars ---

_LABELS = 420.0
_WIDTH = 460.0
_ROW = 18.0
_TICKS = (0.25, 0.5, 1.0, 2.0, 4.0)


def bars(outcomes: Sequence[Outcome]) -> str:
    """Returns a plot of each ratio relative to its bar: left of 1 is met."""
    rows = [
        (outcome, outcome.comparison)
        for outcome in outcomes
        if outcome.comparison is not None and outcome.bar.limit > 0  # nothing is relative to 0
    ]
    height = _ROW * (len(rows) + 3)

    def place(value: float) -> float:
        bounded = min(max(value, _TICKS[0]), _TICKS[-1])
        return _LABELS + _WIDTH * math.log(bounded / _TICKS[0]) / math.log(_TICKS[-1] / _TICKS[0])

    parts = [_text(_LABELS, _ROW, "measured / bar: what is left of 1 is met (dot: median, line: all rounds)", "title")]
    for tick in _TICKS:
        parts.append(_line(place(tick), _ROW * 1.5, place(tick), height - _ROW, "axis" if tick == 1 else "grid"))
        parts.append(_text(place(tick), height - 4, f"{tick:g}", "middle"))
    for at, (outcome, comparison) in enumerate(rows):
        bar, y = outcome.bar, _ROW * (at + 2)
        other = f" to {bar.other}" if bar.other else ""
        parts.append(_text(_LABELS - 10, y + 4, f"{bar.server}, {bar.workload}, {bar.figure.title}{other}", "end"))
        parts.append(_line(place(comparison.low / bar.limit), y, place(comparison.high / bar.limit), y, "axis"))
        parts.append(_dot(place(comparison.median / bar.limit), y, _COLOURS.get(outcome.verdict, _SHORT)))
    return _svg(_LABELS + _WIDTH + 30, height, parts)


# --- growth ---

_PANEL = 280.0
_MARGIN = 48.0
_COLUMNS = 3


def growth(series: Sequence[Series]) -> str:
    """Returns a plot with a panel for each series, both axes logarithmic, and the most that it may grow."""
    rows = math.ceil(len(series) / _COLUMNS)
    panels = (_panel(one, _PANEL * (at % _COLUMNS), _PANEL * (at // _COLUMNS)) for at, one in enumerate(series))
    return _svg(_PANEL * _COLUMNS, _PANEL * rows, panels)


def _panel(series: Series, left: float, top: float) -> str:
    points = series.points
    allowed = [points[0].median]
    for step in series.steps()[1:]:
        before = points[len(allowed) - 1]
        allowed.append(allowed[-1] * series.growth.allowed(step.point.size / before.size))
    low = min(points, key=lambda point: point.median).median / 1.5
    high = max(*(point.median for point in points), *allowed) * 1.5
    side = _PANEL - 2 * _MARGIN
    span = math.log(points[-1].size / points[0].size) or 1.0

    def place(size: float, value: float) -> tuple[float, float]:
        x = left + _MARGIN + side * math.log(size / points[0].size) / span
        return x, top + _PANEL - _MARGIN - side * math.log(value / low) / math.log(high / low)

    measured = [place(point.size, point.median) for point in points]
    limits = [place(point.size, value) for point, value in zip(points, allowed, strict=True)]
    bottom = top + _PANEL - _MARGIN
    parts = [
        _text(left + _MARGIN, top + 20, series.name, "title"),
        _text(left + _MARGIN, top + 36, f"{series.figure} (dashed: limit)"),
        _line(left + _MARGIN, bottom, left + _MARGIN + side, bottom, "axis"),
        _path(limits, "may"),
        _path(measured, "axis"),
    ]
    for point, (x, y) in zip(points, measured, strict=True):
        parts += [_dot(x, y, "#27c"), _text(x, y - 8, significant(point.median), "middle")]
        parts.append(_text(x, bottom + 16, f"{point.size:,}", "middle"))
    return "\n".join(parts)


def _path(points: Sequence[tuple[float, float]], kind: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" class="{kind}" fill="none"/>'
