"""Measures what a unit of work costs as its surroundings grow.

    python -m benchmarks.growth
    python -m benchmarks.growth --cases "open streams,tools of the frontend" --rounds 3
    python -m benchmarks.growth --write

See README.md in the folder above.
"""

from __future__ import annotations

import argparse
import sys

from .. import machine, results, shared, tables
from .measure import ALL, measure


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", default=",".join(ALL), help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for every size (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace this part of RESULTS.md if it is complete")
    options = parser.parse_args()
    cases = options.cases.split(",")
    unknown = set(cases) - set(ALL)
    if unknown:
        parser.error(f"no such cases: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    shared.prepare_environment(with_node=False)
    series = measure(options.rounds, cases).series
    print(tables.growth(series))
    print(tables.growth_summary(series))
    if options.write:
        results.write_growth(series, machine.describe(with_node=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
