"""Starts an example as a user does: a copy of its folder, and a command of its README."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..fixtures.configs import MOUNT
from ..http_client import Client, text_of, types, unique, user_message
from ..serve import ROOT
from ..servers import RunningServer, free_port, run_server

PORT = "8000"
"""The port of most commands in the READMEs, which is replaced by a free one."""

_NOT_COPIED = ("__pycache__", "node_modules", "*.db", "*.db-*", "*.sqlite3")


@contextlib.contextmanager
def run_example(
    folder: str, command: str, env: Mapping[str, str] | None = None, *, mount: str = MOUNT, named_port: str = PORT
) -> Iterator[RunningServer]:
    """Runs the server of ``examples/<folder>``, whose runtime is at ``mount``, while the block lasts.

    ``command`` must be in the README, including the port. ``env`` adds to the environment. The example's folder stays
    unchanged. Raises what `run_server` does, and AssertionError for a command that is not in the README.
    """
    example = ROOT / "examples" / folder
    assert command in (example / "README.md").read_text(encoding="utf-8"), f"{folder}/README.md lacks: {command}"
    assert named_port in command, "the command must name its port"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="copilot-example-") as temporary:
        copy = Path(temporary) / folder
        shutil.copytree(example, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        with run_server(
            shlex.split(command.replace(named_port, str(port))),
            port,
            mount=mount,
            env={**environment(), **(env or {})},
            folder=copy,
        ) as server:
            yield server


def environment() -> dict[str, str]:
    """Puts this virtual environment first in PATH, as activating it does."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # Two servers at once would compete for the user's control socket.
        "GUNICORN_CMD_ARGS": "--no-control-socket --graceful-timeout 3",
    }


def chat(client: Client, text: str, thread: str | None = None) -> str:
    """Sends a user message to the default agent, and returns its reply."""
    events = client.run("default", thread or unique("thread"), messages=[user_message(text)])
    assert (types(events)[0], types(events)[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    return text_of(events)
