"""The page of ``copilot-runtime demo`` and ``serve``, used in a browser."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .missing import skip_unless_ci
from .serve import ROOT
from .test_demo import CliClient, run_cli

pytestmark = [pytest.mark.client, pytest.mark.requirement("CLI-02")]

DRIVER = Path(__file__).with_name("chat_page.mjs")
PLAYWRIGHT = ROOT / "examples" / "react_frontend" / "node_modules" / "playwright-core"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 300

RUNTIMES = """
from copilot_runtime import CopilotRuntime, User

async def agent(input, context):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    name = context.user.id if context.user else "nobody"
    answer = {"id": f"{input.run_id}-1", "role": "assistant", "content": f"Hello {name}, said in a snapshot."}
    messages = [*context.body["messages"], answer]
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "MESSAGES_SNAPSHOT", "messages": messages}
    yield {"type": "RUN_FINISHED", **ids}

def identify_user(request):
    return User(id="ann") if request.headers.get("authorization") == "Bearer ann" else None

with_users = CopilotRuntime(agents={"other": agent, "a/b ü": agent}, identify_user=identify_user)
without_threads = CopilotRuntime(agents={"mine": agent})
without_agents = CopilotRuntime(agents=lambda context: {})
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = None
    if shutil.which("node") is None:
        missing = "this needs Node 20.19 or newer"
    elif not PLAYWRIGHT.is_dir():
        missing = "playwright is not installed; run: cd examples/react_frontend && npm ci"
    elif found is None:
        missing = f"this needs a browser: {', '.join(BROWSERS)}"
    skip_unless_ci(missing)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def demo() -> Iterator[CliClient]:
    with run_cli("demo") as server:
        yield server


def use(browser: str, server: CliClient, scenario: str) -> None:
    """Runs a scenario to its end. Raises AssertionError with the driver's output if it fails."""
    url = f"http://127.0.0.1:{server.port}/"
    done = subprocess.run(
        ["node", str(DRIVER), browser, url, scenario], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("scenario", ["stopped-after-reload", "running-thread-is-listed", "failure-names-the-terminal"])
def test_chat_page_of_the_demo(browser: str, demo: CliClient, scenario: str) -> None:
    use(browser, demo, scenario)


@pytest.mark.parametrize(
    ("attribute", "scenario"),
    [
        ("with_users", "own-runtime-with-users"),
        ("without_threads", "own-runtime-without-threads"),
        ("without_agents", "own-runtime-without-agents"),
    ],
)
def test_chat_page_of_ones_own_runtime(browser: str, tmp_path: Path, attribute: str, scenario: str) -> None:
    (tmp_path / "their_runtimes.py").write_text(RUNTIMES, "utf-8")
    with run_cli("serve", f"their_runtimes:{attribute}", "--base-path", "/ai", folder=tmp_path) as server:
        use(browser, server, scenario)
