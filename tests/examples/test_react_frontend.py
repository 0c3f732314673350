"""``examples/react_frontend``: built, served in front of the demo's runtime, and used in a browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..missing import skip_unless_ci
from ..serve import ROOT
from ..servers import RunningServer, free_port, run_server

pytestmark = pytest.mark.client

EXAMPLE = ROOT / "examples" / "react_frontend"
VITE = EXAMPLE / "node_modules" / "vite" / "bin" / "vite.js"
LIGHT_BUILD = ("--config", ROOT / "tests" / "light_build.mjs", "--configLoader", "native")
"""Options of the build for what is not about the build itself."""
DRIVER = Path(__file__).with_name("react_frontend.mjs")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 300
"""Much longer than anything takes on a busy machine."""


def missing_requirement() -> str | None:
    """Returns what to do before the example can run here, or None."""
    if shutil.which("node") is None:
        return "the example needs Node 20.19 or newer, with npm"
    if not VITE.is_file():
        return "the example is not installed; run: cd examples/react_frontend && npm ci"
    if not any(map(shutil.which, BROWSERS)):
        return f"the example's test needs a browser: {', '.join(BROWSERS)}"
    return None


def node(*arguments: str | Path) -> None:
    """Runs a program to its end. Raises AssertionError with its output if it fails."""
    done = subprocess.run(
        ["node", *map(str, arguments)], cwd=EXAMPLE, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def page(tmp_path: Path) -> Iterator[RunningServer]:
    skip_unless_ci(missing_requirement())
    node(VITE, "build", "--outDir", tmp_path, "--emptyOutDir", "--logLevel", "error")
    backend, port = free_port(), free_port()
    demo = [sys.executable, "-m", "copilot_runtime", "demo", "--port", str(backend)]
    preview = ["node", str(VITE), "preview", "--outDir", str(tmp_path), "--host", "127.0.0.1", "--port", str(port)]
    with (
        run_server(demo, backend) as runtime,
        run_server(
            [*preview, "--strictPort"],
            port,
            env={"COPILOTKIT_BACKEND": f"http://127.0.0.1:{runtime.port}"},
            folder=EXAMPLE,
        ) as frontend,
    ):
        yield frontend


def test_agent_answers_what_is_typed(page: RunningServer) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    node(DRIVER, browser, f"http://127.0.0.1:{page.port}/", "hello there", "Hello! I am a small demo agent.")
