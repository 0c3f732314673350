"""What the figures depend on: when they were measured, on which CPU, with which versions. No names, no paths."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from pathlib import Path

from . import node

PACKAGES = (
    *("copilot-runtime", "ag-ui-protocol", "pydantic", "pydantic-core", "uvicorn", "uvloop", "httptools"),
    *("gunicorn", "flask", "django", "psycopg", "redis"),
)


def describe(*, with_node: bool) -> str:
    """Returns a paragraph on the machine and the versions. ``with_node`` adds Node's."""
    packages = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    versions = [f"{platform.python_implementation()} {platform.python_version()}", *packages]
    versions.append(f"SQLite {sqlite3.sqlite_version}")
    if with_node:
        versions += [f"Node {_node_version()}", node.PACKAGES[0]]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    return f"{today}; {os.cpu_count()} cores of {_cpu_model()}, {system}; {', '.join(versions)}."


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _node_version() -> str:
    command = [os.environ.get("BENCH_NODE", "node"), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().removeprefix("v")
