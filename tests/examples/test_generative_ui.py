"""``examples/generative_ui``: started as its README says, and used in a browser with the real renderers."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..http_client import Client, unique, user_message
from ..serve import ROOT
from ..servers import RunningServer, free_port, run_server
from .launch import run_example
from .test_react_frontend import BROWSERS, EXAMPLE, VITE, missing_requirement, node

FRONTEND = ROOT / "examples" / "generative_ui" / "frontend"
DRIVER = Path(__file__).with_name("generative_ui.mjs")
APP = "tests.fixtures.generative_ui_app:app"


def test_server_of_the_readme_draws_a_surface() -> None:
    with run_example("generative_ui", "uvicorn app:app --port 8000") as server:
        events = Client(server).run(
            "default",
            unique("thread"),
            messages=[user_message("flights")],
            forwardedProps={"a2uiCatalogAvailable": True},
        )
    surfaces = [event["content"] for event in events if event["type"] == "ACTIVITY_SNAPSHOT"]
    assert "Berlin 18:05" in json.dumps(surfaces[-1])


def test_frontend_has_the_packages_of_the_other_one() -> None:
    """It is tested with these."""
    own, other = (json.loads((folder / "package.json").read_text(encoding="utf-8")) for folder in (FRONTEND, EXAMPLE))
    installed = {**other["dependencies"], **other["devDependencies"]}
    wanted = {**own["dependencies"], **own["devDependencies"]}
    assert wanted.pop("@copilotkit/a2ui-renderer") == installed["@copilotkit/react-core"]
    assert wanted.items() <= installed.items()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[RunningServer, RunningServer]]:
    if missing := missing_requirement():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    source, built = tmp_path / "frontend", tmp_path / "built"
    shutil.copytree(FRONTEND, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (source / "node_modules").symlink_to(EXAMPLE / "node_modules")
    node(VITE, "build", source, "--outDir", built, "--emptyOutDir", "--logLevel", "error")
    backend, port = free_port(), free_port()
    served = [sys.executable, "-m", "uvicorn", APP, "--port", str(backend), "--log-level", "warning"]
    preview = ["node", str(VITE), "preview", str(source), "--outDir", str(built), "--host", "127.0.0.1"]
    with (
        run_server(served, backend, folder=ROOT) as runtime,
        run_server(
            [*preview, "--port", str(port), "--strictPort"],
            port,
            env={"COPILOTKIT_BACKEND": f"http://127.0.0.1:{runtime.port}"},
            folder=EXAMPLE,
        ) as frontend,
    ):
        yield frontend, runtime


@pytest.mark.client
def test_surface_is_drawn_while_it_streams_and_its_button_works(page: tuple[RunningServer, RunningServer]) -> None:
    frontend, runtime = page
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    node(DRIVER, browser, f"http://127.0.0.1:{frontend.port}/", f"http://127.0.0.1:{runtime.port}")
