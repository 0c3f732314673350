"""The arguments of ``copilot-runtime init``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from .frameworks import FRAMEWORKS

DEFAULT_FOLDER = "copilot-app"


def add_init(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to the parsers of commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "init",
        help="write a small application with a chat",
        description="Writes a small application with a CopilotKit chat, users, a store and tests, and says how to "
        "run it.",
    )
    parser.set_defaults(command=_run, log_level=logging.WARNING)
    parser.add_argument("framework", choices=FRAMEWORKS, help="what the application is made with")
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(DEFAULT_FOLDER),
        help="a new or empty folder (default: %(default)s)",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from .command import init

    return init(FRAMEWORKS[arguments.framework], arguments.folder)
