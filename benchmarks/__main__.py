"""Measures our servers with the shared benchmark, next to the floors and Node's runtime.

    python -m benchmarks --workloads W1,W3 --rounds 7
    python -m benchmarks --node

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import node, servers

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT.parent / "shared" / "bench"
REFERENCE_SERVERS = ("asgi-coal", "gthread-bridge-batch", "node-raw")
"""The shared benchmark's own servers, for comparison."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", default="W1,W2,W3,W4", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for every server (default: %(default)s)")
    parser.add_argument(
        "--servers",
        default=",".join((*servers.OURS, *REFERENCE_SERVERS)),
        help="comma-separated; ours or the shared benchmark's own (default: %(default)s)",
    )
    parser.add_argument(
        "--node", action="store_true", help="install the packages for node-raw, once, into the user's cache"
    )
    parser.add_argument("--floor", default="asgi-coal", help="server for the second ratio (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the numbers of requests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append all figures as one line of JSON")
    options = parser.parse_args()

    script = BENCH / "bench.py"
    if not script.is_file():
        print(
            f"The shared benchmark is missing: {script} does not exist. It is not part of this repository, "
            "but expected in ../shared/bench, relative to the repository's root.",
            file=sys.stderr,
        )
        return 2
    environment = dict(os.environ)
    if options.node:
        environment[node.VARIABLE] = str(node.modules())
    # By default, the floors run with this interpreter and its packages.
    environment.setdefault("BENCH_PYTHON", sys.executable)

    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        config = Path(folder) / "ours.toml"
        config.write_text(servers.toml(ROOT, Path(folder)), encoding="utf-8")
        command = [sys.executable, str(script), "--config", str(config), "--servers", options.servers]
        command += ["--workloads", options.workloads, "--reps", str(options.rounds), "--scale", str(options.scale)]
        command += ["--floor", options.floor]
        command += ["--json", str(options.json.resolve())] if options.json else []
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
