"""Tables in Markdown: the bars, and what grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .growth.series import Series, Step
from .outcomes import Comparison, Outcome, Verdict

_BAR_COLUMNS = ("server", "workload", "figure", "measured", "compared with", "median (range)", "minima", "bar", "")
_GROWTH_COLUMNS = ("what grows", "size", "figure", "median", "minimum", "growth", "may grow", "")
NOTHING = "-"


def significant(value: float) -> str:
    """Returns a number with at least three significant digits, and without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# --- bars ---


def bars(outcomes: Sequence[Outcome]) -> str:
    """Returns the table of the bars."""
    return table(_BAR_COLUMNS, map(_bar_row, outcomes))


def _bar_row(outcome: Outcome) -> Sequence[str]:
    bar = outcome.bar
    figure, text = bar.figure, bar.kind.text
    measured, compared, minima = NOTHING, NOTHING, NOTHING
    if outcome.comparison is not None:
        measured = f"{significant(outcome.comparison.own)} {figure.unit}".rstrip()
        compared = _with_range(outcome.comparison, text)
        minima = text.format(outcome.comparison.minima)
    limit = f"<= {text.format(bar.limit)}"
    return (
        *(bar.server, bar.workload, figure.title, measured, bar.other or NOTHING, compared, minima, limit),
        _mark(outcome),
    )


def _with_range(comparison: Comparison, text: str) -> str:
    low, median, high = (text.format(value) for value in (comparison.low, comparison.median, comparison.high))
    return median if low == high else f"{median} ({low} to {high})"


def _mark(outcome: Outcome) -> str:
    by = ""
    if outcome.comparison is not None and outcome.bar.kind.is_proportional and outcome.bar.limit > 0:
        by = f" by {outcome.comparison.median / outcome.bar.limit - 1:.0%}"
    text = outcome.verdict.value.format(by=by)
    return text if outcome.verdict is Verdict.MET else f"**{text}**"


def bars_summary(outcomes: Sequence[Outcome], left_out: int) -> str:
    """Returns one line that says how many bars are met. ``left_out`` is how many were not even tried."""
    met = sum(outcome.verdict is Verdict.MET for outcome in outcomes)
    by_minima = sum(outcome.verdict is Verdict.MET_BY_MINIMA for outcome in outcomes)
    more = f", and {by_minima} more by the minima" if by_minima else ""
    without = f"; {left_out} left out, which compare with Node (--node)" if left_out else ""
    return f"{met} of {len(outcomes)} bars are met{more}{without}."


# --- growth ---


def growth(series: Iterable[Series]) -> str:
    """Returns the table of what grows."""
    return table(_GROWTH_COLUMNS, (_growth_row(one, step) for one in series for step in one.steps()))


def _growth_row(series: Series, step: Step) -> Sequence[str]:
    point = step.point
    return (
        *(series.name, f"{point.size:,}", series.figure, significant(point.median), significant(point.minimum)),
        NOTHING if step.factor is None else f"{step.factor:.2f}x",
        series.growth.value,
        "" if step.is_within else "**faster**",
    )


def growth_summary(series: Iterable[Series]) -> str:
    """Returns one line that says how many steps are within what they may grow."""
    steps = [step for one in series for step in one.steps() if step.factor is not None]
    within = sum(step.is_within for step in steps)
    return f"{within} of {len(steps)} steps grow no faster than they may."
