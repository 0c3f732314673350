"""Measures our servers with the shared benchmark, beside the floors and Node's runtime.

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
BESIDE = ("asgi-coal", "gthread-bridge-batch", "node-raw")
"""The shared benchmark's own servers that ours are held against."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", default="W1,W2,W3,W4", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every server (default: %(default)s)")
    parser.add_argument(
        "--servers",
        default=",".join((*servers.OURS, *BESIDE)),
        help="comma-separated, ours and the shared benchmark's own (default: %(default)s)",
    )
    parser.add_argument("--node", action="store_true", help="install what node-raw needs, once, into the user's cache")
    parser.add_argument("--floor", default="asgi-coal", help="server that the second ratio is taken to (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the numbers of requests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append one line of JSON with every figure")
    options = parser.parse_args()

    script = BENCH / "bench.py"
    if not script.is_file():
        print(
            f"The shared benchmark is not there: {script} does not exist. It lives beside this repository, "
            "in ../shared/bench as seen from its root, and is not part of it.",
            file=sys.stderr,
        )
        return 2
    environment = dict(os.environ)
    if options.node:
        environment[node.VARIABLE] = str(node.modules())
    # The floors run in this interpreter's environment unless another one was named.
    environment.setdefault("BENCH_PYTHON", sys.executable)

    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        table = Path(folder) / "ours.toml"
        table.write_text(servers.toml(ROOT, Path(folder)), encoding="utf-8")
        command = [sys.executable, str(script), "--config", str(table), "--servers", options.servers]
        command += ["--workloads", options.workloads, "--reps", str(options.rounds), "--scale", str(options.scale)]
        command += ["--floor", options.floor]
        command += ["--json", str(options.json.resolve())] if options.json else []
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
