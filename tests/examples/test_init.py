"""What ``copilot-runtime init`` writes, in a browser: a user signs in, chats, and finds the chat again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_runtime._cli.main import main

from ..missing import skip_unless_ci
from ..servers import RunningServer, free_port, run_server
from .launch import environment
from .test_react_frontend import BROWSERS, EXAMPLE, VITE, missing_requirement, node

pytestmark = [pytest.mark.client, pytest.mark.requirement("CLI-04")]

DRIVER = Path(__file__).with_name("init.mjs")


@pytest.fixture
def application(tmp_path: Path) -> Iterator[RunningServer]:
    """The Flask application, with its page built, as its README says how to deploy it."""
    skip_unless_ci(missing_requirement())
    folder, port = tmp_path / "chat", free_port()
    assert main(["init", "flask", str(folder)]) == 0
    frontend = folder / "frontend"
    # The same versions, which a unit test checks.
    (frontend / "node_modules").symlink_to(EXAMPLE / "node_modules")
    node(VITE, "build", frontend, "--logLevel", "error")
    command = "gunicorn --worker-class gthread --threads 64 --bind 127.0.0.1:8000 app:app"
    assert command in (folder / "README.md").read_text("utf-8")
    arguments = command.replace("8000", str(port)).split()
    with run_server(arguments, port, env=environment(), folder=folder) as server:
        yield server


def test_init_application_in_a_browser(application: RunningServer) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    node(DRIVER, browser, f"http://127.0.0.1:{application.port}/")
