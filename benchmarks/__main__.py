"""Measures our servers next to the floors and Node's runtime, and says which bars they meet.

    python -m benchmarks --node
    python -m benchmarks --quick
    python -m benchmarks --servers ours-asgi,ours-wsgi --workloads W1,W3 --rounds 7

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import cold_start, machine, node, results, servers, shared, tables
from .bars import BARS, Bar
from .growth import measure as growth
from .growth.cases import SLOW
from .growth.series import Series
from .outcomes import outcomes
from .shared import Results, Rows

ROUNDS: Mapping[str, int] = {"W1": 7, "W2": 3, "W3": 7, "W3h": 7, "W4": 7, "W5": 3, "W0": 5}
"""How often each workload is measured. W2 and W5 less often, since a round of them takes longest."""
QUICK_ROUNDS: Mapping[str, int] = {"W1": 3, "W2": 1, "W3": 3, "W3h": 3, "W4": 3, "W5": 1, "W0": 3}
QUICK_SERVERS = ("ours-asgi", "ours-asgi-model", "ours-wsgi", "ours-asgi-sqlite")
GROWTH_ROUNDS = 5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", help=f"comma-separated (default: {','.join((*ROUNDS, *growth.GROUPS))})")
    parser.add_argument("--servers", help="comma-separated; ours or the shared benchmark's own (default: all of ours)")
    parser.add_argument("--node", action="store_true", help="install the packages for node-raw into the user's cache")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer servers, nothing that takes minutes")
    parser.add_argument("--rounds", type=int, help="rounds for every server, instead of each workload's own number")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the numbers of requests")
    parser.add_argument("--tables", action="store_true", help="print the shared benchmark's tables too")
    parser.add_argument("--write", action="store_true", help="write what is complete into RESULTS.md, with plots")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append all figures as one line of JSON")
    return parser


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    workloads = _split(options.workloads) or [*ROUNDS, "growth", "replay", *(() if options.quick else ("streams",))]
    known = {*shared.module().WORKLOADS, *growth.GROUPS}
    if unknown := set(workloads) - known:
        parser.error(f"no such workloads: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    shared.prepare_environment(with_node=options.node)
    has_node = node.VARIABLE in os.environ
    chosen = _split(options.servers) or (QUICK_SERVERS if options.quick else servers.OURS)
    selected = [bar for bar in BARS if bar.server in chosen and bar.workload in workloads]
    bars = [bar for bar in selected if has_node or bar.other != node.SERVER]
    if len(bars) < len(selected):
        print(f"# {node.SERVER} left out, and the ratios to it: set {node.VARIABLE}, or use --node", file=sys.stderr)

    measured = _measure(workloads, bars, options)
    grown = _measure_growth(workloads, options)
    measured |= grown.results
    if options.json:
        _append(options.json, measured, grown.series)
    came_out = outcomes(bars, measured)
    summary = tables.bars_summary(came_out, len(selected) - len(bars)) + _noise(measured)
    if options.write:
        description = machine.describe(with_node=has_node)
        if came_out:
            results.write_bars(came_out, summary, description)
        if grown.series:
            results.write_growth(grown.series, description)
    if grown.series:
        print(tables.growth(grown.series), tables.growth_summary(grown.series), "", sep="\n")
    print(tables.bars(came_out), summary, sep="\n")
    return 0


def _split(names: str | None) -> list[str]:
    return names.split(",") if names else []


def _measure(workloads: Sequence[str], bars: Sequence[Bar], options: argparse.Namespace) -> Results:
    """Returns the figures of the servers with all workloads."""
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    measured: Results = {}
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        config = Path(folder) / "ours.toml"
        config.write_text(servers.toml(shared.ROOT, Path(folder)), encoding="utf-8")
        for workload in workloads:
            names = _names(workload, bars, _split(options.servers))
            if names and workload not in growth.GROUPS:
                count = options.rounds or rounds.get(workload, max(rounds.values()))
                measured[workload] = _rows(workload, names, config, count, options)
    return measured


def _measure_growth(workloads: Sequence[str], options: argparse.Namespace) -> growth.Grown:
    """Returns what grows."""
    skipped = SLOW if options.quick else frozenset()
    cases = {case for workload in workloads for case in growth.GROUPS.get(workload, ())}
    return growth.measure(options.rounds or GROWTH_ROUNDS, cases - skipped)


def _names(workload: str, bars: Sequence[Bar], chosen: Sequence[str]) -> list[str]:
    """Returns the servers to measure: those of the workload's bars, and those that were chosen by name."""
    compared = [name for bar in bars if bar.workload == workload for name in (bar.server, bar.other) if name]
    return list(dict.fromkeys([*compared, *chosen]))


def _rows(
    workload: str, names: Sequence[str], config: Path, rounds: int, options: argparse.Namespace
) -> dict[str, Rows]:
    """Returns the figures of the servers with one workload; none, with a message, if that fails."""
    try:
        if workload == "W0":
            return cold_start.measure(config, names, rounds)
        return shared.run(config, names, workload, rounds=rounds, scale=options.scale, show_tables=options.tables)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"# {workload} left out: {error}", file=sys.stderr)
        return {}


def _noise(measured: Results) -> str:
    """Returns a sentence on what else the machine has done meanwhile."""
    rows = [row for by_server in measured.values() for rows in by_server.values() for row in rows]
    cores = [row["noise"] for row in rows if "noise" in row]
    if not cores:
        return ""
    return f" Other work took {statistics.median(cores):.2f} cores meanwhile (median; {max(cores):.2f} at most)."


def _append(path: Path, measured: Results, series: Sequence[Series]) -> None:
    grown = [{"name": one.name, "figure": one.figure, "points": one.points} for one in series]
    line = {"time": time.strftime("%FT%TZ", time.gmtime()), "results": measured, "growth": grown}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
