"""Approvals in a browser, with the components of the example and of the docs, for agents of all kinds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.builtin.fake_provider import Exchange, chunk, run_fake_provider, tool_call_chunk
from tests.examples.test_react_frontend import BROWSERS, EXAMPLE, LIGHT_BUILD, VITE, missing_requirement
from tests.fixtures.frameworks.fake_model import UNSPEAKABLE
from tests.http_client import unique
from tests.missing import skip_unless_ci
from tests.serve import ROOT
from tests.servers import free_port, run_server, serve_config

from .helpers import import_framework

pytestmark = pytest.mark.requirement("APPROVAL-01")

AGENTS = ("builtin", "pydantic-ai", "langgraph")
FLOWS = ("approve", "deny", "change", "several", "reload", "together", "approval-last", "confirm", "failure")
PAGE = Path(__file__).with_name("page")
DRIVER = Path(__file__).with_name("approvals.mjs")
PATIENCE_SECONDS = 600
"""Much longer than anything takes on a busy machine."""

Verdicts = Mapping[str, str | None]
"""By flow and agent: what went wrong, or None."""


def obey(exchange: Exchange) -> None:
    """The model of the builtin agent: `fixtures.frameworks.fake_model`, as a server."""
    messages = exchange.json()["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    word, _, rest = exchange.text().partition(" ")
    if messages[-1]["role"] == "tool" and results[-1] == UNSPEAKABLE:
        return exchange.respond({"error": {"message": "no"}}, 400)
    exchange.start_stream()
    if messages[-1]["role"] == "tool":
        exchange.send(chunk({"content": f"the tool said: {results[-1]}"}))
    elif word == "call":
        calls = [call.partition(" ") for call in rest.split(" and ")]
        for index, (tool, _, arguments) in enumerate(calls):
            exchange.send(tool_call_chunk(index, arguments, unique("call"), tool))
        return exchange.finish("tool_calls")
    elif word == "results":
        exchange.send(chunk({"content": f"the tool said: {', '.join(results)}"}))
    else:
        exchange.send(chunk({"content": f"{rest} "}))
    return exchange.finish()


def node(*arguments: str | Path) -> str:
    """Runs a program to its end and returns its output. Raises AssertionError if it fails."""
    done = subprocess.run(
        ["node", *map(str, arguments)], cwd=EXAMPLE, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    for package in ("pydantic_ai.ui.ag_ui", "ag_ui_langgraph"):
        import_framework(package)
    skip_unless_ci(missing_requirement())
    page, built = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("built")
    for file in (*PAGE.iterdir(), EXAMPLE / "src" / "approvals.jsx", EXAMPLE / "vite.config.js"):
        shutil.copy(file, page)
    (page / "node_modules").symlink_to(EXAMPLE / "node_modules")
    node(VITE, "build", page, "--outDir", built, "--emptyOutDir", "--logLevel", "error", *LIGHT_BUILD)
    port = free_port()
    preview = ["node", str(VITE), "preview", str(page), "--outDir", str(built), "--host", "127.0.0.1"]
    with (
        run_fake_provider(obey) as model,
        serve_config("asgi", "frameworks-approvals", env={"BUILTIN_FAKE_URL": model.url}) as runtime,
        run_server(
            [*preview, "--port", str(port), "--strictPort"],
            port,
            env={"COPILOTKIT_BACKEND": f"http://127.0.0.1:{runtime.port}"},
            folder=EXAMPLE,
        ),
    ):
        browser = next(filter(None, map(shutil.which, BROWSERS)))
        lines = node(DRIVER, EXAMPLE, browser, f"http://127.0.0.1:{port}/", *AGENTS).splitlines()
        return {
            line["name"]: line["error"] and f"{line['error']}\n{runtime.log_tail()}" for line in map(json.loads, lines)
        }


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("flow", FLOWS)
def test_approvals_in_the_browser(verdicts: Verdicts, flow: str, agent: str) -> None:
    assert verdicts[f"{flow}/{agent}"] is None, verdicts[f"{flow}/{agent}"]


def test_approvals_in_the_browser_are_all_played(verdicts: Verdicts) -> None:
    assert sorted(verdicts) == sorted(f"{flow}/{agent}" for flow in FLOWS for agent in AGENTS)


def test_approvals_of_the_docs_are_those_of_the_page() -> None:
    code = (EXAMPLE / "src" / "approvals.jsx").read_text(encoding="utf-8")
    assert f"```jsx\n{code}```" in (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
