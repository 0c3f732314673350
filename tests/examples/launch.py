"""Starting an example as a user does: a copy of its folder, and a command of its README."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..serve import ROOT
from ..servers import RunningServer, answering, free_port

MOUNT = "/api/copilotkit"
PORT = "8000"
"""What the READMEs write, and a free port takes the place of."""

_LEFT_BEHIND = ("__pycache__", "node_modules", "*.db", "*.db-*", "*.sqlite3")


@contextlib.contextmanager
def started(
    folder: str, command: str, env: Mapping[str, str] | None = None, *, mount: str = MOUNT
) -> Iterator[RunningServer]:
    """The server of ``examples/<folder>``, whose runtime is at ``mount``, while the block lasts.

    ``command`` must stand in the README, its port included; ``env`` adds to the environment.
    Nothing is written into the example itself. Raises what `answering` does, and
    AssertionError for a command that the README does not have.
    """
    example = ROOT / "examples" / folder
    assert command in (example / "README.md").read_text(encoding="utf-8"), f"{folder}/README.md does not say: {command}"
    assert PORT in command, "the command must name its port"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="copilot-example-") as temporary:
        copy = Path(temporary) / folder
        shutil.copytree(example, copy, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
        with answering(
            shlex.split(command.replace(PORT, str(port))), port, mount, env={**_tools(), **(env or {})}, folder=copy
        ) as up:
            yield up


def _tools() -> dict[str, str]:
    """The commands of this environment come first, as in an activated one."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # Two servers at once would fight over the one control socket that a user has.
        "GUNICORN_CMD_ARGS": "--no-control-socket --graceful-timeout 3",
    }
