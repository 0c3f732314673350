"""The packages from npm that the shared benchmark's Node server needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VARIABLE = "BENCH_NODE_MODULES"
"""Names the folder to the benchmark; where it is set, nothing is installed."""
PACKAGES = ("@copilotkit/runtime@1.75.0", "express@5", "hono@4", "@hono/node-server@1")


def cache() -> Path:
    """A folder of ours in the user's cache (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copilot-runtime" / "bench-node"


def modules() -> Path:
    """The ``node_modules`` folder with those packages, installed first where it is missing.

    Raises SystemExit when npm is not there or fails.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    folder = cache()
    done = folder / "installed"
    if not done.is_file() or done.read_text(encoding="utf-8") != "\n".join(PACKAGES):
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing {', '.join(PACKAGES)} in {folder}", file=sys.stderr)
        install = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        try:
            subprocess.run(install, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"npm could not install what node-raw needs ({error}); leave out --node, or set {VARIABLE}")
        done.write_text("\n".join(PACKAGES), encoding="utf-8")
    return folder / "node_modules"
