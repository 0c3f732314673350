"""Writes what was measured into RESULTS.md, and the plots beside it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from . import plots, tables
from .bars import BARS
from .growth.measure import ALL
from .growth.series import Series
from .outcomes import Outcome

FILE = Path(__file__).with_name("RESULTS.md")
TITLE = """\
# Results

Written by `python -m benchmarks --node --write`. README.md explains the columns.
"""
SECTIONS: Mapping[str, str | None] = {
    "Bars": "results.svg",
    "Growth": "growth.svg",
    "Stores": None,
    "Many threads": None,
}
"""With their plots, if they have one, in this order. Each is replaced without the others."""
WIDTH = 120


def write_bars(outcomes: Sequence[Outcome], summary: str, machine: str) -> None:
    """Replaces the bars, unless some are missing. ``machine`` is what the figures depend on."""
    if _is_complete("Bars", {outcome.bar for outcome in outcomes}, BARS):
        _write("Bars", (machine, tables.bars(outcomes), summary), plots.bars(outcomes))


def write_growth(series: Sequence[Series], machine: str) -> None:
    """Replaces what grows, unless some of it is missing. ``machine`` is what the figures depend on."""
    if _is_complete("Growth", {one.name for one in series}, ALL):
        _write("Growth", (machine, tables.growth(series), tables.growth_summary(series)), plots.growth(series))


def write_stores(table: str, machine: str) -> None:
    """Replaces what stores cost. ``machine`` is what the figures depend on."""
    _write("Stores", (machine, table))


def write_many_threads(table: str, machine: str) -> None:
    """Replaces what stores cost with many threads. ``machine`` is what the figures depend on."""
    _write("Many threads", (machine, table))


def _is_complete(section: str, measured: Collection[object], wanted: Collection[object]) -> bool:
    """Returns whether all of a section was measured; says so if not, as what is in the file would be lost."""
    if missing := len(set(wanted) - set(measured)):
        print(f"# {FILE.name}: {section} not written, as {missing} of {len(wanted)} are missing", file=sys.stderr)
    return not missing


def _write(section: str, paragraphs: Sequence[str], plot: str = "") -> None:
    image = SECTIONS[section]
    parts = [text.rstrip() if text.startswith("|") else textwrap.fill(text, WIDTH) for text in paragraphs]
    if image is not None:
        FILE.with_name(image).write_text(plot, encoding="utf-8")
        parts.append(f"![{section}]({image})")
    content = "\n\n".join(parts)
    text = FILE.read_text(encoding="utf-8") if FILE.is_file() else TITLE
    FILE.write_text(replace(text, section, content), encoding="utf-8")


def replace(text: str, section: str, content: str) -> str:
    """Returns a text with the content of a section replaced, or added in the order of `SECTIONS`."""
    title, *parts = text.split("\n## ")
    contents = dict(part.split("\n", 1) for part in parts)
    contents[section] = f"\n{content}\n"
    ordered = (f"\n## {name}\n\n{contents[name].strip()}\n" for name in SECTIONS if name in contents)
    return title.rstrip() + "\n" + "".join(ordered)
