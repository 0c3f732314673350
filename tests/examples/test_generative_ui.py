"""``examples/generative_ui``: started as its README says, and used in a browser with the real renderers."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..http_client import Client, unique, user_message
from ..missing import skip_unless_ci
from ..serve import ROOT
from ..servers import RunningServer, free_port, run_server
from .launch import run_example
from .test_react_frontend import BROWSERS, EXAMPLE, LIGHT_BUILD, VITE, missing_requirement, node

FRONTEND = ROOT / "examples" / "generative_ui" / "frontend"
DRIVER = Path(__file__).with_name("generative_ui.mjs")
APPS_DRIVER = Path(__file__).with_name("generative_ui_apps.mjs")
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built frontend, beside its source."""
    skip_unless_ci(missing_requirement())
    folder = tmp_path_factory.mktemp("generative_ui")
    source = folder / "frontend"
    shutil.copytree(FRONTEND, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (source / "node_modules").symlink_to(EXAMPLE / "node_modules")
    node(VITE, "build", source, "--outDir", folder / "built", "--emptyOutDir", "--logLevel", "error", *LIGHT_BUILD)
    return folder / "built"


@contextlib.contextmanager
def serve_page(built: Path, runtime_port: int) -> Iterator[RunningServer]:
    """Serves the built frontend in front of a runtime."""
    port = free_port()
    preview = ["node", str(VITE), "preview", str(built.parent / "frontend"), "--outDir", str(built)]
    with run_server(
        [*preview, "--host", "127.0.0.1", "--port", str(port), "--strictPort"],
        port,
        env={"COPILOTKIT_BACKEND": f"http://127.0.0.1:{runtime_port}"},
        folder=EXAMPLE,
    ) as frontend:
        yield frontend


@pytest.fixture
def page(built: Path) -> Iterator[tuple[RunningServer, RunningServer]]:
    backend = free_port()
    served = [sys.executable, "-m", "uvicorn", APP, "--port", str(backend), "--log-level", "warning"]
    with run_server(served, backend, folder=ROOT) as runtime, serve_page(built, runtime.port) as frontend:
        yield frontend, runtime


@pytest.mark.client
def test_surface_is_drawn_while_it_streams_and_its_button_works(page: tuple[RunningServer, RunningServer]) -> None:
    frontend, runtime = page
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    node(DRIVER, browser, f"http://127.0.0.1:{frontend.port}/", f"http://127.0.0.1:{runtime.port}")


@pytest.mark.client
@pytest.mark.requirement("UI-01")
@pytest.mark.requirement("UI-03")
def test_app_and_page_are_drawn_and_work(built: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with (
        run_example("generative_ui", "uvicorn clock:app --port 8001", named_port="8001") as clock,
        run_example(
            "generative_ui",
            "uvicorn app:app --port 8000",
            env={"CLOCK_URL": f"http://127.0.0.1:{clock.port}/mcp"},
        ) as runtime,
        serve_page(built, runtime.port) as frontend,
    ):
        node(APPS_DRIVER, browser, f"http://127.0.0.1:{frontend.port}/")
