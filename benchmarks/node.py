"""The packages from npm that the shared benchmark's Node server needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SERVER = "node-raw"
"""The shared benchmark's server with Node's runtime at its best."""
VARIABLE = "BENCH_NODE_MODULES"
"""Names the folder for the benchmark. If it is set, nothing is installed."""
PACKAGES = ("@copilotkit/runtime@1.75.0", "express@5", "hono@4", "@hono/node-server@1")


def cache() -> Path:
    """Returns this project's folder in the user's cache (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copilot-runtime" / "bench-node"


def modules() -> Path:
    """Returns a ``node_modules`` folder with `PACKAGES`, which are installed first if necessary.

    Raises SystemExit if npm is missing or fails.
    """
    configured = os.environ.get(VARIABLE)
    if configured:
        return Path(configured)
    folder = cache()
    marker = folder / "installed"
    if not marker.is_file() or marker.read_text(encoding="utf-8") != "\n".join(PACKAGES):
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing {', '.join(PACKAGES)} in {folder}", file=sys.stderr)
        install = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        try:
            subprocess.run(install, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"npm could not install the packages for node-raw ({error}); leave out --node, or set {VARIABLE}")
        marker.write_text("\n".join(PACKAGES), encoding="utf-8")
    return folder / "node_modules"
