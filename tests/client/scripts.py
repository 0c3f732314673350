"""Runs the scripts in which the client from npm is used against a server."""

from __future__ import annotations

import os
import subprocess

from tests.missing import skip_unless_ci
from tests.servers import RunningServer

from .test_client import HERE, missing_requirement

PATIENCE_SECONDS = 120
"""Much longer than any script takes on a busy machine."""


def skip_without_client() -> None:
    """Skips a test if the client cannot run on this machine. In CI that is a failure."""
    skip_unless_ci(missing_requirement())


def run_script(name: str, url: str, server: RunningServer, *arguments: str) -> str:
    """Runs a script to its end, and returns what it has printed.

    Raises AssertionError with that, and what the server has logged, if it fails.

    Args:
        name: its file.
        url: the URL that it is called with.
        server: the server that it uses.
        arguments: its further arguments.
    """
    done = subprocess.run(
        ["node", str(HERE / name), url, *arguments],
        env={**os.environ, "COPILOTKIT_TELEMETRY_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    return done.stdout
