"""Measures everything that grows."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..shared import Results
from . import replays, streams, workers
from .cases import CASES
from .series import Series

OPEN_STREAMS = "open streams"
REPLAYS = "events of a replay"
ALL = (*CASES, REPLAYS, OPEN_STREAMS)
"""The names of all cases."""
GROUPS: Mapping[str, Sequence[str]] = {"growth": tuple(CASES), "replay": (REPLAYS,), "streams": (OPEN_STREAMS,)}
"""The cases by what takes the place of a workload on the command line, and in the bars."""
SERVER = "ours-asgi"
"""The server whose bars some of the figures are for."""


class Grown(NamedTuple):
    """What has grown, and the figures that there are bars for."""

    series: list[Series]
    results: Results


def measure(rounds: int, cases: Collection[str] = ALL) -> Grown:
    """Measures cases.

    Args:
        rounds: how often to measure each size. Open streams are measured once.
        cases: their names, of `ALL`.
    """
    series: list[Series] = []
    results: Results = {}
    for name, case in CASES.items():
        if name in cases:
            series.append(workers.measure(case, rounds))
            print(f"# {name} done", file=sys.stderr, flush=True)
    if REPLAYS in cases:
        replayed = replays.measure(rounds)
        series.append(replayed)
        results["replay"] = {SERVER: replays.rows(replayed)}
    if OPEN_STREAMS in cases:
        opened = streams.measure()
        series += streams.series(opened)
        results["streams"] = {SERVER: streams.rows(opened)}
    return Grown(series, results)
