"""The shared benchmark, which is not part of the repository: where it is, and how to run it."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import node

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT.parent / "shared" / "bench"

Rows = Sequence[Mapping[str, Any]]
"""The figures of one server, one row for each round."""
Results = dict[str, dict[str, Rows]]
"""By workload and server."""


def script() -> Path:
    """Returns the benchmark's script. Raises SystemExit with status 2 if there is none."""
    path = FOLDER / "bench.py"
    if not path.is_file():
        print(
            f"The shared benchmark is missing: {path} does not exist. It is not part of this repository, "
            "but expected in ../shared/bench, relative to the repository's root.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    return path


@functools.cache
def module() -> Any:
    """Returns the script as a module, for its servers and its load generator."""
    spec = importlib.util.spec_from_file_location("shared_bench", script())
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loaded.CACHE.mkdir(parents=True, exist_ok=True)
    return loaded


def prepare_environment(*, with_node: bool) -> None:
    """Sets the variables that the benchmark and its servers read, in this process.

    Args:
        with_node: whether to install the packages of ``node-raw`` if they are missing.
    """
    # By default, the floors run with this interpreter and its packages.
    os.environ.setdefault("BENCH_PYTHON", sys.executable)
    if with_node:
        os.environ[node.VARIABLE] = str(node.modules())


def run(
    config: Path,
    servers: Collection[str],
    workload: str,
    *,
    rounds: int,
    scale: float = 1.0,
    baseline: str = node.SERVER,
    floor: str = "asgi-coal",
    show_tables: bool = False,
) -> dict[str, Rows]:
    """Measures servers alternately with one workload and returns their figures. Raises CalledProcessError.

    Args:
        config: the TOML file of the servers that are not the benchmark's own.
        servers: their names, and those of the benchmark's own servers.
        workload: its name.
        rounds: how often to measure each server.
        scale: a factor for the numbers of requests.
        baseline: the server for the first ratio of the benchmark's table.
        floor: the server for the second ratio of the benchmark's table.
        show_tables: whether to print the benchmark's table.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as figures:
        command = [sys.executable, str(script()), "--config", str(config), "--json", figures.name]
        command += ["--servers", ",".join(servers), "--workloads", workload, "--reps", str(rounds)]
        command += ["--scale", str(scale), "--baseline", baseline, "--floor", floor]
        # What it prints to stderr is the progress.
        subprocess.run(command, check=True, stdout=None if show_tables else subprocess.DEVNULL)
        results: dict[str, Rows] = json.load(figures)["results"][workload]
    return results
